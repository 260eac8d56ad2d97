"""The model card: what the model is, what it may be used for, and how that is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from tlkit.card import parts
from tlkit.card.facts import Facts
from tlkit.card.markdown import block, code, escape, listed, table
from tlkit.card.metadata import front_matter
from tlkit.card.program import literal
from tlkit.paths import expand_home
from tlkit.run_folder import CONFIG, config_text

_MOST_NAMES = 40
_TABLES = (
    *("run", "dataset", "backbone", "head", "workflow", "engine", "features"),
    "test_time_augmentation",
)
# Options that take a path; what they say may also be relative.
_PATH_KEYS = ("path", "weights")


def model_card(facts: Facts, beside: Path) -> str:
    """Return the card, metadata block included.

    Args:
        facts: The run.
        beside: The folder that the card will lie in; its links are relative to it.
    """
    sections = {
        "Classes": _classes(facts),
        "Intended use": _use(facts),
        "Limits": [*(f"- {text}" for text in facts.limits()), ""],
        "How to use": _how_to_use(facts),
        "Training data": _data(facts),
        "Training": _training(facts),
        "Evaluation": [
            f"{facts.accuracy()}. {facts.against_chance()} {facts.calibration()}",
            "",
            *parts.figures(facts),
            *parts.classification_report(facts),
            *parts.pictures(facts, beside),
        ],
        "Environment": parts.environment(facts),
        "Repeat it": _repeat(facts),
    }
    lines = [front_matter(facts), f"# {facts.name}", "", _summary(facts), ""]
    for title, content in sections.items():
        lines += [f"## {title}", "", *content]
    return "\n".join(lines).rstrip() + "\n"


def _summary(facts: Facts) -> str:
    tuned = facts.fine_tuned
    what = (
        "was frozen"
        if tuned is None
        else f"was fine-tuned ({tuned.phase.trainable_parameters:,} parameters trained)"
    )
    return (
        f"A Keras model that sorts pictures into {len(facts.result.info.class_names)} classes: "
        f"{facts.backbone} with {facts.weights} as backbone, which {what}, and the head "
        f"{facts.head}. {facts.looks()} {facts.accuracy()}.".replace("  ", " ")
    )


def _classes(facts: Facts) -> list[str]:
    names = [escape(name) for name in facts.result.info.class_names]
    if len(names) <= _MOST_NAMES:
        return [f"{listed(names)}.", ""]
    return [f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more.", ""]


def _use(facts: Facts) -> list[str]:
    return [
        f"Sorting pictures such as the training images ({escape(facts.dataset)}) into the classes "
        f"above. For anything else, and wherever a wrong answer harms someone, test it first on "
        f"pictures of that use.",
        "",
    ]


def _how_to_use(facts: Facts) -> list[str]:
    folder = facts.result.folder
    assert folder is not None
    files = sorted(folder.glob("model.*"))
    if not files:
        return ["The model's file is not in the run folder.", ""]
    file = next((path for path in files if path.suffix == ".keras"), files[0])
    names = literal(list(facts.result.info.class_names), "class_names = ")
    program = f"""import keras

class_names = {names}
model = keras.models.load_model("{file.name}")
picture = keras.utils.load_img("picture.png")
pixels = keras.utils.img_to_array(picture)[None]  # (1, height, width, 3), 0 to 255
probabilities = model.predict(pixels)[0]
best = probabilities.argmax()
print(class_names[best], probabilities[best])
"""
    needed = list(getattr(facts.plugin("backbone"), "modules", ()))
    lines = [
        "It takes RGB pixels from 0 to 255 of any height and width and gives probabilities: "
        "resizing and the backbone's preprocessing are part of the model.",
        "",
    ]
    if needed:
        install = getattr(facts.plugin("backbone"), "install", "") or needed[0]
        lines += [f"It needs {listed([code(name) for name in needed])} ({code(install)}).", ""]
    return [*lines, *block(program, "python")]


def _data(facts: Facts) -> list[str]:
    info = facts.result.info
    lines = [parts.images(facts), "", facts.validation(), "", facts.leakage(), ""]
    if info.class_counts and len(info.class_counts) <= _MOST_NAMES:
        supports = [item.support for item in facts.result.test.classes]
        rows = [
            (escape(name), f"{train:,}", f"{test:,}")
            for name, train, test in zip(info.class_names, info.class_counts, supports, strict=True)
        ]
        lines += table(("Class", "Training images", "Test images"), rows)
    elif info.class_counts:
        least, most = min(info.class_counts), max(info.class_counts)
        lines += [f"Each class has {least:,} to {most:,} training images.", ""]
    digests = [
        (escape(key), code(value))
        for key, value in facts.result.fingerprints.items()
        if key not in ("weights", "parent")
    ]
    if digests:
        lines += ["SHA-256 of the images, and of the labels:", ""]
        lines += table(("Split", "SHA-256"), digests, ("l", "l"))
    if info.notes:
        notes = [escape(_without_paths(note, facts)) for note in info.notes]
        lines += ["Notes of the run:", "", *(f"- {note}" for note in notes), ""]
    return lines


def _training(facts: Facts) -> list[str]:
    idle, tables = facts.result.info.idle_options, {}
    for kind in _TABLES:
        if kind == "test_time_augmentation" and not facts.looks():
            continue
        options = {
            key: _shown(value, key, facts)
            for key, value in facts.options(kind).items()
            if key not in idle.get(kind, ())
        }
        if options:
            tables[kind] = options
    lineage = [facts.lineage(), ""] if facts.lineage() else []
    lines = [*lineage, *parts.phases(facts), *block(config_text(tables), "toml")]
    weights = facts.result.fingerprints.get("weights")
    if weights:
        lines += [f"SHA-256 of the backbone's weights before training: {code(weights)}.", ""]
    return lines


def _shown(value: Any, key: str, facts: Facts) -> Any:
    # A card is for publishing, and whole paths tell of the machine and of who uses it.
    if isinstance(value, Mapping):
        return {inner: _shown(item, inner, facts) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item, key, facts) for item in value]
    return PurePath(value).name if _is_path(value, key, facts) else value


def _is_path(value: Any, key: str, facts: Facts) -> bool:
    if not isinstance(value, str) or not PurePath(value).name or value == facts.hub_dataset:
        return False
    begins = PurePath(value).is_absolute() or value.startswith(("~", "./", "../"))
    return begins or (key in _PATH_KEYS and "://" not in value)


def _paths(value: Any, key: str, facts: Facts) -> Iterator[str]:
    """Yield the paths in a config, nested ones too."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _paths(item, inner, facts)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item, key, facts)
    elif _is_path(value, key, facts):
        yield value


def _without_paths(text: str, facts: Facts) -> str:
    """Return a note with the last part in place of each path of the config."""
    found = set()
    for value in _paths(facts.result.info.config, "", facts):
        path = expand_home(value)
        found |= {value, str(path), str(path.absolute())}
    for value in sorted(found, key=len, reverse=True):
        text = text.replace(value, PurePath(value).name)
    return text


def _repeat(facts: Facts) -> list[str]:
    version = facts.result.environment.get("tlkit", "")
    return [
        f"The run folder holds {code(CONFIG)}. With tlkit {version}, and its data and plugins at "
        f"hand, it runs again unchanged:",
        "",
        *block(f"tlkit run {CONFIG}", "sh"),
    ]

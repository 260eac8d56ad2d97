"""The lab report: aim, theory, steps, program, output, result."""

from __future__ import annotations

from pathlib import Path

from tlkit.card import parts
from tlkit.card.facts import Facts
from tlkit.card.markdown import block, code, escape, listed
from tlkit.card.program import plain_keras_program, tlkit_program, unregistered
from tlkit.card.theory import theory
from tlkit.records import PhaseResult
from tlkit.run_folder import MODEL
from tlkit.wording import percent

_MOST_NAMES = 20
# Below this share of the size that the weights were trained at, small pictures are worth a word.
_SMALL = 0.25


def lab_report(facts: Facts, beside: Path) -> str:
    """Return the report.

    Args:
        facts: The run.
        beside: The folder that the report will lie in; its links are relative to it.
    """
    sections = {
        "Aim": [_aim(facts), ""],
        "Theory": [line for paragraph in theory(facts) for line in (paragraph, "")],
        "Steps": [*(f"{n}. {text}" for n, text in enumerate(_steps(facts), 1)), ""],
        "Program": _program(facts),
        "Output": _output(facts, beside),
        "Result": [_result(facts), ""],
    }
    lines = [f"# Lab report: {facts.name}", ""]
    for title, content in sections.items():
        lines += [f"## {title}", "", *content]
    return "\n".join(lines).rstrip() + "\n"


def _aim(facts: Facts) -> str:
    names = facts.result.info.class_names
    some = (
        f" ({listed([escape(name) for name in names])})"
        if len(names) <= _MOST_NAMES
        else f" of {escape(facts.dataset)}"
    )
    tuned = "kept frozen" if facts.fine_tuned is None else "first kept frozen and then fine-tuned"
    return (
        f"To train a classifier of pictures for {len(names)} classes{some} by transfer "
        f"learning, with {facts.backbone} and {facts.weights} {tuned} and the head {facts.head}, "
        f"and to measure it on {facts.result.info.num_test:,} test images."
    )


def _steps(facts: Facts) -> list[str]:
    result = facts.result
    size = facts.image_size
    found = [f"Load the data. {parts.images(facts)}"]
    if size is not None:
        pixels = {
            "unit": "Bring the pixels to 0 to 1",
            "native": "Bring the pixels into the range that the backbone's weights were trained on",
        }.get(
            str(facts.options("backbone").get("preprocessing")),
            "Preprocess them as the backbone asks",
        )
        found.append(f"Resize each picture to {size} x {size} pixels. {pixels}.")
    found.append(
        f"Build {facts.backbone} with {facts.weights}, without its classifier, and freeze it."
    )
    if facts.lineage():
        found.append(facts.lineage())
    views = facts.training_views
    for item in result.phases:
        phase = item.phase
        trained = item.num_epochs or phase.epochs
        unit = "epoch" if trained == 1 else "epochs"
        if phase.steps == 0:
            each = "" if views == 1 else f"{views:,} views of each of "
            found.append(
                f"Compute the head {facts.head} from the features of {each}{phase.num_images:,} "
                f"training images in one go ({item.seconds:.1f} s)."
            )
        elif item is facts.fine_tuned:
            found.append(
                f"Fine-tune {phase.trainable_parameters:,} parameters for {trained} {unit} of "
                f"{phase.steps:,} steps ({item.seconds:.1f} s)."
            )
        else:
            each = "each picture" if views == 1 else f"each of {views:,} views of a picture"
            found.append(
                f"Train the head {facts.head}, {phase.trainable_parameters:,} parameters, for "
                f"{trained} {unit} of {phase.steps:,} steps ({item.seconds:.1f} s). The backbone "
                f"is frozen, so that {each} runs through it once and its features are stored."
            )
    if facts.looks():
        found.append(f"Join the model. {facts.looks()}")
    found.append(
        f"Predict the {result.info.num_test:,} test images once; compute accuracy, classification "
        f"report and confusion matrix from these predictions."
    )
    folder = result.folder
    assert folder is not None
    saved = [code(path.name) for path in sorted(folder.glob("model.*"))]
    found.append(f"Save the model ({listed(saved) if saved else code(MODEL)}).")
    return found


def _program(facts: Facts) -> list[str]:
    lines = ["This program repeats the run with tlkit:", "", *block(tlkit_program(facts), "python")]
    missing = unregistered(facts)
    if missing:
        lines += [
            f"No installed package registers {listed([code(name) for name in missing])}: the "
            f"program needs the object itself in place of the name.",
            "",
        ]
    plain = plain_keras_program(facts)
    if plain is not None:
        lines += [
            "The same exercise in plain Keras. Its accuracy differs a little, as it draws other "
            "weights for the head and other batches:",
            "",
            *block(plain, "python"),
        ]
    return lines


def _output(facts: Facts, beside: Path) -> list[str]:
    return [
        "### Training",
        "",
        *parts.epochs(facts),
        "### Test",
        "",
        *parts.figures(facts),
        "### Classification report",
        "",
        *parts.classification_report(facts),
        "### Pictures",
        "",
        *parts.pictures(facts, beside),
        "### Machine",
        "",
        *parts.environment(facts),
    ]


def _result(facts: Facts) -> str:
    sentences = [
        f"{facts.backbone} with {facts.weights} and the head {facts.head} got {facts.accuracy()}.",
        facts.against_chance(),
        _best_and_worst(facts),
        facts.confusion(),
        _gap(facts),
        _held_down(facts),
        facts.validation(),
        facts.leakage(),
        facts.calibration(),
    ]
    return " ".join(text for text in sentences if text)


def _best_and_worst(facts: Facts) -> str:
    tested = [item for item in facts.result.test.classes if item.support]
    best, worst = max(tested, key=lambda item: item.recall), facts.weakest(1)[0]
    if best.recall == worst.recall:
        return f"All classes are found equally often ({percent(best.recall)})."
    return (
        f"Found most often is {escape(best.name)} ({percent(best.recall)} of its images), least "
        f"{escape(worst.name)} ({percent(worst.recall)})."
    )


def _gap(facts: Facts) -> str:
    """Compare the accuracy in training with that on the test images."""
    last = facts.result.phases[-1]
    at = last.figures().get("accuracy")
    if at is None:
        return ""
    test = facts.result.test
    low, high = test.accuracy_interval or (test.accuracy, test.accuracy)
    looks = facts.result.info.num_looks
    single = "single views of " if looks > 1 else ""
    text = f"Training ended at {percent(at)} on {single}the training images"
    if at > high:
        return f"{text}, above the interval of the test accuracy: part of it holds for them only."
    if at < low:
        reasons = _lower_in_training(facts, last)
        return f"{text}, below that interval{f': {listed(reasons)}' if reasons else ''}."
    averaged = f", which is that of the mean over {looks} views" if looks > 1 else ""
    return f"{text}, which is within the interval of the test accuracy{averaged}."


def _lower_in_training(facts: Facts, last: PhaseResult) -> list[str]:
    """Return what of this run makes accuracy in training lower than on test images."""
    workflow = facts.options("workflow")
    found = []
    if facts.result.info.num_looks > 1:
        found.append(f"test images have the mean over {facts.result.info.num_looks} views")
    if not last.phase.steps:
        return found
    found.append("an epoch's figure is an average over a model that still learns")
    if facts.options("head").get("dropout"):
        found.append("dropout hides features in training")
    new_views = last is facts.fine_tuned and workflow.get("augment")
    if new_views or facts.options("features").get("views"):
        found.append("training takes random views")
    if last is facts.fine_tuned and (workflow.get("mixup") or workflow.get("cutmix")):
        found.append("training blends pictures")
    return found


def _held_down(facts: Facts) -> str:
    """Name choices of the run that hold its accuracy down; empty if none is known."""
    size, native = facts.image_size, facts.native_size
    backbone = facts.options("backbone")
    if backbone.get("weights") != "imagenet" or facts.fine_tuned is not None:
        return ""
    reasons = []
    if facts.wrong_pixels:
        reasons.append(
            f"the pixels were divided by 255, while the weights were trained on "
            f"{facts.native_pixels}"
        )
    if size is not None and native is not None and size <= _SMALL * native:
        one = ", so that its last feature map has a single position" if size <= 32 else ""
        reasons.append(
            f"the pictures have {size} x {size} pixels, while the weights were trained at "
            f"{native} x {native}{one}"
        )
    if not reasons:
        return ""
    text = (
        f"That is far below what these parts can do, because of how they were used: "
        f"{'; '.join(reasons)}."
        if facts.wrong_pixels
        else f"Larger pictures would probably do better: {'; '.join(reasons)}."
    )
    same_parts = backbone.get("name") == "mobilenet_v2" and facts.options("dataset").get("name")
    if facts.wrong_pixels and same_parts == "cifar10":
        text += f" The recipe {code('cifar10')} uses the same parts without these choices."
    return text

"""Programs that repeat a run: with tlkit, and the class exercise in plain Keras."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from tlkit.card.facts import Facts

_PLUGINS = ("backbone", "head", "dataset", "workflow", "engine")
_RUN_KEYS = (
    *("name", "seed", "validation", "duplicates", "save", "calibrate", "few_shot"),
    *("test_images", "start_from", "old_classes"),
)
_WIDTH = 92
_VIEW_KEYS = ("flip", "crop", "colour", "seed")


def tlkit_program(facts: Facts) -> str:
    """Return the Python program that repeats the run with tlkit.

    Options that change nothing in this run are left out.
    """
    config, info = facts.result.info.config, facts.result.info
    arguments: dict[str, Any] = {}
    for kind in _PLUGINS:
        if kind in config:
            idle = info.idle_options.get(kind, ())
            options = {key: value for key, value in config[kind].items() if key not in idle}
            arguments[kind] = options if len(options) > 1 else options.get("name")
    arguments["reporters"] = [
        item if len(item) > 1 else item["name"] for item in config.get("reporters", [])
    ]
    run = config.get("run", {})
    arguments |= {key: run[key] for key in _RUN_KEYS if key in run}
    features = config.get("features", {})
    views = {key: features[key] for key in _VIEW_KEYS if key in features}
    if "dtype" in features:
        arguments["feature_type"] = features["dtype"]
    if "views" in features:
        arguments["views"] = features["views"]
    if features.get("store"):
        arguments["store"] = features["store"]
    needs_views = bool(features.get("views")) or facts.fine_tuned is not None
    names = ["Trainer"]
    if info.looks:
        names.insert(0, "TestTimeAugmentation")
    if needs_views:
        names.insert(0, "Augmentation")
    lines = [f"from tlkit import {', '.join(names)}", "", "trainer = Trainer("]
    lines += [_argument(key, value) for key, value in arguments.items()]
    if needs_views:
        inside = ", ".join(f"{key}={value!r}" for key, value in views.items())
        lines.append(f"    augmentation=Augmentation({inside}),")
    if info.looks:
        looks = facts.options("test_time_augmentation")
        inside = ", ".join(f"{key}={looks[key]!r}" for key in ("mirror", "scales") if key in looks)
        lines.append(f"    test_time_augmentation=TestTimeAugmentation({inside}),")
    lines += [
        ")",
        "result = trainer.run()",
        'print(f"Test accuracy: {result.accuracy:.1%}")',
        'print("Run folder:", result.folder)',
    ]
    return "\n".join(lines) + "\n"


def unregistered(facts: Facts) -> list[str]:
    """Return the plugins that the program cannot name: no installed package registers them."""
    found = []
    for kind in ("backbone", "head", "dataset", "workflow"):
        table = facts.options(kind)
        objects = any(isinstance(value, str) and value.startswith("<") for value in table.values())
        if facts.plugin(kind) is None or objects:
            found.append(f"{kind} {table.get('name', '')}".strip())
    return found


def plain_keras_program(facts: Facts) -> str | None:
    """Return the class exercise in plain Keras with this run's numbers; None if it was no such run.

    That is: CIFAR-10 at 32 pixels / 255, MobileNetV2 frozen, the head ``dense`` trained by Adam,
    and validation on the test set.
    """
    backbone, head, dataset, workflow = (
        facts.options(kind) for kind in ("backbone", "head", "dataset", "workflow")
    )
    path = dataset.get("path")
    features, run = facts.options("features"), facts.options("run")
    fits = (
        dataset.get("name") == "cifar10"
        and (path is None or str(path).endswith(".npz"))
        and _has(backbone, name="mobilenet_v2", image_size=32, preprocessing="unit")
        and backbone.get("weights") in ("imagenet", "random")
        and head.get("name") == "dense"
        and _has(workflow, name="freeze_and_train", early_stopping=0, class_weight="none")
        and facts.fine_tuned is None
        and facts.result.info.validates_on_test
        and facts.result.info.lineage is None
        and not features.get("views")
        and not facts.result.info.looks
        and not run.get("few_shot")
        and run.get("duplicates", "report") == "report"
    )
    if not fits:
        return None
    weights = None if backbone["weights"] == "random" else '"imagenet"'
    load = (
        "(x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()\n"
        "y_train, y_test = y_train.ravel(), y_test.ravel()"
        if path is None
        else f"with np.load({literal(path)}) as data:\n"
        '    x_train, y_train = data["x_train"], data["y_train"].ravel()\n'
        '    x_test, y_test = data["x_test"], data["y_test"].ravel()'
    )
    names = literal(list(facts.result.info.class_names), "class_names = ")
    return _PLAIN.format(
        seed=run.get("seed", 0),
        load=load,
        names=names,
        weights=weights,
        alpha=backbone.get("alpha", 1.0),
        units=head["units"],
        dropout=head["dropout"],
        rate=workflow["learning_rate"],
        epochs=workflow["epochs"],
        batch_size=workflow["batch_size"],
    )


def _has(table: Mapping[str, Any], **values: Any) -> bool:
    return all(table.get(key) == value for key, value in values.items())


def literal(value: Any, before: str = "", indent: str = "") -> str:
    """Return a value as Python: tables and lists on several lines where one is too short.

    Args:
        value: Numbers, texts, lists and tables of them.
        before: What stands before it on its first line.
        indent: What stands before it on its other lines.
    """
    flat = _flat(value)
    if len(indent) + len(before) + len(flat) < _WIDTH or not isinstance(value, list | Mapping):
        return flat
    inner = indent + "    "
    if isinstance(value, Mapping):
        lines = [
            f"{inner}{_flat(key)}: {literal(item, f'{_flat(key)}: ', inner)},"
            for key, item in value.items()
        ]
        return "\n".join(["{", *lines, indent + "}"])
    if all(isinstance(item, str | int | float) for item in value):
        # textwrap would break a name at its spaces.
        words = " ".join(_flat(item).replace(" ", "\0") + "," for item in value)
        wrapped = textwrap.wrap(
            words,
            _WIDTH,
            initial_indent=inner,
            subsequent_indent=inner,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join(["[", *(line.replace("\0", " ") for line in wrapped), indent + "]"])
    lines = [f"{inner}{literal(item, '', inner)}," for item in value]
    return "\n".join(["[", *lines, indent + "]"])


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flat(key)}: {_flat(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flat, value)) + "]"
    if not isinstance(value, str):
        return repr(value)
    plain = value.isprintable() and not set(value) & set('"\\')
    return f'"{value}"' if plain else ascii(value)


def _argument(key: str, value: Any) -> str:
    return f"    {key}=" + literal(value, f"{key}=", "    ") + ","


_PLAIN = """\
import keras
import matplotlib
import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

matplotlib.use("Agg")
import matplotlib.pyplot as plt

keras.utils.set_random_seed({seed})

# 1. Data
class_names = {names}
{load}
x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255

# 2. Model: the backbone is frozen, the head is new
backbone = keras.applications.MobileNetV2(
    weights={weights}, include_top=False, input_shape=(32, 32, 3), alpha={alpha!r}
)
backbone.trainable = False
model = keras.Sequential(
    [
        backbone,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense({units}, activation="relu"),
        keras.layers.Dropout({dropout}),
        keras.layers.Dense(len(class_names), activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam({rate}),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.summary()

# 3. Training
history = model.fit(
    x_train,
    y_train,
    epochs={epochs},
    batch_size={batch_size},
    validation_data=(x_test, y_test),
    verbose=2,
).history

# 4. Evaluation
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"Test accuracy: {{accuracy:.4f}}")
predictions = model.predict(x_test, verbose=0).argmax(axis=1)
labels = range(len(class_names))
print(
    classification_report(
        y_test, predictions, labels=labels, target_names=class_names, zero_division=0
    )
)

# 5. Pictures
epochs = range(1, len(history["loss"]) + 1)
for name, unit in (("loss", "Cross-entropy loss (nats)"), ("accuracy", "Accuracy (share)")):
    figure, axes = plt.subplots()
    axes.plot(epochs, history[name], "o-", label="train")
    axes.plot(epochs, history[f"val_{{name}}"], "s--", label="test set as validation")
    axes.set(title=f"{{name.capitalize()}} by epoch", xlabel="Epoch", ylabel=unit)
    axes.legend()
    figure.savefig(f"{{name}}.png", dpi=120)
figure, axes = plt.subplots(figsize=(8, 7))
image = axes.imshow(confusion_matrix(y_test, predictions, labels=labels), cmap="cividis")
figure.colorbar(image, label="Test images")
axes.set(title="Confusion matrix", xlabel="Predicted class", ylabel="True class")
axes.set_xticks(labels, class_names, rotation=60, ha="right")
axes.set_yticks(labels, class_names)
figure.tight_layout()
figure.savefig("confusion_matrix.png", dpi=120)

# 6. Save, load, classify one picture
model.save("model.keras")
model = keras.models.load_model("model.keras")
probabilities = model.predict(x_test[:1], verbose=0)[0]
answer = class_names[int(np.argmax(probabilities))]
print(f"First test picture: {{answer}} ({{probabilities.max():.1%}})")
print(f"It is: {{class_names[y_test[0]]}}")
"""

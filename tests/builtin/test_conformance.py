"""The built-in plugins do what tlkit asks of those of others."""

import pytest
from PIL import Image

from tlkit import Registry
from tlkit.testing import run_checks
from tlkit.testing.parts import coloured_images

REGISTRY = Registry(entry_points=False)
SMALL = {"image_size": 32, "weights": "random"}
PLUGINS = [
    ("backbone", "mobilenet_v2", SMALL | {"alpha": 0.35}),
    *(
        ("head", name, {})
        for name in ("dense", "linear", "mlp", "logistic", "prototype", "knn")
    ),
    ("dataset", "digits", {}),
    ("dataset", "folder", {"path": "pictures", "test_fraction": 0.5}),
    ("dataset", "csv", {"path": "pictures/table.csv", "test_fraction": 0.5}),
    *(("reporter", name, {}) for name in ("rich", "plots", "files", "html", "tensorboard")),
    ("workflow", "freeze_and_train", {"epochs": 1, "fine_tune_epochs": 1}),
    ("engine", "tensorflow", {}),
    ("engine", "openvino", {}),
]  # fmt: skip
# Those of keras.applications are one class each, made by one function; test_keras_applications
# has them. The downloads are made of arrays, as digits are, and arrays cannot be written down.
NOT_CHECKED = {"arrays", "cifar10", "cifar100", "fashion_mnist"}
NEEDS = {"html": "jinja2", "tensorboard": "tensorboard", "openvino": "openvino"}


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with six small pictures of two classes, and a table of them."""
    images, _ = coloured_images(6, 12, seed=0)
    rows = ["path,label"]
    for number, image in enumerate(images):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        rows.append(f"{path.relative_to(tmp_path / 'pictures')},{path.parent.name}")
    (tmp_path / "pictures" / "table.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)


def test_every_builtin_plugin_is_checked_but_for_those_that_say_why():
    families = {
        entry.name
        for entry in REGISTRY.list("backbone")
        if "keras.applications" in entry.plugin.summary()
    }
    names = {entry.name for entry in REGISTRY.list()}
    assert names - families - NOT_CHECKED == {name for _, name, _ in PLUGINS} - families


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(("kind", "name", "options"), PLUGINS, ids=lambda item: str(item)[:20])
def test_it_conforms(kind, name, options):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    outcomes = run_checks(lambda: REGISTRY.create(kind, name, **options))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}

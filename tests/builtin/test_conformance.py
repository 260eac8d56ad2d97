"""The built-in plugins do what tlkit asks of those of others."""

import pytest

from tlkit import Registry
from tlkit.testing import run_checks

REGISTRY = Registry(entry_points=False)
SMALL = {"image_size": 32, "weights": "random"}
PLUGINS = [
    ("backbone", "mobilenet_v2", SMALL | {"alpha": 0.35}),
    *(
        ("head", name, {})
        for name in ("dense", "linear", "mlp", "logistic", "prototype", "knn")
    ),
    ("dataset", "digits", {}),
    *(("reporter", name, {}) for name in ("rich", "plots", "files")),
    ("workflow", "freeze_and_train", {"epochs": 1, "fine_tune_epochs": 1}),
    ("engine", "tensorflow", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "options"), PLUGINS, ids=lambda item: str(item)[:20])
def test_it_conforms(kind, name, options):
    outcomes = run_checks(lambda: REGISTRY.create(kind, name, **options))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}

from pathlib import Path

import keras
import numpy as np
import pytest

from tests import misbehaving
from tests.tiny import Colours, TinyBackbone
from tlkit import PluginError, Registry, Reporter, TlkitError, Trainer, Workflow, load_run
from tlkit.builtin.heads.linear import Linear
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.registry import _version_of

# Some installed distribution, as the one that a test's plugins came from.
DISTRIBUTION = "pluggy"
ORIGIN = f"{DISTRIBUTION} {_version_of(DISTRIBUTION)}"


@pytest.fixture
def make_trainer(tmp_path):
    def make(*plugins, **changes):
        registry = Registry(entry_points=False)
        for plugin in plugins:
            registry.register(plugin, distribution=DISTRIBUTION)
        arguments = {
            "backbone": TinyBackbone(),
            "head": Linear(),
            "dataset": Colours(),
            "workflow": FreezeAndTrain(epochs=1),
            "reporters": [],
            "runs": tmp_path / "runs",
            "store": FeatureStore(tmp_path / "features"),
            "registry": registry,
        }
        named = {item.kind: item.name for item in plugins if item.kind != "reporter"}
        return Trainer(**(arguments | named | changes))

    return make


def nothing_was_kept(tmp_path):
    runs = tmp_path / "runs"
    return not (runs.exists() and list(runs.iterdir()))


CASES = {
    f"a {kind} that {what}": case
    for kind, cases in {
        "backbone": misbehaving.BACKBONES,
        "head": misbehaving.HEADS,
        "dataset": misbehaving.DATASETS,
        "engine": misbehaving.ENGINES,
        "workflow": misbehaving.WORKFLOWS,
    }.items()
    for what, case in cases.items()
}


@pytest.mark.parametrize(("plugin", "text"), CASES.values(), ids=CASES)
def test_it_is_named_and_the_run_stops_before_anything_is_computed(
    make_trainer, tmp_path, plugin, text
):
    with pytest.raises(TlkitError) as caught:
        make_trainer(plugin).run()
    assert text in str(caught.value)
    assert plugin.name in str(caught.value)
    if plugin.kind != "engine" or "failed" in text:
        assert f"{describe_plugin(plugin)}" in str(caught.value)
        assert ORIGIN in str(caught.value)
    assert not [item for item in FeatureStore(tmp_path / "features").entries() if item.complete]
    assert nothing_was_kept(tmp_path)


@pytest.mark.parametrize(
    ("plugin", "text"), misbehaving.SOLVED_HEADS.values(), ids=misbehaving.SOLVED_HEADS
)
def test_a_head_that_cannot_be_solved_is_named_and_leaves_no_run(
    make_trainer, tmp_path, plugin, text
):
    with pytest.raises(PluginError) as caught:
        make_trainer(plugin).run()
    assert text in str(caught.value)
    assert ORIGIN in str(caught.value)
    assert nothing_was_kept(tmp_path)


def test_the_plugins_own_exception_is_chained(make_trainer):
    plugin, _ = misbehaving.BACKBONES["raises"]
    with pytest.raises(PluginError) as caught:
        make_trainer(plugin).run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert "misbehaving.py, line" in str(caught.value)


def test_an_engine_that_fails_under_auto_is_left_out_and_the_run_goes_on(make_trainer, monkeypatch):
    monkeypatch.setattr("tlkit.engine_choice.LEAST_SECONDS", 0.0)
    plugin, _ = misbehaving.ENGINES["raises"]
    unmade = misbehaving.changed(plugin, "unmade", __init__=lambda self: misbehaving.boom(self))
    trainer = make_trainer(plugin, engine="auto")
    trainer._registry.register(unmade, distribution=DISTRIBUTION)
    result = trainer.run()
    reasons = {trial.engine: trial.reason for trial in result.engine_trials}
    assert f"Engine 'raises' of {ORIGIN} failed in compile(): ValueError" in reasons["raises"]
    assert any(f"Engine 'unmade' of {ORIGIN} failed in its c" in note for note in result.info.notes)


def test_a_reporter_that_exits_is_dropped_and_the_run_goes_on(make_trainer):
    plugin = misbehaving.ReporterThatExits
    with pytest.warns(RuntimeWarning, match="was dropped"):
        result = make_trainer(plugin, reporters=["exits"]).run()
    said = [text for text in result.warnings if f"Reporter 'exits' of {ORIGIN}" in text]
    assert "raised SystemExit in on_epoch_end and was dropped" in said[0]
    assert load_run(result.folder).warnings == result.warnings


def test_a_workflow_that_raises_after_a_phase_leaves_a_run_that_goes_on(make_trainer, tmp_path):
    class Halfway(Workflow):
        name = "halfway"
        broken = True

        def run(self, session):
            session.train_head(epochs=2, optimizer=keras.optimizers.SGD(0.1))
            if self.broken:
                raise ValueError("boom")

    with pytest.raises(PluginError, match=f"'halfway' of {ORIGIN} failed in run.*boom"):
        make_trainer(Halfway).run()
    (folder,) = (tmp_path / "runs").iterdir()
    Halfway.broken = False
    resumed = make_trainer(Halfway).resume(folder)
    np.testing.assert_array_equal(
        resumed.test.probabilities, make_trainer(Halfway).run().test.probabilities
    )


@pytest.mark.parametrize(
    ("plugin", "method"),
    [(misbehaving.ChangesInBuild, "build()"), (misbehaving.ChangesInLoad, "load()")],
    ids=["build", "load"],
)
def test_what_a_plugin_changes_is_put_back_and_told(make_trainer, plugin, method):
    expected = make_trainer().run()
    folder = Path.cwd()
    result = make_trainer(plugin).run()
    assert f"{describe_plugin(plugin)} in {method} {misbehaving.EVERYTHING}" in result.warnings
    assert ORIGIN in describe_plugin(plugin)
    assert Path.cwd() == folder
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_array_equal(result.test.probabilities, expected.test.probabilities)


def test_a_constructor_that_changes_the_state_is_told(make_trainer):
    def __init__(self):
        TinyBackbone.__init__(self)
        misbehaving.changes_everything()

    plugin = misbehaving.changed(TinyBackbone, "changes", __init__=__init__)
    result = make_trainer(plugin).run()
    who = f"Backbone 'changes' of {ORIGIN} in its constructor"
    assert f"{who} {misbehaving.EVERYTHING}" in result.warnings


def test_a_mistake_of_tlkit_is_not_blamed_on_the_plugin(make_trainer, monkeypatch):
    monkeypatch.setattr("tlkit.session.Examples", None)
    with pytest.raises(TypeError) as caught:
        make_trainer().run()
    assert "That was while the workflow 'freeze_and_train' of tlkit" in caught.value.__notes__[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, TlkitError("said")])
def test_some_errors_pass_as_they_are(error):
    with pytest.raises((KeyboardInterrupt, MemoryError, TlkitError)) as caught:  # noqa: SIM117
        with plugin_call(TinyBackbone(), "build()"):
            raise error
    assert not isinstance(caught.value, PluginError)


def test_memory_that_is_full_is_told_by_tensorflow_with_an_error_of_its_own():
    import tensorflow as tf

    error = tf.errors.ResourceExhaustedError(None, None, "OOM")
    with pytest.raises(tf.errors.ResourceExhaustedError):  # noqa: SIM117
        with plugin_call(TinyBackbone(), "build()"):
            raise error


def test_a_plugin_is_described_by_its_distribution_or_module():
    class Own(Reporter):
        """Registered nowhere."""

    assert describe_plugin(Own()) == (
        f"Reporter '{Own.__qualname__}' of the module tests.test_plugin_calls"
    )
    assert describe_plugin(Linear()).startswith("Head 'linear' of tlkit 0.")

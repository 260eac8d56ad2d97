import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_images
from tlkit import Engine, EngineError, engine_choice
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.engine_choice import EngineChooser, Probe, compare
from tlkit.model import assemble

IMAGES, LABELS = make_images(64, 0, size=16)


@pytest.fixture(scope="module")
def features():
    return assemble(TinyBackbone(), Linear(), 3).features


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(engine_choice, "MEASURED_SECONDS", 0.0)
    monkeypatch.setattr(engine_choice, "LEAST_SECONDS", 0.0)


@pytest.fixture
def rates(monkeypatch):
    """Images per second by engine, in place of measured ones."""
    known = {}
    monkeypatch.setattr(
        engine_choice, "_images_per_second", lambda forward, pixels: known[forward.engine]
    )
    return known


def make_engine(name, change=lambda features: features, missing=False):
    class Made(Engine):
        module = "no_such_module" if missing else ""
        install = "'some[extra]'"
        compiled = 0

        def compile(self, model):
            type(self).compiled += 1

            def forward(pixels):
                return change(model(pixels.astype(np.float32), training=False).numpy())

            forward.engine = name
            return forward

    Made.name = name
    return Made()


class Reference(TensorFlow):
    def compile(self, model):
        inner = super().compile(model)

        def forward(pixels):
            return inner(pixels)

        forward.engine = "tensorflow"
        return forward


def choose(tmp_path, features, *candidates, engine=None, total=10**6, digest="model"):
    chooser = EngineChooser(engine, [Reference(), *candidates], tmp_path)
    forward = chooser.choose(features, digest, lambda: Probe(IMAGES, LABELS), total)
    return chooser, forward


def test_the_fastest_that_gives_the_same_features_is_taken(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "quick": 300.0, "quicker": 500.0, "wrong": 900.0}
    candidates = [
        make_engine("quick"),
        make_engine("quicker", lambda found: found * (1 + 1e-4)),
        make_engine("wrong", lambda found: found * 1.01),
    ]
    chooser, forward = choose(tmp_path, features, *candidates)
    assert chooser.name == forward.engine == "quicker"
    accepted = {trial.engine: trial.accepted for trial in chooser.trials}
    assert accepted == {"quick": True, "quicker": True, "wrong": False}
    assert "relative error 0.01 on 64 images" in chooser.trials[2].reason
    assert chooser.trials[1].relative_error == pytest.approx(1e-4, rel=0.1)
    assert chooser.trials[1].images_per_second == 500
    assert chooser.trials[1].reference_images_per_second == 100


def test_a_slower_engine_is_not_taken(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "slow": 90.0}
    assert choose(tmp_path, features, make_engine("slow"))[0].name == "tensorflow"


def test_an_engine_that_fails_is_named_and_not_taken(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0}

    def fail(found):
        raise RuntimeError("no such operation")

    chooser, _ = choose(tmp_path, features, make_engine("failing", fail))
    assert chooser.name == "tensorflow"
    assert "Engine 'failing' of" in chooser.trials[0].reason
    assert "RuntimeError: no such operation" in chooser.trials[0].reason


def test_what_was_measured_is_remembered_for_this_model_alone(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "quick": 300.0}
    engine = make_engine("quick")
    choose(tmp_path, features, engine)

    def no_probe():
        raise AssertionError("measured again")

    again = EngineChooser(None, [Reference(), engine], tmp_path)
    again.choose(features, "model", no_probe, 10**6)
    assert again.name == "quick"
    assert again.trials[0].remembered
    with pytest.raises(AssertionError, match="measured again"):
        EngineChooser(None, [Reference(), engine], tmp_path).choose(
            features, "other model", no_probe, 10**6
        )


def test_little_work_stays_with_tensorflow(tmp_path, features, rates, monkeypatch):
    monkeypatch.setattr(engine_choice, "LEAST_SECONDS", 8.0)
    rates |= {"tensorflow": 100.0, "quick": 300.0}
    engine = make_engine("quick")
    chooser, _ = choose(tmp_path, features, engine, total=700)
    assert (chooser.name, type(engine).compiled) == ("tensorflow", 0)
    assert choose(tmp_path, features, engine, total=900)[0].name == "quick"


def test_an_engine_that_was_asked_for_must_give_the_same_features(tmp_path, features):
    good = make_engine("good")
    assert choose(tmp_path, features, engine=good)[0].name == "good"
    bad = make_engine("bad", lambda found: found + 1)
    with pytest.raises(EngineError, match=r"'bad' does not answer as TensorFlow does.*up to"):
        choose(tmp_path, features, engine=bad)


def test_another_precision_is_measured_and_allowed_when_asked_for(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "rough": 900.0}
    rough = make_engine("rough", lambda found: found * 1.01)
    rough.precision = "bfloat16"
    assert choose(tmp_path, features, rough)[0].name == "tensorflow"
    chooser, _ = choose(tmp_path, features, engine=rough)
    assert (chooser.name, chooser.precision) == ("rough", "bfloat16")
    assert not chooser.trials[0].accepted


def test_an_engine_that_is_not_installed_gives_the_pip_command(tmp_path, features):
    absent = make_engine("absent", missing=True)
    assert choose(tmp_path, features, absent)[0].name == "tensorflow"
    with pytest.raises(EngineError, match=r"pip install 'some\[extra\]'"):
        EngineChooser(absent, [Reference()], tmp_path)


@pytest.mark.parametrize("change", [lambda x: x[:, :4], lambda x: x * np.nan])
def test_another_shape_or_no_numbers_are_refused(change, features):
    expected = features(IMAGES.astype(np.float32)).numpy()
    assert not compare(make_engine("bad"), expected, change(expected), LABELS).accepted


def test_equal_accuracy_is_part_of_the_comparison():
    """One feature decides, and it changes by less than the error that is allowed."""
    generator = np.random.default_rng(0)
    labels = np.arange(64) % 2
    expected = np.zeros((64, 2), np.float32)
    expected[:, 0] = 1000 + generator.normal(size=64)
    expected[:, 1] = (labels - 0.5) * 0.4
    found = expected.copy()
    found[:, 1] *= -1
    trial = compare(make_engine("tricky"), expected, found, labels)
    assert trial.relative_error < engine_choice.MAX_RELATIVE_ERROR
    assert not trial.accepted
    assert trial.reason.startswith("head accuracy")


def test_a_damaged_memory_is_measured_again(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "quick": 300.0}
    engine = make_engine("quick")
    choose(tmp_path, features, engine)
    for path in tmp_path.glob("*.json"):
        path.write_text("[")
    assert not choose(tmp_path, features, engine)[0].trials[0].remembered


def test_a_failure_is_not_remembered(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "failing": 300.0}

    def fail(found):
        raise OSError("No space left on device")

    assert choose(tmp_path, features, make_engine("failing", fail))[0].name == "tensorflow"
    assert choose(tmp_path, features, make_engine("failing"))[0].name == "failing"


def test_an_engine_that_fails_under_load_is_not_taken(tmp_path, features, monkeypatch):
    def measure(forward, pixels):
        if forward.engine == "fragile":
            raise RuntimeError("out of memory")
        return 100.0

    monkeypatch.setattr(engine_choice, "_images_per_second", measure)
    chooser, _ = choose(tmp_path, features, make_engine("fragile"))
    assert (chooser.name, chooser.trials[0].accepted) == ("tensorflow", False)


def test_a_module_whose_parent_is_missing_is_not_installed():
    class Nested(Engine):
        name = "nested"
        module = "no_such_parent.child"

        def compile(self, model):
            raise AssertionError

    assert not Nested.is_installed()


def test_an_engine_that_is_asked_for_is_measured_each_time(tmp_path, features):
    """Its author mends it between two runs."""
    with pytest.raises(EngineError, match="Mend it"):
        choose(tmp_path, features, engine=make_engine("mine", lambda found: found * 1.05))
    assert choose(tmp_path, features, engine=make_engine("mine"))[0].name == "mine"
    with pytest.raises(EngineError, match="relative error"):
        choose(tmp_path, features, engine=make_engine("mine", lambda found: found * 1.05))


def test_a_changed_source_file_is_measured_again(tmp_path, features, rates, monkeypatch):
    rates |= {"tensorflow": 100.0, "quick": 300.0}
    engine = make_engine("quick")
    choose(tmp_path, features, engine)
    assert choose(tmp_path, features, engine)[0].trials[0].remembered
    monkeypatch.setattr(engine_choice, "digest_code", lambda kind: "edited")
    assert not choose(tmp_path, features, engine)[0].trials[0].remembered


def test_what_was_measured_can_be_forgotten(tmp_path, features, rates):
    rates |= {"tensorflow": 100.0, "quick": 300.0}
    engine = make_engine("quick")
    choose(tmp_path, features, engine)
    engine_choice.forget(tmp_path)
    assert not choose(tmp_path, features, engine)[0].trials[0].remembered

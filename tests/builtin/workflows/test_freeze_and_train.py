import pytest

from tests.tiny import Colours, TinyBackbone
from tlkit import ConfigError, Registry, Trainer
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.logistic import Logistic
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs = 0 is not allowed: 1 or more"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"fine_tune_epochs": -1}, "fine_tune_epochs = -1"),
        ({"unfreeze": -1}, "unfreeze = -1"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 is not allowed: above 0"),
        ({"fine_tune_learning_rate": float("nan")}, "nan is not allowed"),
        ({"early_stopping": -1}, "early_stopping = -1 is not allowed: 0 or more"),
        ({"fine_tune_views": -1}, "fine_tune_views = -1"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1"),
        ({"clip_norm": float("nan")}, "clip_norm = nan"),
        ({"warmup": 1.0}, "warmup = 1.0 is not allowed: 0 to below 1"),
        ({"ema": 1.0}, "ema = 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing = -0.1"),
        ({"mixup": 1.5}, "mixup = 1.5 is not allowed: 0 to 1"),
        ({"cutmix": -1.0}, "cutmix = -1.0"),
        ({"fine_tune_views": 2}, "fine_tune_views = 2 needs frozen blocks and unmixed images"),
        ({"fine_tune_views": 2, "unfreeze": 3, "mixup": 0.1}, "needs frozen blocks"),
        ({"unfreeze_every": -1}, "unfreeze_every = -1"),
        ({"fine_tune_early_stopping": -1}, "fine_tune_early_stopping = -1"),
        ({"layer_decay": 0.0}, "layer_decay = 0.0 is not allowed: above 0, up to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FreezeAndTrain(**options)


def test_it_says_whether_it_trains_the_backbone():
    assert not FreezeAndTrain().fine_tunes
    assert FreezeAndTrain(fine_tune_epochs=1).fine_tunes


def test_options_of_a_phase_that_does_not_run_are_idle():
    idle = FreezeAndTrain().idle_options()
    assert {"fine_tune_epochs", "mixup", "unfreeze"} <= set(idle)
    assert not {"epochs", "class_weight", "early_stopping"} & set(idle)
    assert FreezeAndTrain(fine_tune_epochs=1).idle_options() == ()


def test_options_of_gradient_steps_are_idle_for_a_head_that_is_solved():
    stepless = {"epochs", "learning_rate", "early_stopping"}
    solved = FreezeAndTrain().idle_options(Logistic())
    assert stepless | {"batch_size", "mixup"} <= set(solved)
    assert "class_weight" not in solved
    assert set(FreezeAndTrain(fine_tune_epochs=1).idle_options(Logistic())) == stepless
    assert not stepless & set(FreezeAndTrain().idle_options(Dense()))
    stored = FreezeAndTrain(fine_tune_epochs=1, unfreeze=3, fine_tune_views=2)
    assert stored.idle_options() == ("augment",)


def rates(workflow, steps_per_epoch, steps):
    schedule = workflow._optimizer(steps_per_epoch)._learning_rate
    return [float(schedule(step)) for step in steps]


def test_the_learning_rate_rises_and_falls_along_half_a_cosine():
    workflow = FreezeAndTrain(fine_tune_epochs=10, fine_tune_learning_rate=0.2, warmup=0.1)
    found = rates(workflow, 10, [0, 5, 10, 55, 100])
    assert found == pytest.approx([0, 0.1, 0.2, 0.1, 0], abs=1e-6)


def test_without_warm_up_it_begins_at_the_top():
    workflow = FreezeAndTrain(fine_tune_epochs=2, fine_tune_learning_rate=0.2, warmup=0.0)
    assert rates(workflow, 10, [0, 10, 20]) == pytest.approx([0.2, 0.1, 0], abs=1e-6)


def test_the_optimizer_has_what_the_keys_say():
    workflow = FreezeAndTrain(
        fine_tune_epochs=1, schedule="constant", fine_tune_learning_rate=0.2, weight_decay=0.3,
        clip_norm=0.0, ema=0.9,
    )  # fmt: skip
    optimizer = workflow._optimizer(10)
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    assert optimizer.weight_decay == 0.3
    assert optimizer.global_clipnorm is None
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)
    plain = FreezeAndTrain(fine_tune_epochs=1)._optimizer(10)
    assert plain.global_clipnorm == 1.0
    assert not plain.use_ema


class Short(FreezeAndTrain):
    """A workflow of one key, which decides the others."""

    name = "short"

    def __init__(self, epochs: int = 1, fine_tunes: bool = False) -> None:
        super().__init__(epochs=epochs, fine_tune_epochs=int(fine_tunes), mixup=0.1)


def test_a_subclass_may_take_fewer_keys(tmp_path):
    assert Short().idle_options() == ()
    assert Short().idle_options(Logistic()) == ("epochs",)
    assert Short(fine_tunes=True).idle_options() == ()
    assert Short(fine_tunes=True).mixup == 0.1
    registry = Registry(entry_points=False)
    registry.register(Short)
    with pytest.raises(ConfigError, match=r"Allowed keys: epochs, fine_tunes\."):
        registry.create("workflow", "short", mixup=0.2)
    with pytest.raises(ConfigError, match="epochs = 0 is not allowed"):
        registry.create("workflow", "short", epochs=0)
    result = Trainer(TinyBackbone(), "linear", Colours(), Short(2), [], runs=tmp_path).run()
    assert result.info.config["workflow"] == {"name": "short", "epochs": 2, "fine_tunes": False}
    assert len(result.phases[0].history["loss"]) == 2

import pytest

from tlkit import ConfigError
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
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FreezeAndTrain(**options)


def test_it_says_whether_it_trains_the_backbone():
    assert not FreezeAndTrain().fine_tunes
    assert FreezeAndTrain(fine_tune_epochs=1).fine_tunes

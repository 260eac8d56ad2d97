import math

import pytest

from tlkit import Phase
from tlkit.builtin.reporters.terminal_progress import ExtractionProgress, PhaseProgress, best_epoch


def test_the_rate_of_an_extraction_counts_from_its_first_batch():
    progress = ExtractionProgress("train", 1000)
    progress.update(0, 0.0)
    progress.update(100, 20.0)  # an engine was tried first
    assert progress.rate is progress.seconds_left is None
    progress.update(200, 21.0)
    progress.update(400, 23.0)
    assert progress.rate == 100
    assert progress.seconds_left == 6


def test_the_rate_of_an_extraction_leaves_out_what_was_stored():
    progress = ExtractionProgress("train", 1000)
    progress.update(0, 0.0)
    progress.update(900, 0.0)
    progress.update(910, 1.0)
    progress.update(930, 2.0)
    assert progress.resumed == 900
    assert progress.rate == 20
    assert progress.seconds_left == pytest.approx(3.5)


def test_the_rate_of_an_extraction_is_that_of_the_last_half_minute():
    progress = ExtractionProgress("train", 100_000)
    for second in range(1, 101):
        progress.update(second * 10, float(second))
    for second in range(101, 141):
        progress.update(1000 + (second - 100) * 100, float(second))
    assert progress.rate == pytest.approx(100, rel=0.05)


def test_the_time_left_is_that_of_all_epochs():
    progress = PhaseProgress(Phase("frozen", 10, 5, 100, 1, 1))
    assert progress.seconds_left is progress.rate is progress.best is None
    progress.update(1, 50, 100, 2.0)
    assert progress.rate == 25
    assert progress.share == pytest.approx(0.05)
    assert progress.seconds_left == pytest.approx(38)  # ten epochs of 4 seconds, 2 of them spent
    progress.end_epoch(1, {"val_loss": 0.5}, 6.0)  # the first compiles, and validation counts
    assert progress.seconds_left == pytest.approx(54)
    for epoch in range(2, 5):
        progress.update(epoch, 100, 100, 1.0)
        progress.end_epoch(epoch, {"val_loss": 1 / epoch}, 2.0)
    assert progress.seconds_left == pytest.approx(12)
    progress.update(5, 25, 100, 0.5)
    assert progress.seconds_left == pytest.approx(11.5)
    assert progress.share == pytest.approx(0.425)
    progress.update(5, 99, 100, 50.0)  # an epoch that takes longer than those before
    assert progress.seconds_left == pytest.approx(10)
    assert progress.best == 4


def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss():
    assert best_epoch({"val_loss": [0.5, 0.2, math.nan, 0.2, 0.4]}) == 2
    assert best_epoch({"val_loss": [math.nan, math.inf]}) is None
    assert best_epoch({"loss": [0.1]}) is None

import numpy as np
import pytest

from tlkit.evaluation import evaluate


def test_figures_against_a_case_worked_by_hand():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]], np.float32
    )
    found = evaluate(labels, probabilities, ["a", "b", "c"])
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(-np.log([0.8, 0.2, 0.8, 0.6]).mean(), abs=1e-6)
    assert found.confusion_matrix.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    first, second, third = found.classes
    assert (first.precision, first.recall, first.support) == (1.0, 0.5, 2)
    assert (second.precision, second.recall) == (pytest.approx(2 / 3), 1.0)
    assert (third.precision, third.recall, third.f1, third.support) == (0, 0, 0, 0)
    macro, weighted = found.averages
    assert macro.recall == pytest.approx(0.5)
    assert weighted.recall == pytest.approx(0.75)
    assert found.predictions.tolist() == [0, 1, 1, 1]

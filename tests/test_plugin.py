import pytest

from tlkit import Head


class Wide(Head):
    """A head for this test.

    More about it.
    """

    name = "wide"

    def __init__(self, units: int = 3, *, rate: float = 0.5, **more: int) -> None:
        self.unrelated = units

    def build(self, feature_shape, num_classes):
        raise NotImplementedError


def test_options_are_recorded_without_help_from_the_author():
    assert Wide(7, extra=1).options == {"units": 7, "rate": 0.5, "extra": 1}
    assert repr(Wide()) == "Wide(units=3, rate=0.5)"


def test_a_wrong_call_fails_as_python_does():
    with pytest.raises(TypeError, match="positional"):
        Wide(1, 2, 3)


def test_summary_is_the_first_line():
    assert Wide.summary() == "A head for this test."

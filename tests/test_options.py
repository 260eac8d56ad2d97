from collections.abc import Sequence
from typing import Literal

import pytest

from tlkit import ConfigError, Head
from tlkit.options import accepts, describe_type, validate_options


class Sample(Head):
    name = "sample"

    def __init__(
        self,
        units: int,
        rate: float = 0.1,
        sizes: tuple[int, ...] = (),
        mode: Literal["a", "b"] = "a",
        mixed: bool | Literal["auto"] = "auto",
    ) -> None:
        """Keep nothing.

        Args:
            units: Width of
                the layer.
        """

    def build(self, feature_shape, num_classes):
        raise NotImplementedError


def test_good_options_pass_and_lists_become_tuples():
    checked = validate_options(Sample, {"units": 3, "rate": 1, "sizes": [1, 2]}, where="x")
    assert checked == {"units": 3, "rate": 1.0, "sizes": (1, 2)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 3, "ratte": 1.0}, "Did you mean 'rate'"),
        ({"units": "3"}, "received '3'; allowed: a whole number"),
        ({"units": 3.5}, "received 3.5"),
        ({"units": True}, "received True"),
        ({"units": 1, "mode": "c"}, "allowed: 'a' or 'b'"),
        ({"units": 1, "mixed": "on"}, "allowed: true or false or 'auto'"),
        ({}, "Missing key 'units' for head 'sample': a whole number.\nunits: Width of the layer."),
    ],
)
def test_bad_options_say_what_is_allowed(options, message):
    with pytest.raises(ConfigError) as caught:
        validate_options(Sample, options, where="[head] in run.toml")
    assert message in str(caught.value)
    assert "[head] in run.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (list[int] | None, "a list, each a whole number"),
        (Literal["none"] | dict[str, float], "'none' or a table, each value a number"),
        (Sequence[str], "a list, each text in quotes"),
        (Head, "Head"),
    ],
)
def test_types_are_told_in_words(hint, words):
    assert describe_type(hint) == words


def test_a_plugin_without_a_constructor_takes_nothing():
    plain = type("Plain", (Sample,), {"__init__": object.__init__})
    assert validate_options(plain, {}, where="x") == {}
    with pytest.raises(ConfigError, match="Allowed keys: none"):
        validate_options(plain, {"a": 1}, where="x")


def test_accepts():
    assert accepts(Sample, "units", 3)
    assert not accepts(Sample, "units", [3])
    assert not accepts(Sample, "other", 3)


def test_hints_that_only_type_checkers_know_are_not_checked():
    class WithLateHint(Head):
        name = "late"

        def __init__(self, units: int, array: "Late" = None) -> None: ...  # noqa: F821

        def build(self, feature_shape, num_classes):
            raise NotImplementedError

    options = {"units": 1, "array": "anything"}
    assert validate_options(WithLateHint, options, where="x") == options
    assert accepts(WithLateHint, "array", 1)
    with pytest.raises(ConfigError, match="units"):
        validate_options(WithLateHint, {"units": "x"}, where="x")

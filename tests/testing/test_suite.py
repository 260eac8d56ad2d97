"""Each check is failed by one broken plugin, which fails no other."""

import inspect
import textwrap

import pytest

from tests import checks_reference
from tests.testing.broken import BROKEN, RIGHT, Right, Topped
from tlkit import PluginError
from tlkit.registry import KINDS
from tlkit.testing import CheckFailed, checks_of, conformance, run_checks
from tlkit.testing.every_kind import EVERY_KIND
from tlkit.testing.suite import all_checks

HEAVY = """
    import keras

    from tlkit import Head

    class Eager(Head):
        '''It imports Keras at once.'''

        name = "eager"

        def build(self, feature_shape, num_classes):
            return keras.Sequential([keras.Input(feature_shape), keras.layers.Dense(num_classes)])
"""


def found(outcomes):
    """Return the checks by what became of them."""
    by_status = {"passed": [], "failed": [], "skipped": []}
    for outcome in outcomes:
        by_status[outcome.status].append(outcome.check)
    return by_status


def waiting_for(kind, check):
    """Return the checks that need a check, themselves or through others."""
    names = {check}
    for item in checks_of(kind) * 2:
        if names & set(item.needs):
            names.add(item.name)
    return names - {check}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_that_is_right_passes_every_check(kind):
    outcomes = list(run_checks(RIGHT[kind]))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
    assert [item.check for item in outcomes] == [item.name for item in checks_of(kind)]


@pytest.mark.parametrize(("kind", "check"), BROKEN)
def test_a_broken_plugin_fails_its_check_and_no_other(kind, check):
    outcomes = {item.check: item for item in run_checks(BROKEN[kind, check], kind)}
    status = found(outcomes.values())
    assert status["failed"] == [check], {name: outcomes[name].reason for name in status["failed"]}
    assert set(status["skipped"]) == waiting_for(kind, check)
    assert len(outcomes[check].reason) > 20


def test_every_check_has_its_broken_plugin():
    tested = {check for _, check in BROKEN} | {"imports-heavy-libraries-late"}
    assert {item.name for item in all_checks()} == tested
    for kind in KINDS:
        own = {item.name for item in checks_of(kind)} - {
            item.name for item in all_checks() if item.kinds == EVERY_KIND
        }
        assert own == {check for of, check in BROKEN if of == kind and check in own}


def test_a_module_that_imports_keras_is_found(tmp_path, monkeypatch):
    (tmp_path / "eager_plugin.py").write_text(textwrap.dedent(HEAVY))
    monkeypatch.syspath_prepend(tmp_path)
    import eager_plugin

    assert found(run_checks(eager_plugin.Eager))["failed"] == ["imports-heavy-libraries-late"]


def test_checks_say_what_they_ask_for():
    for item in all_checks():
        assert item.rule.endswith("."), item.name
        assert inspect.getdoc(item.run).split("\n")[0] == item.rule
        assert set(item.needs) <= {other.name for other in all_checks()}
        assert set(item.kinds) <= set(KINDS)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(
        PluginError, match=r"Unknown kind of plugin 'nose'\. Allowed: backbone, head"
    ):
        checks_of("nose")


def test_the_tests_for_pytest_fail_and_skip_as_the_checks_do():
    became = {"passed": [], "failed": [], "skipped": []}
    for parameter in conformance(Topped).args[1]:
        try:
            parameter.values[0]()
            became["passed"].append(parameter.id)
        except pytest.skip.Exception:
            became["skipped"].append(parameter.id)
        except CheckFailed as err:
            assert "build() gives a keras.Model without a top" in str(err)
            assert "(None, 1000), as one whose classification top" in str(err)
            became["failed"].append(parameter.id)
    assert became == found(run_checks(Topped))


@conformance(RIGHT["head"])
def test_the_decorator_is_used_as_the_docs_say(check):
    check()


class Nested(Right):
    """Its layers are those of a network within the network, as of KerasHub's."""

    name = "nested"

    def build(self):
        import keras

        inputs = keras.Input((self.image_size, self.image_size, 3))
        return keras.Model(inputs, super().build()(inputs))

    def blocks(self, model):
        return super().blocks(model.layers[-1])


def test_blocks_of_a_network_within_a_network_are_in_order():
    outcomes = {item.check: item for item in run_checks(Nested)}
    assert outcomes["lists-its-blocks"].reason == ""
    assert outcomes["stays-frozen"].reason == ""


def test_the_docs_list_the_checks():
    assert checks_reference.table() in checks_reference.PAGE.read_text(encoding="utf-8")

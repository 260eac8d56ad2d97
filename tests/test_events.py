import pytest

from tests.tiny import Recorder
from tlkit import Reporter
from tlkit.events import Events


class Raises(Reporter):
    name = "raises"
    calls = 0

    def on_run_end(self, result, **kwargs):
        type(self).calls += 1
        raise ValueError("no disk")


def test_a_reporter_that_raises_is_dropped_and_the_others_go_on():
    recorder = Recorder()
    events = Events([Raises(), recorder])
    with pytest.warns(RuntimeWarning, match="'raises' of the module .* raised ValueError in"):
        events.emit("on_run_end", None)
    events.emit("on_run_end", None)
    assert Raises.calls == 1
    assert recorder.names() == ["on_run_end", "on_run_end"]
    assert "no disk" in events.warnings[0]


def test_an_interrupt_is_not_swallowed():
    class Interrupts(Reporter):
        def on_run_end(self, result, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Events([Interrupts()]).emit("on_run_end", None)

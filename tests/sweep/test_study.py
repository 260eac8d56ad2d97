import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from tlkit.sweep import study


def trial(worker, age):
    """A trial that was asked for so many seconds ago, signed or not."""
    attributes = {"worker": json.dumps(worker)} if worker else {}
    return SimpleNamespace(
        user_attrs=attributes, datetime_start=datetime.now() - timedelta(seconds=age)
    )


ELSEWHERE = {"host": "elsewhere", "machine": "x", "process": 1, "started": "1"}


@pytest.mark.parametrize(
    ("worker", "age", "alive"),
    [
        (ELSEWHERE, 600, True),
        (ELSEWHERE, 1000, False),
        (None, 5, True),
        (None, 100, False),
    ],
)
def test_a_trial_is_at_work_until_its_process_was_silent_long_enough(worker, age, alive):
    assert study._is_alive(trial(worker, age), study._this_process()) is alive


@pytest.mark.parametrize(("change", "alive"), [({}, True), ({"started": "before"}, False)])
def test_of_this_machine_the_process_itself_is_looked_for(change, alive):
    mine = study._this_process()
    assert study._is_alive(trial({**mine, **change}, 5000), mine) is alive

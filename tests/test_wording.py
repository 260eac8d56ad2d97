from dataclasses import replace

import pytest

from tests.builtin.reporters.conftest import LINEAGE
from tlkit.wording import date, lineage_rows, old_classes_text


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("2026-11-24T12:08:16+01:00", "2026-11-24 12:08 UTC+01:00"),
        ("2026-11-24T12:08:16+00:00", "2026-11-24 12:08 UTC"),
        ("20261124T120816", "2026-11-24 12:08"),
        ("", ""),
        ("\x1b[31m", ""),
    ],
)
def test_dates_are_said_with_their_offset_where_that_is_known(when, said):
    assert date(when) == said


def test_a_lineage_is_said_by_the_names_of_the_folders():
    origin, taken = lineage_rows(LINEAGE)
    before = "before it 20261120-101010-[bold]first"
    assert origin == (
        "Starts from",
        f"20261124-120816-animals, test accuracy 87.5 %; {before}",
    )
    assert taken == (
        "Taken over",
        "the backbone and the head, with new classes beside the old ones; new classes: truck; "
        "replayed classes: cat, dog",
    )
    many = replace(LINEAGE, dropped_classes=tuple(map(str, range(12))))
    assert lineage_rows(many)[1][1].count("8, 9 and 2 more") == 1
    assert "87.5 % right before the first step, 75.0 % now" in old_classes_text(LINEAGE)
    new = replace(LINEAGE, head="new", reason="units = 4, the parent's 8", accuracy_before=None)
    assert lineage_rows(new)[1][1].startswith("the backbone; the head is new: units = 4")
    assert old_classes_text(new) == ""

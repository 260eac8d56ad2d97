import pytest

from tlkit.wording import date


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

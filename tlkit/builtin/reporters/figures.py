"""The test figures in words, for the terminal and the text report."""

from __future__ import annotations

from tlkit import Calibration, Evaluation
from tlkit.wording import percent, share_rows


def figure_rows(test: Evaluation) -> list[tuple[str, str]]:
    """Return the names and values of the figures beside the accuracy; unknown ones are left out."""
    rows = share_rows(test)
    if test.calibration is not None:
        chance = percent(test.calibration.saved.error_by_chance)
        rows.append(("Calibration error", _calibration(test.calibration)))
        rows.append(("- by chance alone", f"{chance}, if every confidence were true"))
    return rows


def _calibration(found: Calibration) -> str:
    before = percent(found.uncalibrated.expected_calibration_error)
    if found.calibrated is None:
        return f"{before} (no temperature: {found.reason})"
    after = percent(found.calibrated.expected_calibration_error)
    if found.applied:
        return f"{after} with temperature {found.temperature:.2f} ({before} without)"
    return f"{before} ({after} with temperature {found.temperature:.2f})"

"""Reports: a run as one HTML file, and a page that compares the runs of a folder."""

from __future__ import annotations

from tlkit.report.index import write_index
from tlkit.report.page import write_report

__all__ = ["write_index", "write_report"]

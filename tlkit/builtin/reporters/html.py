"""HtmlReporter: a run as one HTML page."""

from __future__ import annotations

from typing import Any, ClassVar

from tlkit import Reporter, RunResult


class HtmlReporter(Reporter):
    """Write ``report.html``, a page to look at and to pass on, into the run folder."""

    name: ClassVar[str] = "html"
    modules: ClassVar[tuple[str, ...]] = ("jinja2", "vl_convert")
    install: ClassVar[str] = "'tlkit[html]'"

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write the page; a run without a folder has none."""
        if result.folder is not None:
            from tlkit import write_report

            write_report(result)

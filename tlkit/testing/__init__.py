"""Conformance: what tlkit asks of a plugin, as checks that its author runs.

With pytest::

    from tlkit.testing import conformance

    @conformance(lambda: MyBackbone(image_size=32, weights="random"))
    def test_it_conforms(check):
        check()

Without it: ``tlkit check NAME`` or ``tlkit check my_plugin.py``.
"""

from tlkit.testing.pytest_suite import conformance
from tlkit.testing.suite import Check, CheckFailed, Outcome, checks_of, run_checks

__all__ = ["Check", "CheckFailed", "Outcome", "checks_of", "conformance", "run_checks"]

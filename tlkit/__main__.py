"""``python -m tlkit``."""

from tlkit.cli import main

main()

"""python -m tlkit_kerashub [WORD]: list the presets that can be used, with WORD in their names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Print a table of the built-in presets of the supported families.

    Args:
        arguments: A word to look for in the names and families; none for all.

    Returns:
        The exit code: 2 if no preset has the word in its name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tlkit import printable
    from tlkit_kerashub.families import REFUSED
    from tlkit_kerashub.presets import list_presets

    word = arguments[0].lower() if arguments else ""
    listed = [item for item in list_presets() if word in f"{item.name} {item.family}".lower()]
    if not listed:
        print(f"No preset has '{printable(word)}' in its name.", file=sys.stderr)
        return 2
    width = max(len(item.name) for item in listed)
    print(f"{'preset':<{width}}  {'family':<16}  {'parameters':>13}  on disk")
    for item in listed:
        family = item.family.removesuffix("Backbone")
        on_disk = "no" if item.folder is None else str(item.folder)
        print(f"{item.name:<{width}}  {family:<16}  {item.parameters:>13,}  {printable(on_disk)}")
    if not word:
        print("\nNot usable:")
        for name, reason in REFUSED.items():
            print(f"  {name.removesuffix('Backbone')}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

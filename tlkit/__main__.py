"""The program: ``tlkit``, and ``python -m tlkit``."""

import os
import sys

from tlkit.cli import main

INTERRUPTED = 130


def start() -> None:
    """Run the command line; after Ctrl-C leave without taking the interpreter down.

    Threads of TensorFlow may still compute then, and the memory that they use would be taken from
    them: now and then the process ended with SIGABRT in place of its exit code.
    """
    try:
        main()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


if __name__ == "__main__":
    start()

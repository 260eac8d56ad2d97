"""A script that runs one command and measures it: ``launcher.py RESULT PROGRAM ARGUMENT...``.

It stands between the bench and the command for two reasons. On Linux the peak memory of a new
process begins at that of the process that started it, so whoever measures must be small. And it
ends the command when its standard input is closed, hence also when the bench is killed: what went
on running would spoil the measurements of the next bench.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time


def main() -> None:
    """Run the command and write seconds, exit code and peak memory in bytes into RESULT."""
    result, *command = sys.argv[1:]
    begin = time.monotonic()
    try:
        pid = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )
    except OSError as err:
        sys.exit(str(err.strerror))
    # Ctrl-C reaches the whole group; the bench answers by closing the standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_bench, args=[pid], daemon=True).start()
    # Not getrusage(RUSAGE_CHILDREN): the command's own figures come with its end.
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    found = [seconds, os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit]
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib would triple its memory)
        json.dump(found, file)
    # The thread holds the standard input, for which an ordinary exit would wait.
    os._exit(0)


def _end_with_the_bench(pid: int) -> None:
    while os.read(0, 1):
        pass
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""Runs one command and ends it when its owner is gone: `guard.py FD GRACE_SECONDS COMMAND…`.

FD is the reading end of a pipe that the owner keeps open; the kernel closes it however the owner
ends, kill -9 included, and on every system alike. Then the command gets SIGTERM, and after the
grace SIGKILL with all it started. Standard library only, so that it is up before its command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(arguments: list[str]) -> int:
    """The command's exit status; 128 and the number for one that a signal ended."""
    pipe, grace_seconds, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    # A session of its own makes the command a group that can be swept; the guard's own descriptors
    # (the pipes of parts that must live longer than this one) stay with the guard.
    child = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own commands
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: child.terminate())
    threading.Thread(target=_end_with_owner, args=(pipe, child, grace_seconds), daemon=True).start()
    status = child.wait()
    _sweep(child)
    return 128 - status if status < 0 else status


def _end_with_owner(pipe: int, child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    os.read(pipe, 1)  # nobody writes: it returns when the last holder of the other end is gone
    child.terminate()
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        _sweep(child)


def _sweep(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the command and of what it started."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

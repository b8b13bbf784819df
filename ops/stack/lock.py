"""Takes a directory and hands on the right to run something in it, to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Taken(Exception):
    """Somebody else has the directory; the text is one line."""


def take(path: Path, what: str) -> int:
    """A descriptor that holds the lock until every copy of it is closed; raises Taken.

    Hand it to the parts as one of their `holds`: the directory is free only when all are gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # Valkey's files below it hold openids and the access token
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
        os.close(descriptor)
        raise Taken(
            f"{what} runs in this directory already, process {holder}; use another directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor

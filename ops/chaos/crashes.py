"""Takes what a worker has written and hands on the failures of our own code that it tells of."""

from __future__ import annotations

import json
from collections.abc import Iterator

#: What kombu and Celery say with a traceback when Redis is away.
_LOST_SERVER = ("Couldn't ack", "Frequent restarts", "consumer: Connection", "consumer: Cannot")
#: How much of a traceback is shown.
_TRACE_LINES, _TRACE_CHARACTERS = 40, 4000


def of(output: str) -> Iterator[str]:
    """Each traceback outside the log, and each line of the log that tells of a crash or a loss."""
    lines = output.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("Traceback"):
            yield "\n".join(lines[at : at + _TRACE_LINES])
        elif _tells_of_crash(line):
            yield line[:_TRACE_CHARACTERS]


def _tells_of_crash(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    event = str(entry.get("event", ""))
    is_ours = event.endswith("_crashed") or event == "entry_lost" or "Unrecoverable" in event
    return is_ours or ("exception" in entry and not event.startswith(_LOST_SERVER))

"""The dead list: what came from the broker and was refused, for a person to read."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

import redis

from worker.ledger import keys, scripts

#: What a character takes at the most, in bytes.
_CHARACTER_BYTES = 4


class Refused(NamedTuple):
    """One entry; its fields are those of its JSON."""

    #: When it was refused, in epoch ms.
    at: int
    queue: str
    error: str
    entry: str

    @classmethod
    def now(cls, entry: bytes, *, queue: str, error: str) -> Refused:
        """What was refused just now, as much of it as is kept."""
        most = keys.DEAD_ENTRY_CHARACTERS
        text = entry[: most * _CHARACTER_BYTES].decode(errors="replace")[:most]
        return cls(time.time_ns() // 1_000_000, queue, error, text)


class DeadList:
    """One deployment's dead list."""

    def __init__(self, client: redis.Redis, of: keys.Keys, runs: scripts.Scripts) -> None:
        self._client = client
        self._keys = of
        self._scripts = runs

    def bury(self, refused: Sequence[Refused]) -> None:
        """Put these on the list, which keeps its newest thousand; raises LedgerUnavailable."""
        texts = [json.dumps(each._asdict()) for each in refused]
        with self._scripts.reaching(), self._client.pipeline(transaction=False) as pipe:
            pipe.lpush(self._keys.dead, *texts)
            pipe.ltrim(self._keys.dead, 0, keys.DEAD_ENTRIES - 1)
            pipe.hincrby(self._keys.counters, "entries_refused", len(texts))
            self._scripts.check(pipe.execute(raise_on_error=False))

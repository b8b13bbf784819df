"""Takes changes of state and the moments of strikes, and hands on how long recovery took."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence

import redis

from ops.chaos import ledger_book
from worker.contract import record
from worker.ledger import keys

#: How often the leases are looked at, in seconds: none that is lost is shorter.
_LOOK_SECONDS = 0.05


class Leases:
    """Watches until when each request is somebody's, from a thread of its own."""

    def __init__(self, client: redis.Redis, of: keys.Keys, lease_seconds: float) -> None:
        self._client = client
        self.keys = of
        self._lease_ms = round(lease_seconds * 1000)
        self._ends: dict[str, list[int]] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="leases", daemon=True)

    def longest_lost(self, changes: Iterable[ledger_book.Change]) -> float | None:
        """Longest from the last sign of a holder until its request was taken back, in seconds.

        None where none was.
        """
        lost = []
        for before, after in _steps(changes):
            if (before.status, after.status) != ("calling", "queued"):
                continue
            ends = [end for end in self._ends.get(after.id, ()) if end <= after.at_ms]
            if ends and ends[-1] > before.at_ms:  # else it was handed back by its holder
                lost.append(after.at_ms - (ends[-1] - self._lease_ms))
        return max(lost) / 1000 if lost else None

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            with contextlib.suppress(redis.RedisError):
                self._look()

    def _look(self) -> None:
        calling = self._client.zrange(self.keys.index(record.Status.CALLING), 0, -1)
        ids = [str(each) for each in calling]
        if not ids:
            return
        for id_, end in zip(ids, self._client.zmscore(self.keys.due, ids), strict=True):
            seen = self._ends.setdefault(id_, [])
            if end is not None and (not seen or seen[-1] != end):
                seen.append(int(end))


def after_strikes(
    changes: Iterable[ledger_book.Change], struck_at: Sequence[int], met: str
) -> float | None:
    """Longest until a request that a strike met in the state `met` went on, in seconds.

    None where no strike met one.
    """
    moments = sorted(struck_at)
    longest: int | None = None
    for before, after in _steps(changes):
        first = bisect.bisect_right(moments, before.at_ms)
        is_struck = first < len(moments) and moments[first] <= after.at_ms
        if met == "waiting" and after.status != "queued":
            continue  # it waits for something else, or its deadline came
        if is_struck and before.status == met:
            longest = max(longest or 0, after.at_ms - moments[first])
    return None if longest is None else longest / 1000


def from_first_call(changes: Iterable[ledger_book.Change]) -> float | None:
    """Longest from a request's first call to its session, in seconds."""
    longest: int | None = None
    for course in ledger_book.by_request(changes).values():
        called = next((each.at_ms for each in course if each.status == "calling"), None)
        ended = next((each.at_ms for each in course if each.status == "created"), None)
        if called is not None and ended is not None:
            longest = max(longest or 0, ended - called)
    return None if longest is None else longest / 1000


def _steps(
    changes: Iterable[ledger_book.Change],
) -> Iterator[tuple[ledger_book.Change, ledger_book.Change]]:
    """Each change of a request with the one that came after it."""
    for course in ledger_book.by_request(changes).values():
        yield from itertools.pairwise(course)

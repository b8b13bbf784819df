"""Takes ids that were just accepted and rings the doorbell for them, off the caller's path.

A frozen broker can hold a publisher for seconds (ENGINE.md), so a thread publishes and the caller
waits no longer than it has time for. What is not rung here the waiting room rings, 2 s later.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.contract import request

_log = logging.getLogger("kfsession.producers")

#: Most rings that wait for the thread; more are left to the waiting room.
MAX_PENDING = 64


class Bell(Protocol):
    """What can be rung: `worker.doorbell.Doorbell`, or a test's."""

    def ring(self, lane: request.Lane, ids: Sequence[str], /) -> object:
        """Publish the ids."""

    def close(self) -> None:
        """Close the connections."""


class _Ring:
    """One call of `ring`, handed from the caller to the thread."""

    def __init__(self, lane: request.Lane, ids: Sequence[str]) -> None:
        self.lane = lane
        self.ids = ids
        self.is_over = threading.Event()


class Ringer:
    """One thread that rings; it starts with the first ring, and `open_bell` is called on it."""

    def __init__(self, open_bell: Callable[[], Bell]) -> None:
        self._open_bell = open_bell
        self._bell: Bell | None = None
        self._pending: collections.deque[_Ring] = collections.deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_late = False
        self._is_failing = False
        self._is_closed = False

    def ring(self, lane: request.Lane, ids: Sequence[str], *, within_seconds: float) -> None:
        """Ring `ids`, and wait for that at most so long; never raises for a broker that is away.

        While the thread hangs on the broker, nobody waits for it and nothing piles up behind it.
        """
        one = _Ring(lane, ids)
        with self._changed:
            if self._is_closed or self._is_late or len(self._pending) >= MAX_PENDING:
                _log.debug("doorbell_skipped lane=%s count=%d", lane, len(ids))
                return
            self._pending.append(one)
            self._start()
            self._changed.notify()
        if within_seconds > 0 and not one.is_over.wait(within_seconds):
            with self._changed:
                self._is_late = not one.is_over.is_set()
            _log.warning("doorbell_late: the broker hangs; the waiting room rings in 2 s")

    def drain(self, seconds: float) -> None:
        """Wait until everything was rung, at most so long."""
        with self._changed:
            last = self._pending[-1] if self._pending else None
        if last is not None and not self._is_late:
            last.is_over.wait(seconds)

    def close(self) -> None:
        """Ring no more; the thread ends when the broker lets go of it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="doorbell", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_closed)
                if not self._pending:
                    break
                one = self._pending[0]
            self._ring(one)
            with self._changed:
                self._pending.popleft()
                self._is_late = False
                one.is_over.set()
        if self._bell is not None:
            self._bell.close()

    def _ring(self, one: _Ring) -> None:
        try:
            if self._bell is None:
                self._bell = self._open_bell()
            self._bell.ring(one.lane, one.ids)
            self._is_failing = False
        except Exception as error:
            # Whatever it is, the ids are safe in the ledger: the first of a spell is worth a line.
            level = logging.DEBUG if self._is_failing else logging.WARNING
            self._is_failing = True
            _log.log(level, "doorbell_failed: %s; the waiting room rings in 2 s", error)

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

    def ring(self, lane: request.Lane, ids: Sequence[str], /, *, slots: int | None) -> int:
        """Publish the ids, in as many messages as `slots` can work through at once; how many."""

    def length(self, lane: request.Lane, /) -> int:
        """How many messages wait in the lane."""

    def close(self) -> None:
        """Close the connections."""


class _Ring:
    """One call of `ring`, handed from the caller to the thread."""

    def __init__(self, lane: request.Lane, ids: Sequence[str], slots: int | None) -> None:
        self.lane = lane
        self.ids = ids
        self.slots = slots
        self.is_over = threading.Event()


class Ringer:
    """One thread that rings; it starts with the first ring, and `open_bell` is called on it.

    A lane of `many_messages` is not rung: whoever takes one of them works through the whole lane,
    and slots that do so take no other message meanwhile.
    """

    def __init__(self, open_bell: Callable[[], Bell], *, many_messages: int) -> None:
        self._open_bell = open_bell
        self._many_messages = many_messages
        #: How many messages a lane has room for until its length is asked again.
        self._room = dict.fromkeys(request.Lane, 0)
        self._bell: Bell | None = None
        self._pending: collections.deque[_Ring] = collections.deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        #: Since a ring failed or hung, until one succeeds.
        self._is_ill = False
        self._is_closed = False

    def ring(
        self,
        lane: request.Lane,
        ids: Sequence[str],
        *,
        within_seconds: float,
        slots: int | None = None,
    ) -> None:
        """Ring `ids`, and wait for that at most so long; never raises for a broker that is away.

        While the broker is away, one ring at a time tries it, and nobody waits for that.
        """
        one = _Ring(lane, ids, slots)
        with self._changed:
            most = 1 if self._is_ill else MAX_PENDING
            if self._is_closed or len(self._pending) >= most:
                return
            self._pending.append(one)
            self._start()
            self._changed.notify()
            is_worth_waiting = not self._is_ill
        if is_worth_waiting and within_seconds > 0 and not one.is_over.wait(within_seconds):
            self._fall_ill("it has not answered in time", unless=one)

    def drain(self, seconds: float) -> None:
        """Wait until everything was rung, at most so long."""
        with self._changed:
            last = self._pending[-1] if self._pending and not self._is_ill else None
        if last is not None:
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
                one.is_over.set()
        if self._bell is not None:
            self._bell.close()

    def _ring(self, one: _Ring) -> None:
        try:
            if self._bell is None:
                self._bell = self._open_bell()
            if self._room[one.lane] <= 0:
                self._room[one.lane] = self._many_messages - self._bell.length(one.lane)
            if self._room[one.lane] > 0:
                self._room[one.lane] -= self._bell.ring(one.lane, one.ids, slots=one.slots)
        except Exception as error:  # whatever it is, the ids are safe in the ledger
            self._fall_ill(str(error))
        else:
            self._is_ill = False

    def _fall_ill(self, why: str, *, unless: _Ring | None = None) -> None:
        """Remember that the broker is away; the first time of a spell is worth a line."""
        with self._changed:
            if self._is_ill or (unless is not None and unless.is_over.is_set()):
                return
            self._is_ill = True
        _log.warning("doorbell_failed: %s; workers find new requests 2 s later meanwhile", why)

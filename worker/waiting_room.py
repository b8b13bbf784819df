"""Watches the ledger's clock: rings what is due, opens rooms, takes leases back, buries.

It runs as one thread in every worker process; any living worker is enough, and more do no harm,
since each pass takes its ids in one atomic step.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from worker import doorbell as doorbells
from worker import errors, machine, retry
from worker.contract import request, settings
from worker.ledger import waiting as ledgers

log = structlog.get_logger(__name__)

#: Time between two passes, in seconds.
TICK_SECONDS: Final = 0.5
#: News are gathered for so long before a pass of their own, in seconds.
NEWS_SECONDS: Final = 0.02
#: Most ids one script takes; a full pass goes again at once.
PASS_IDS: Final = 500
#: Where so many doorbells a slot are on their way in a lane, those who were queued just now need
#: none of their own.
MANY_A_SLOT: Final = settings.MANY_A_SLOT
#: With fewer a slot, slots may come free before the next pass and find none.
FEW_A_SLOT: Final = 0.25
#: Time between two signs of life, two clear-outs, and two tries of a silent broker, in seconds.
CHORES_SECONDS: Final = 5.0
#: Shortest time between two signs of life, in seconds, whatever there is to say.
ANNOUNCE_SECONDS: Final = 0.5
#: Most of the time that signs of life may take: with many accounts one keeps Redis busy a while.
MOST_ANNOUNCING: Final = 0.02


class WaitingRoom:
    """One process's watch over the ledger.

    `announce` tells the ledger that this worker lives; `look` begins the readings of who is online
    that are due.
    """

    def __init__(
        self,
        ledger: ledgers.Waiting,
        doorbell: doorbells.Doorbell,
        this_machine: machine.Machine,
        *,
        slots: int,
        announce: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._doorbell = doorbell
        self._machine = this_machine
        self._slots = slots
        self._announce = announce
        self._look = look
        self._chores_at = self._announced_at = self._announcing_seconds = 0.0
        self._is_closing = threading.Event()
        self._has_news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waiting-room", daemon=True)
        self._trouble: str | None = None
        self._silence: errors.DoorbellUnavailable | None = None
        self._may_adopt = True

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch after the pass under way."""
        self._is_closing.set()
        self._has_news.set()
        if self._thread.is_alive():
            self._thread.join()

    def announce_soon(self) -> None:
        """This worker has something to say: do not wait for the next sign of life."""
        soon = self._announced_at + max(
            ANNOUNCE_SECONDS, self._announcing_seconds / MOST_ANNOUNCING
        )
        self._chores_at = min(self._chores_at, soon)
        self._has_news.set()

    def hurry(self) -> None:
        """Something changed: make the next pass now."""
        self._has_news.set()

    def tick(self) -> None:
        """One pass over all that is due; raises LedgerUnavailable, DoorbellUnavailable last.

        A silent broker keeps nobody from expiring.
        """
        if time.monotonic() >= self._chores_at:
            self._do_chores()
        for step in (self._wake, self._open_rooms):
            while step() and not self._is_closing.is_set():
                pass
        self._ring_again()
        self._adopt()
        self._look()
        if self._silence is not None:
            raise self._silence

    def _do_chores(self) -> None:
        """What need not be done each tick."""
        self._announced_at = time.monotonic()
        self._chores_at = self._announced_at + CHORES_SECONDS  # `announce_soon` may come meanwhile
        try:
            self._announce()
            self._announcing_seconds = time.monotonic() - self._announced_at
            while self._ledger.purge(PASS_IDS) == PASS_IDS and not self._is_closing.is_set():
                pass
        except errors.LedgerUnavailable:
            self.announce_soon()
            raise
        self._silence, self._may_adopt = None, True

    def _wake(self) -> bool:
        """One script's worth of due ids; whether more may be due."""
        woken = self._ledger.wake(PASS_IDS)
        if woken.set_back_seconds:
            log.warning("clock_set_back", seconds=woken.set_back_seconds)
        for request_id in woken.lost_leases:
            log.warning("lease_taken_back", id=request_id)
        if woken.expired:
            log.info("requests_expired", count=woken.expired)
        self._ring(woken.ring, unless=MANY_A_SLOT)
        return woken.taken == PASS_IDS

    def _open_rooms(self) -> bool:
        """One script's worth of rooms whose time has come; whether more may be due."""
        opened = self._ledger.open_rooms(PASS_IDS, rest_seconds=retry.resting_seconds())
        self._ring(opened.ring, unless=MANY_A_SLOT)
        return opened.has_more

    def _ring_again(self) -> None:
        """Ring for those whose doorbells were lost, or were too few for all that are queued."""
        self._ring(self._ledger.left_queued(PASS_IDS, self._machine.taker), unless=FEW_A_SLOT)

    def _adopt(self) -> None:
        """Go on to put into their lanes whom an older release queued, one script's worth a pass."""
        if self._may_adopt:
            self._may_adopt = self._ledger.adopt(PASS_IDS)
            if self._may_adopt:
                self.hurry()

    def _ring(self, ring: Mapping[request.Lane, Sequence[str]], *, unless: float) -> None:
        """Ring each lane that has ids, `unless` so many doorbells a slot are on their way there.

        Whoever is rung works through the whole lane, so these will do. While the broker is away
        nobody can be rung.
        """
        for lane, ids in ring.items():
            if not ids or self._silence is not None:
                continue
            try:
                if self._doorbell.length(lane) < unless * self._slots:
                    self._doorbell.ring(lane, ids, slots=self._slots)
            except errors.DoorbellUnavailable as error:
                self._silence = error

    def _run(self) -> None:
        while not self._is_closing.is_set():
            if self._has_news.wait(TICK_SECONDS) and self._is_closing.wait(NEWS_SECONDS):
                return
            self._has_news.clear()
            try:
                self.tick()
            except errors.SchemaTooNew as error:  # a newer release took over: leave it the ledger
                log.error("schema_too_new", error=str(error))
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except errors.KfsessionError as error:
                self._note(str(error))
            except Exception:  # a bug must not end the watch for good
                log.exception("waiting_room_crashed")
            else:
                self._note(None)

    def _note(self, trouble: str | None) -> None:
        """Say once that something is out of reach, and once that it is back."""
        if trouble and self._trouble is None:
            log.error("out_of_reach", error=trouble)
        elif trouble is None and self._trouble:
            log.info("back_in_reach")
        self._trouble = trouble

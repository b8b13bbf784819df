"""Takes what is refused and puts it on the ledger's dead list, now or once the ledger is back."""

from __future__ import annotations

import collections
import threading
from typing import NamedTuple

import structlog

from worker import errors
from worker.ledger import keys
from worker.ledger import ledger as ledgers

log = structlog.get_logger(__name__)


class _Entry(NamedTuple):
    text: str
    queue: str
    why: str


class DeadList:
    """What was refused, until the ledger has it: as many entries as that keeps.

    An entry has left the broker when it is refused, so nobody else has it. One whose burial had no
    reply is buried again: twice rather than never.
    """

    def __init__(self, ledger: ledgers.Ledger) -> None:
        self._ledger = ledger
        self._kept: collections.deque[_Entry] = collections.deque()
        self._burying = threading.Lock()

    def refuse(self, entry: bytes, queue: str, why: str) -> None:
        """Bury an entry that is none of ours, or keep it; never raises.

        The log names the field only: the value behind it is a stranger's, and may be an openid.
        """
        log.warning("entry_refused", queue=queue, error=why.partition(": ")[0])
        refused = _Entry(entry.decode(errors="replace"), queue, why)
        if len(self._kept) >= keys.DEAD_ENTRIES:
            self._lose(refused, "the ledger is away, and too many are kept for it")
            return
        is_away = bool(self._kept)  # then this thread, mostly kombu's, does not wait for it
        self._kept.append(refused)
        if not is_away:
            self.bury_kept()

    def bury_kept(self) -> None:
        """Bury what is kept, unless another thread does so just now or the ledger is away."""
        if not self._burying.acquire(blocking=False):
            return
        try:
            while self._kept:
                entry = self._kept[0]
                self._ledger.bury(entry.text, queue=entry.queue, why=entry.why)
                self._kept.popleft()
        except errors.LedgerUnavailable as error:
            log.warning("entries_kept", count=len(self._kept), error=str(error))
        finally:
            self._burying.release()

    def close(self) -> None:
        """Bury what is kept; what the ledger does not take now is lost, and the log says so."""
        self.bury_kept()
        while self._kept:
            self._lose(self._kept.popleft(), "the worker ends while the ledger is away")

    def _lose(self, entry: _Entry, why: str) -> None:
        log.error("entry_lost", queue=entry.queue, error=why)

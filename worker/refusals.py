"""Takes what is refused and puts it on the ledger's dead list, now or once the ledger is back."""

from __future__ import annotations

import collections
import itertools
import threading

import structlog

from worker import errors
from worker.ledger import dead_list, keys

log = structlog.get_logger(__name__)

#: How many are buried in one step.
_STEP = 100


class Refusals:
    """What the dead list could not take yet: as many entries as that keeps, and as much of each.

    Nobody else may have them any more: the broker gave them away. One whose burial had no reply is
    buried again: twice rather than never. No method raises: the callers are loops that must go on.
    """

    def __init__(self, dead: dead_list.DeadList) -> None:
        self._dead = dead
        self._lock = threading.Lock()
        self._kept: collections.deque[dead_list.Refused] = collections.deque()
        #: Whether the ledger was away when it was last asked; nobody who refuses waits for it then.
        self._is_away = False

    def add(self, entry: bytes, queue: str, why: str) -> None:
        """Bury an entry, or keep it while the ledger is away.

        The log names the field only: the value behind it is a stranger's, and may be an openid.
        """
        log.warning("entry_refused", queue=queue, error=why.partition(": ")[0])
        refused = dead_list.Refused.now(entry, queue=queue, error=why)
        if self._is_away or not self._bury([refused]):
            self._keep([refused])

    def bury_kept(self) -> None:
        """Bury what is kept by now."""
        for _ in range(0, len(self._kept), _STEP):
            with self._lock:
                step = [self._kept.popleft() for _ in range(min(_STEP, len(self._kept)))]
            if step and not self._bury(step):
                self._keep(step)
                return

    def close(self) -> None:
        """Say how many are lost."""
        if self._kept:
            self._lose(len(self._kept), "the worker ends while the ledger is away")

    def _bury(self, refused: list[dead_list.Refused]) -> bool:
        """Whether they need not be kept."""
        try:
            self._dead.bury(refused)
        except errors.LedgerUnavailable as error:
            log.warning("entries_kept", count=len(refused), error=str(error))
            self._is_away = True
            return False
        except Exception:  # a bug must not keep whatever comes behind these
            log.exception("bury_crashed")
            self._lose(len(refused), "a bug of ours")
        self._is_away = False
        return True

    def _keep(self, refused: list[dead_list.Refused]) -> None:
        """Keep these with the others, oldest first, and the newest of all."""
        with self._lock:
            everything = sorted(itertools.chain(self._kept, refused))
            self._kept = collections.deque(everything, keys.DEAD_ENTRIES)
        if lost := len(everything) - len(self._kept):
            self._lose(lost, "too many are kept while the ledger is away")

    def _lose(self, count: int, why: str) -> None:
        log.error("entry_lost", count=count, error=why)

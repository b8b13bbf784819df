"""Remembers which accounts this process cannot call for, and tells each step in the ledger.

Its address may be refused, its token file missing, its proxy wrong. Then the machine *steps back*
from the account, or from all accounts where it finds no way to WeChat: it claims nothing and reads
nothing there until a probe (`probing`) succeeds. Other workers hear of it with the step that
settles, and with each beat; `scripts/machines.lua` is the ledger's part.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection

import structlog

from worker import errors, retry
from worker.ledger import accounts, claims, hints

log = structlog.get_logger(__name__)

#: The scope of a mark for all accounts.
ALL = "*"
#: A doorbell that comes back within so many seconds found no free worker: it is passed on with the
#: next tick, and not at once.
PASSED_ON_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One reason to step back; times are of this process's monotonic clock."""

    #: An appid, or ALL.
    scope: str
    trouble: retry.Trouble
    since: float
    #: When it is probed whether the trouble is over.
    until: float

    def packed(self, now: float) -> str:
        """As the scripts read it."""
        age_ms, left_ms = round((now - self.since) * 1000), round(max(0, self.until - now) * 1000)
        told = f"{self.trouble.strikes} {self.trouble.reason} {errors.in_short(self.trouble.error)}"
        return f"{self.scope} {age_ms} {left_ms} {told}"


class Machine:
    """One worker process, by its `name` in the ledger; thread-safe.

    `appids` are the accounts it has credentials for; they share its `slots`. `changed()` is called
    when it steps back or comes back: the next beat should not wait.
    """

    def __init__(
        self,
        name: str,
        appids: Collection[str],
        *,
        slots: int = 0,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._appids = frozenset(appids)
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._marks: dict[str, Mark] = {}
        #: How often in a row it stepped back, by scope; a call that gets through ends the row.
        self._strikes: dict[str, int] = {}
        #: The accounts that it has no credentials for and others have.
        self._foreign: frozenset[str] = frozenset()
        self._is_needed = True
        #: When each id was passed on last, oldest first.
        self._passed_on: dict[str, float] = {}
        #: What the next step in the ledger is told; nothing is counted where it serves one account.
        served = len(self._appids)
        self.taker = claims.Taker(worker=name, slots=slots if served > 1 else 0, served=served)

    def may_consume(self) -> bool:
        """Whether to take doorbells: not while others do all that this one cannot."""
        return self._is_needed or not self._is_idle()

    def strikes(self, appid: str) -> int:
        """How often in a row it has stepped back from this account, or from all."""
        return max(self._strikes.get(appid, 0), self._strikes.get(ALL, 0))

    def step_back(self, appid: str, trouble: retry.Trouble) -> str:
        """Leave `appid`, or all accounts, to others; returns the mark as the scripts read it.

        Empty for an account without credentials: there is nothing to probe.
        """
        with self._lock:
            now = self._clock()
            if appid not in self._appids and appid != ALL:
                self._foreign |= {appid}
                self._tell_taker()
                return ""
            scope = ALL if trouble.is_of_all_accounts else appid
            mark = self._marks.get(scope)
            if mark is None or mark.until <= now:
                since = mark.since if mark else now
                mark = Mark(scope=scope, trouble=trouble, since=since, until=now + trouble.seconds)
                self._marks[scope], self._strikes[scope] = mark, trouble.strikes
                self._tell_taker()
                is_news = True
            else:
                is_news = False
        if is_news:
            self._log(mark)
            self._changed()
        return mark.packed(now)

    def come_back(self, scope: str) -> None:
        """What it could not do for an account, or for all, it can again."""
        with self._lock:
            mark = self._marks.pop(scope, None)
            if mark is None:
                return
            self._tell_taker()
        away = round(self._clock() - mark.since, 1)
        log.info("came_back", machine=self.name, appid=scope, away_seconds=away)
        self._changed()

    def worked(self, appid: str) -> None:
        """A session was opened for this account: the next trouble is the first of its row."""
        if not self._strikes:
            return
        with self._lock:
            if not {appid, ALL} & self._marks.keys():
                self._strikes.pop(appid, None)
                self._strikes.pop(ALL, None)

    def passes_on(self, ids: Collection[str]) -> bool:
        """Whether these doorbells, which others are to answer, should be rung for them at once."""
        if not ids:
            return False
        with self._lock:
            now = self._clock()
            for each, at in list(self._passed_on.items()):
                if now - at < PASSED_ON_SECONDS:
                    break
                del self._passed_on[each]
            are_new = any(each not in self._passed_on for each in ids)
            for each in ids:
                self._passed_on.setdefault(each, now)
            return are_new

    def due(self) -> list[Mark]:
        """The marks whose time is over; while there is no way to WeChat at all, only that one."""
        with self._lock:
            now = self._clock()
            marks = [self._marks[ALL]] if ALL in self._marks else list(self._marks.values())
            return [mark for mark in marks if mark.until <= now]

    def packed(self) -> list[str]:
        """All marks, as the scripts read them."""
        with self._lock:
            now = self._clock()
            return [mark.packed(now) for mark in self._marks.values()]

    def hear(self, fleet: accounts.Fleet) -> None:
        """How the other workers stand."""
        with self._lock:
            self._is_needed = fleet.is_needed
            for scope in fleet.hurried & self._marks.keys():
                self._marks[scope] = dataclasses.replace(self._marks[scope], until=self._clock())
            if self._foreign != fleet.others:
                self._foreign = fleet.others
                self._tell_taker()

    def _is_idle(self) -> bool:
        return ALL in self._marks or self._appids <= self._marks.keys()

    def _tell_taker(self) -> None:
        left = sorted(self._foreign | self._marks.keys())
        leaves = ALL if ALL in self._marks else f"|{'|'.join(left)}|" if left else ""
        self.taker = dataclasses.replace(self.taker, leaves=leaves)

    def _log(self, mark: Mark) -> None:
        trouble = mark.trouble
        log.warning(
            "stepped_back",
            machine=self.name,
            appid=mark.scope,
            reason=trouble.reason,
            error=str(trouble.error),
            hint=getattr(trouble.error, "hint", None)
            or hints.of_machine(trouble.reason, getattr(trouble.error, "errcode", None)),
            strikes=trouble.strikes,
            probe_seconds=round(trouble.seconds, 1),
        )

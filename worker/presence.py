"""Takes accounts that somebody waits for, asks WeChat who is online, and tells the ledger.

One worker in the whole fleet reads an account once an interval: taking it moves its next reading
away. Readings run on threads of their own, so that a silent WeChat delays nobody's deadline.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Final, TypeVar

import structlog

from worker import errors, machine, retry
from worker.contract import errcodes
from worker.ledger import accounts as ledgers
from worker.wechat import account as wechat_account
from worker.wechat import agents

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Most readings that one process begins a second.
READINGS_A_SECOND: Final = 20
#: Readings that can be under way at the same time in one process.
THREADS: Final = 8
#: Time between two readings of all agents' names by one process, in seconds.
NAMES_SECONDS: Final = 600.0
#: Time between two tries where WeChat refuses the list, in seconds: a person has to act.
REFUSED_SECONDS: Final = 60.0
#: The same once two readings in a row by this process hung: each keeps a thread busy, in seconds.
HUNG_SECONDS: Final = 20.0


class Presence:
    """One process's share of the readings; `news()` is called after each that changed something.

    `accounts` are those that `this_machine` has credentials for; a reading is good for `seconds`,
    and trusted until the one after the next could have come, a call of `call_seconds` included.
    """

    def __init__(
        self,
        ledger: ledgers.Accounts,
        accounts: Mapping[str, wechat_account.Account],
        this_machine: machine.Machine,
        *,
        seconds: float,
        call_seconds: float,
        news: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._machine = this_machine
        self._seconds = seconds
        self._trusted_seconds = 2 * seconds + call_seconds
        self._news = news
        self._pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="presence")
        #: When each account's list of all agents may be read again (monotonic, seconds).
        self._names_at: dict[str, float] = {}
        #: The readings under way, by account: one that hangs does not take all threads.
        self._under_way: dict[str, futures.Future[None]] = {}
        #: The accounts whose last reading by this process hung.
        self._hung: set[str] = set()
        #: When each reading of the last second was begun.
        self._begun: collections.deque[float] = collections.deque()

    def look(self) -> None:
        """Begin the readings that are due and that this process has hands for."""
        limit = self._hands()
        if limit == 0:
            return
        taken = self._ledger.watch(limit, interval_seconds=self._seconds, taker=self._machine.taker)
        self._begun.extend([time.monotonic()] * len(taken))
        for reading in taken:
            # Others are read by another worker, and who is under way later, when due again.
            if reading.appid in self._accounts and reading.appid not in self._under_way:
                self._under_way[reading.appid] = self._pool.submit(self._read, reading)

    def stop(self) -> None:
        """Begin no further reading, and leave those under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _hands(self) -> int:
        """How many readings may begin now."""
        a_second_ago = time.monotonic() - 1
        while self._begun and self._begun[0] <= a_second_ago:
            self._begun.popleft()
        self._under_way = {
            appid: each for appid, each in self._under_way.items() if not each.done()
        }
        return min(THREADS - len(self._under_way), READINGS_A_SECOND - len(self._begun))

    def _read(self, reading: ledgers.Reading) -> None:
        try:
            self._tell(reading)
        except errors.KfsessionError as error:
            log.warning("presence_untold", appid=reading.appid, error=str(error))
        except Exception:  # a bug must not take the thread along without a word
            log.exception("presence_crashed", appid=reading.appid)

    def _tell(self, reading: ledgers.Reading) -> None:
        try:
            online = self._ask(reading.appid, agents.online)
        except (errors.WeChatError, errors.TokenUnavailable) as error:
            self._tell_blind(reading, error)
            return
        self._hung.discard(reading.appid)
        sessions = {each.kf_account: each.accepted_case for each in online}
        came = self._ledger.observe(
            reading,
            sessions,
            interval_seconds=self._seconds,
            trusted_seconds=self._trusted_seconds,
        )
        if came:
            log.info("agents_came_online", appid=reading.appid, count=came, online=len(sessions))
        if sessions:
            self._news()
        self._learn_names(reading.appid)

    def _learn_names(self, appid: str) -> None:
        """Read now and then which agents there are: a name that was never met may be wrong."""
        if time.monotonic() < self._names_at.get(appid, 0.0):
            return
        self._names_at[appid] = time.monotonic() + NAMES_SECONDS
        try:
            is_bound = self._ask(appid, agents.everybody)
        except (errors.WeChatError, errors.TokenUnavailable) as error:
            log.info("names_unread", appid=appid, error=str(error))
            return
        able = [name for name, bound in is_bound.items() if bound]
        self._ledger.name(appid, able, [name for name in is_bound if name not in able])

    def _ask(self, appid: str, call: wechat_account.Call[T]) -> T:
        return self._accounts[appid].call(call)

    def _tell_blind(self, reading: ledgers.Reading, error: errors.KfsessionError) -> None:
        """Nobody can tell; unless that is this machine's trouble, and another one may."""
        trouble = retry.of_machine(error, self._machine.strikes(reading.appid) + 1)
        mark = self._machine.step_back(reading.appid, trouble) if trouble else ""
        is_news = self._ledger.cannot_tell(
            reading,
            errors.in_short(error),
            interval_seconds=self._pause_seconds(reading.appid, error),
            worker=self._machine.name,
            mark=mark,
        )
        if is_news:
            log.warning("presence_blind", appid=reading.appid, error=str(error))
            self._news()

    def _pause_seconds(self, appid: str, error: errors.KfsessionError) -> float:
        """How long after such an error an account is not read again."""
        had_hung = appid in self._hung
        self._hung.discard(appid)
        if retry.is_hanging(error):
            self._hung.add(appid)
            return max(self._seconds, HUNG_SECONDS) if had_hung else self._seconds
        errcode = getattr(error, "errcode", None)
        if errcode is not None and errcodes.lookup(errcode).verdict in _FOR_A_PERSON:
            return max(self._seconds, REFUSED_SECONDS)
        return self._seconds


#: What no further try helps against.
_FOR_A_PERSON = frozenset(
    {
        errcodes.Verdict.ACCOUNT_BLOCKED,
        errcodes.Verdict.MACHINE_REFUSED,
        errcodes.Verdict.QUOTA,
        errcodes.Verdict.BAD_REQUEST,
    }
)

"""Takes a doorbell, claims what is queued one by one, and writes what each delivery came to."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from worker import asking, delivery, errors, machine, retry
from worker.contract import record, settings
from worker.ledger import claims
from worker.ledger import ledger as ledgers
from worker.wechat import account as wechat_account

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: A slot that was rung works on until its lanes are empty, but starts nothing after this many
#: seconds: what else waits in the broker's queues gets its turn. Slots that began together must not
#: end together, so each turn has a length of its own.
SHORTEST_TURN_SECONDS, LONGEST_TURN_SECONDS = 2.0, 10.0

#: One claim in so many takes somebody who is tried again before a first try, so that neither keeps
#: the other away. It is drawn by chance: accounts take turns, and a count could fall on the same
#: account each time.
CLAIMS_A_RETRY = 4

#: Ends that are a mistake of ours and not the world's.
_OURS = frozenset({record.Reason.BAD_REQUEST, record.Reason.INTERNAL_ERROR})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One slot's work on a doorbell, and on what else is queued."""

    #: Names it in the ledger.
    holder: str
    #: When nothing new is started any more, on the monotonic clock.
    ends: float
    #: How long a room rests that it puts somebody into.
    rest_seconds: float


class Deliverer:
    """Works through doorbells; one for all slots of a process.

    `accounts` are those that `this_machine` has credentials for; `stopping` is set once the worker
    shuts down: running calls end, nothing new starts. `hurry()` asks the waiting room for a pass
    now: a reading is wanted, a room may open, or a request was left to another machine.
    """

    def __init__(
        self,
        ledger: ledgers.Ledger,
        accounts: dict[str, wechat_account.Account],
        config: settings.Settings,
        this_machine: machine.Machine,
        *,
        hurry: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._machine = this_machine
        self._hurry = hurry
        self._stopping = stopping
        self._call_seconds = config.call_timeout_seconds

    def deliver(self, ids: Sequence[str]) -> int:
        """Answer a doorbell for `ids`: settle what is queued, in turn; returns how many."""
        turn = _Turn(
            holder=self._machine.taker.holder(uuid.uuid4().hex[:16]),
            ends=time.monotonic() + _turn_seconds(),
            rest_seconds=retry.resting_seconds(),
        )
        settled = 0
        claim: claims.Claim | None = None
        has_more = True
        while claim or (has_more and not self._is_over(turn)):
            if claim is None:
                taken = self._claim(ids, turn)
                ids = ()  # one claim answers for the whole doorbell
            else:
                taken = self._settle(claim, turn)
                settled += taken.settled
            _report(taken, claim)
            is_news = self._machine.passes_on(taken.passed_on)
            if taken.needs_reading or taken.has_stirred or is_news:
                self._hurry()
            claim, has_more = taken.claim, taken.has_more
        if self._is_over(turn):
            self._hurry()  # the waiting room rings for who is left, where too few doorbells do
        return settled

    def _is_over(self, turn: _Turn) -> bool:
        return self._stopping.is_set() or time.monotonic() >= turn.ends

    def _claim(self, ids: Sequence[str], turn: _Turn) -> claims.Taken:
        return self._reach(
            turn.ends,
            lambda again: self._ledger.claim(
                ids,
                turn.holder,
                rest_seconds=turn.rest_seconds,
                again=again,
                taker=self._machine.taker,
                prefers_tried=_prefers_tried(),
            ),
        )

    def _settle(self, claim: claims.Claim, turn: _Turn) -> claims.Taken:
        """Bring one request to a verdict and write it; the same step takes the next request."""
        ask = self._asking(claim)
        try:
            verdict = delivery.Delivery(
                ask,
                pause=self._pause,
                machine_strikes=lambda: self._machine.strikes(claim.appid),
            ).run()
        except errors.LeaseLost:
            return claims.Taken(claim=None, has_more=True, settled=False)
        if verdict.crashes:
            with contextlib.suppress(errors.LedgerUnavailable):
                self._ledger.count("delivery_crashed")
        mark = ""
        if verdict.trouble is not None:
            mark = self._machine.step_back(claim.appid, verdict.trouble)
        elif verdict.served_by is not None:
            self._machine.worked(claim.appid)
        settlement = _settlement(ask, verdict, mark)
        # Decided once: a settle that is sent again must find what the first try may have taken.
        takes_next, taker = not self._is_over(turn), self._machine.taker
        taken = self._reach(
            ask.claim.lease_ends,
            lambda again: self._ledger.settle(
                ask.claim,
                settlement,
                turn.holder,
                rest_seconds=turn.rest_seconds,
                take_next=takes_next,
                again=again,
                taker=taker,
                prefers_tried=_prefers_tried(),
            ),
        )
        if taken.became is not None:
            _log_settlement(ask.claim, settlement, taken.became)
        if ask.claim.needs_reading:
            self._hurry()
        return taken

    def _asking(self, claim: claims.Claim) -> asking.Asking:
        return asking.Asking(
            claim,
            self._accounts.get(claim.appid),
            self,
            is_stopping=self._stopping.is_set,
            call_seconds=self._call_seconds,
        )

    def _pause(self, seconds: float) -> bool:
        """Wait in place; False when the worker began to shut down meanwhile."""
        return not self._stopping.wait(seconds)

    def renew(
        self, claim: claims.Claim, kf_account: str, progress: claims.Progress
    ) -> claims.Claim:
        """Keep a claim for a call to `kf_account`."""
        return self._reach(
            claim.lease_ends, lambda _: self._ledger.renew(claim, kf_account, progress)
        )

    def find_next(
        self,
        claim: claims.Claim,
        progress: claims.Progress,
        *,
        out: frozenset[str],
        offline: str | None,
        visited: frozenset[str],
    ) -> claims.Claim:
        """Keep a claim for whoever can be asked next."""
        return self._reach(
            claim.lease_ends,
            lambda _: self._ledger.find_next(
                claim, progress, out=out, offline=offline, visited=visited
            ),
        )

    def _reach(self, ends: float, step: Callable[[bool], T]) -> T:
        """Take a step in the ledger, again and again while Redis is away, until time `ends`."""
        tries = itertools.count()
        return retry.once_or(
            lambda: retry.reaching_ledger(ends - time.monotonic()), lambda: step(next(tries) > 0)
        )


def _turn_seconds() -> float:
    return random.uniform(SHORTEST_TURN_SECONDS, LONGEST_TURN_SECONDS)  # noqa: S311 - no secret


def _prefers_tried() -> bool:
    return random.randrange(CLAIMS_A_RETRY) == 0  # noqa: S311 - no secret


def _settlement(ask: asking.Asking, verdict: delivery.Verdict, mark: str) -> claims.Settlement:
    strikes = _transient_strikes(ask.claim)
    hanging_seconds = retry.hanging_seconds(verdict.error, strikes)
    return claims.Settlement(
        status=verdict.status,
        reason=verdict.reason,
        served_by=verdict.served_by,
        wait_seconds=verdict.wait_seconds,
        holds=verdict.holds,
        strikes=verdict.strikes if hanging_seconds is None else strikes,
        crashes=verdict.crashes,
        out=frozenset(ask.out),
        because=_because(ask, verdict),
        hanging_seconds=hanging_seconds,
        hung_ms=0 if hanging_seconds is None else getattr(verdict.error, "elapsed_ms", 0),
        mark=mark,
        progress=ask.progress,
    )


def _transient_strikes(claim: claims.Claim) -> int:
    """How often in a row its account is held as transient, this time included."""
    return claim.strikes + 1 if claim.reason is record.Reason.TRANSIENT else 1


def _because(ask: asking.Asking, verdict: delivery.Verdict) -> str:
    """The code it rests on where no attempt of its own tells: a refused token, a held account."""
    error = verdict.error
    if error is None:
        return ""
    is_told = getattr(error, "errcode", None) in (None, ask.last_errcode)
    is_of_request = verdict.holds not in (claims.Holds.ACCOUNT, claims.Holds.MACHINE)
    return "" if is_told and is_of_request else errors.in_short(error)


def _report(taken: claims.Taken, claim: claims.Claim | None) -> None:
    if claim is not None and not taken.settled:
        log.warning("lease_lost", id=claim.id)
    for unknown in taken.unknown:
        log.warning("doorbell_unknown_id", id=unknown)


def _log_settlement(claim: claims.Claim, settlement: claims.Settlement, became: str) -> None:
    log.log(
        logging.ERROR if settlement.reason in _OURS else logging.INFO,
        "request_settled",
        id=claim.id,
        appid=claim.appid,
        openid=claim.openid,
        status=became,
        reason=settlement.reason,
        served_by=settlement.served_by,
        wait_seconds=round(settlement.wait_seconds, 1),
        api_calls=settlement.progress.api_calls,
    )

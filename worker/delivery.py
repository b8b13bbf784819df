"""Takes a doorbell's ids and brings each request to a settlement: created, refused, waiting, over.

One request's way is `STEPS`: each step either settles it or leaves it to the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from worker import asking, errors, retry
from worker.contract import record, settings
from worker.ledger import attempts, claims
from worker.ledger import ledger as ledgers
from worker.wechat import agents

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: No further request of a doorbell is started after this many seconds.
DOORBELL_SECONDS = 10.0

_FAILED: dict[type[errors.WeChatError], record.Reason] = {
    errors.FanInvalid: record.Reason.INVALID_OPENID,
    errors.BadRequest: record.Reason.BAD_REQUEST,
    errors.UnknownErrcode: record.Reason.UNKNOWN_ERRCODE,
}
#: "The agent is not bound to a WeChat user"; AgentOut's other code means there is no such agent.
_NOT_BOUND = 65402


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a request, before the ledger's bookkeeping is added."""

    status: record.Status
    reason: record.Reason | None = None
    served_by: str | None = None
    wait_seconds: float = 0.0
    strikes: int = 0
    crashes: int = 0
    #: What it rests on, where that is no success.
    error: BaseException | None = None

    @classmethod
    def served(cls, answer: asking.Answer) -> Verdict:
        """An agent has the fan."""
        ours = answer.is_ours
        status = record.Status.CREATED if ours else record.Status.ALREADY_SERVED
        return cls(status=status, served_by=answer.served_by)

    @classmethod
    def failed(cls, reason: record.Reason, error: BaseException | None = None) -> Verdict:
        """Refused for good."""
        return cls(status=record.Status.FAILED, reason=reason, error=error)


class Deliverer:
    """Works through doorbells; one for all slots of a process.

    `accounts` are those this worker has credentials for; `stopping` is set once the worker shuts
    down: running calls end, nothing new starts.
    """

    def __init__(
        self,
        ledger: ledgers.Ledger,
        accounts: dict[str, asking.Account],
        config: settings.Settings,
        *,
        online: Callable[[asking.Account, str], tuple[agents.OnlineAgent, ...]],
        stopping: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._online = online
        self._stopping = stopping
        self._call_seconds = config.call_timeout_seconds

    def deliver(self, ids: Sequence[str]) -> int:
        """Settle what can be claimed of `ids`, any waiting escalation first; returns how many."""
        holder = uuid.uuid4().hex[:16]
        ends = time.monotonic() + DOORBELL_SECONDS
        settled = 0
        rest: Sequence[str] = ids
        claim: claims.Claim | None = None
        while claim or (rest and not self._is_over(ends)):
            if claim is None:
                taken = self._claim(rest, holder, ends)
            else:
                taken = self._settle(claim, rest, holder, ends)
                settled += taken.settled
            self._report(taken, claim)
            claim, rest = taken.claim, taken.rest
        self._ledger.release(rest)
        return settled

    def _is_over(self, ends: float) -> bool:
        return self._stopping.is_set() or time.monotonic() >= ends

    def _claim(self, ids: Sequence[str], holder: str, ends: float) -> claims.Taken:
        return self._reach(
            ends - time.monotonic(),
            lambda again: self._ledger.claim(ids, holder, again=again),
        )

    def _settle(
        self, claim: claims.Claim, rest: Sequence[str], holder: str, ends: float
    ) -> claims.Taken:
        """Bring one request to a verdict and write it; the same step takes the next request."""
        ask = asking.Asking(
            claim,
            self._accounts.get(claim.appid),
            online=self._online,
            renew=self._renew,
            is_stopping=self._stopping.is_set,
            call_seconds=self._call_seconds,
        )
        try:
            verdict = self._judge(ask)
        except errors.LeaseLost:
            return claims.Taken(claim=None, rest=tuple(rest), settled=False)
        settlement = claims.Settlement(
            status=verdict.status,
            reason=verdict.reason,
            served_by=verdict.served_by,
            wait_seconds=verdict.wait_seconds,
            strikes=verdict.strikes,
            crashes=verdict.crashes,
            out=frozenset(ask.out),
            because=_because(ask, verdict.error),
            progress=ask.progress,
        )
        taken = self._reach(
            ask.claim.lease_left_seconds(),
            lambda again: self._ledger.settle(
                ask.claim,
                settlement,
                rest,
                holder,
                take_next=not self._is_over(ends),
                again=again,
            ),
        )
        _log_settlement(ask.claim, settlement)
        return taken

    def _judge(self, ask: asking.Asking) -> Verdict:
        try:
            for step in STEPS:
                if verdict := step(self, ask):
                    return verdict
            raise AssertionError("the last step settles every request")
        except (errors.LeaseLost, errors.LedgerUnavailable):
            raise
        except Exception as error:
            return self._after_crash(ask, error)

    # -- the steps -----------------------------------------------------------------------------

    def _end_if_over(self, ask: asking.Asking) -> Verdict | None:
        """Taken back, past its deadline, or out of attempts: no further create call."""
        claim = ask.claim
        if claim.is_cancelled:
            return self._finish(ask, Verdict(status=record.Status.CANCELLED, reason=claim.reason))
        if claim.seconds_left <= 0:
            return self._finish(ask, Verdict(status=record.Status.EXPIRED, reason=claim.reason))
        if claim.attempt_count >= retry.MAX_ATTEMPTS:
            return self._finish(ask, Verdict.failed(record.Reason.GAVE_UP))
        return None

    def _ask(self, ask: asking.Asking) -> Verdict:
        """Ask WeChat under the retry policies."""
        claim = ask.claim
        history = retry.History(
            attempt_count=lambda: ask.attempt_count, reason=claim.reason, strikes=claim.strikes
        )
        ends = time.monotonic() + claim.seconds_left
        inline = retry.Inline(
            history, pause=self._pause, seconds_left=lambda: ends - time.monotonic()
        )
        try:
            return Verdict.served(inline.run(ask.ask))
        except retry.Parked as parked:
            return Verdict(
                status=record.Status.WAITING,
                reason=parked.reason,
                wait_seconds=parked.seconds,
                strikes=parked.strikes,
                error=parked.error,
            )
        except asking.Interrupted:
            return Verdict(status=record.Status.QUEUED)
        except asking.TakenBack:
            return self._finish(ask, Verdict(status=record.Status.CANCELLED, reason=claim.reason))
        except errors.WeChatError as error:
            return self._finish(ask, Verdict.failed(_reason_of(error), error))

    # -- what the steps share --------------------------------------------------------------------

    def _finish(self, ask: asking.Asking, verdict: Verdict) -> Verdict:
        """A final state short of success needs to know that nobody was given this fan unseen."""
        if ask.doubt is None:
            return verdict
        try:
            found = retry.reading_back()(ask.read_back)
        except (errors.WeChatError, errors.TokenUnavailable):
            return dataclasses.replace(verdict, reason=record.Reason.UNCONFIRMED)
        return Verdict.served(found) if found else verdict

    def _after_crash(self, ask: asking.Asking, error: Exception) -> Verdict:
        crashes = ask.claim.crashes + 1
        log.exception("delivery_crashed", id=ask.claim.id, crashes=crashes)
        with contextlib.suppress(errors.LedgerUnavailable):
            self._ledger.count("delivery_crashed")
        seconds = retry.after_crash(error, crashes)
        if seconds is None:
            return self._finish_broken(ask)
        return Verdict(
            status=record.Status.WAITING,
            reason=retry.CRASH.reason,
            wait_seconds=seconds,
            crashes=crashes,
        )

    def _finish_broken(self, ask: asking.Asking) -> Verdict:
        """Give up on a request that our own code cannot work on; it may not read back either."""
        try:
            return self._finish(ask, Verdict.failed(record.Reason.INTERNAL_ERROR))
        except (errors.LeaseLost, errors.LedgerUnavailable):
            raise
        except Exception:
            return Verdict.failed(record.Reason.UNCONFIRMED)

    def _pause(self, seconds: float) -> bool:
        """Wait in place; False when the worker began to shut down meanwhile."""
        return not self._stopping.wait(seconds)

    def _renew(
        self, claim: claims.Claim, kf_account: str, progress: claims.Progress
    ) -> claims.Claim:
        return self._reach(
            claim.lease_left_seconds(), lambda _: self._ledger.renew(claim, kf_account, progress)
        )

    def _reach(self, seconds: float, step: Callable[[bool], T]) -> T:
        """Take a step in the ledger, again and again while Redis is away and the time lasts."""
        loop = retry.reaching_ledger(seconds)
        tries = 0

        def once() -> T:
            nonlocal tries
            tries += 1
            return step(tries > 1)

        return loop(once)

    def _report(self, taken: claims.Taken, claim: claims.Claim | None) -> None:
        if claim is not None and not taken.settled:
            log.warning("lease_lost", id=claim.id)
        for unknown in taken.unknown:
            log.warning("doorbell_unknown_id", id=unknown)


def _reason_of(error: errors.WeChatError) -> record.Reason:
    """Why a request fails for good when nothing retries `error` any more."""
    if isinstance(error, errors.AgentOut):
        bound = error.errcode != _NOT_BOUND
        return record.Reason.INVALID_AGENT if bound else record.Reason.AGENT_NOT_BOUND
    return _FAILED.get(type(error), record.Reason.GAVE_UP)


def _because(ask: asking.Asking, error: BaseException | None) -> str:
    """The code a settlement rests on where no attempt tells: a refused token, a failed reading."""
    if isinstance(error, errors.TokenUnavailable):
        log.warning("token_unavailable", appid=ask.claim.appid, error=str(error), hint=error.hint)
    errcode = getattr(error, "errcode", None)
    if errcode is None or errcode == ask.last_errcode:
        return ""
    return f"{errcode} {getattr(error, 'errmsg', None) or ''}"[: attempts.MAX_ERRMSG]


#: Ends that are a mistake of ours and not the world's.
_OURS = frozenset({record.Reason.BAD_REQUEST, record.Reason.INTERNAL_ERROR})


def _log_settlement(claim: claims.Claim, settlement: claims.Settlement) -> None:
    log.log(
        logging.ERROR if settlement.reason in _OURS else logging.INFO,
        "request_settled",
        id=claim.id,
        appid=claim.appid,
        openid=claim.openid,
        status=settlement.status,
        reason=settlement.reason,
        served_by=settlement.served_by,
        wait_seconds=round(settlement.wait_seconds, 1),
        api_calls=settlement.progress.api_calls,
    )


#: One request's way to a settlement.
STEPS: tuple[Callable[[Deliverer, asking.Asking], Verdict | None], ...] = (
    Deliverer._end_if_over,
    Deliverer._ask,
)

"""Takes one claim and brings it to a verdict: created, refused, waiting, or over.

A request's way is `Delivery.STEPS`: each step either settles it or leaves it to the next.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import ClassVar

import structlog

from worker import asking, errors, retry
from worker.contract import record
from worker.ledger import claims

log = structlog.get_logger(__name__)

_FAILED: dict[type[errors.WeChatError], record.Reason] = {
    errors.FanInvalid: record.Reason.INVALID_OPENID,
    errors.BadRequest: record.Reason.BAD_REQUEST,
    errors.UnknownErrcode: record.Reason.UNKNOWN_ERRCODE,
}
#: "The agent is not bound to a WeChat user"; AgentOut's other code means there is no such agent.
_NOT_BOUND = 65402
#: What is not a crash: the claim is gone, or the ledger is.
_NO_CRASH = (errors.LeaseLost, errors.LedgerUnavailable)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a request, before the ledger's bookkeeping is added."""

    status: record.Status
    reason: record.Reason | None = None
    served_by: str | None = None
    wait_seconds: float = 0.0
    holds: claims.Holds = claims.Holds.REQUEST
    strikes: int = 0
    crashes: int = 0
    #: What it rests on, where that is no success.
    error: Exception | None = None
    #: Why this machine steps back from the account, or from all of them.
    trouble: retry.Trouble | None = None

    @classmethod
    def served(cls, answer: asking.Answer) -> Verdict:
        """An agent has the fan."""
        ours = answer.is_ours
        status = record.Status.CREATED if ours else record.Status.ALREADY_SERVED
        return cls(status=status, served_by=answer.served_by)

    @classmethod
    def waits(cls, trouble: retry.Trouble) -> Verdict:
        """Tried again later, or now by another machine."""
        return cls(
            status=record.Status.WAITING,
            reason=trouble.reason,
            wait_seconds=trouble.seconds,
            holds=trouble.policy.holds,
            strikes=trouble.strikes,
            error=trouble.error,
            trouble=trouble if trouble.is_of_machine else None,
        )

    @classmethod
    def failed(cls, reason: record.Reason, error: Exception | None = None) -> Verdict:
        """Refused for good."""
        return cls(status=record.Status.FAILED, reason=reason, error=error)


class Delivery:
    """One request, start to verdict.

    `pause(seconds)` waits in place, and says False when the worker began to shut down meanwhile;
    `machine_strikes()` is how often in a row this machine stepped back from the account.
    """

    def __init__(
        self,
        ask: asking.Asking,
        *,
        pause: Callable[[float], bool],
        machine_strikes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._ask = ask
        self._pause = pause
        self._machine_strikes = machine_strikes

    def run(self) -> Verdict:
        """The verdict; raises LeaseLost and LedgerUnavailable. A bug of ours ends in one too."""
        try:
            verdicts = (step(self) for step in self.STEPS)
            return next(verdict for verdict in verdicts if verdict)
        except _NO_CRASH:
            raise
        except Exception as error:
            return self._after_crash(error)

    # -- the steps -----------------------------------------------------------------------------

    def end_if_over(self) -> Verdict | None:
        """Taken back, past its deadline, or out of attempts: no further create call."""
        claim = self._ask.claim
        if claim.is_cancelled:
            return self._cancelled()
        if claim.seconds_left <= 0:
            return self._finish(Verdict(status=record.Status.EXPIRED, reason=claim.reason))
        if claim.attempt_count >= retry.MAX_ATTEMPTS:
            return self._finish(Verdict.failed(record.Reason.GAVE_UP))
        return None

    def ask_wechat(self) -> Verdict:
        """Ask for a session, under the retry policies."""
        try:
            return Verdict.served(self._inline().run(self._ask.ask))
        except retry.Parked as parked:
            return Verdict.waits(parked.trouble)
        except asking.Over:
            reason = record.Reason.AGENT_OFFLINE if self._ask.has_met_offline else None
            reason = reason or self._ask.claim.reason
            return self._finish(Verdict(status=record.Status.EXPIRED, reason=reason))
        except asking.Interrupted:
            return Verdict(status=record.Status.QUEUED)
        except asking.TakenBack:
            return self._cancelled()
        except errors.WeChatError as error:
            return self._finish(Verdict.failed(_reason_of(error), error))

    #: One request's way; the last step settles every request.
    STEPS: ClassVar[tuple[Callable[[Delivery], Verdict | None], ...]] = (end_if_over, ask_wechat)

    # -- what the steps share ------------------------------------------------------------------

    def _inline(self) -> retry.Inline:
        ask, claim = self._ask, self._ask.claim
        ends = time.monotonic() + claim.seconds_left
        history = retry.History(
            attempt_count=lambda: ask.attempt_count,
            reason=claim.reason,
            strikes=claim.strikes,
            machine_strikes=self._machine_strikes,
        )
        return retry.Inline(
            history, pause=self._pause, seconds_left=lambda: ends - time.monotonic()
        )

    def _cancelled(self) -> Verdict:
        reason = self._ask.claim.reason
        return self._finish(Verdict(status=record.Status.CANCELLED, reason=reason))

    def _finish(self, verdict: Verdict) -> Verdict:
        """A final state short of success needs to know that nobody was given this fan unseen."""
        if self._ask.doubt is None:
            return verdict
        try:
            found = retry.reading_back()(self._ask.read_back)
        except (errors.WeChatError, errors.TokenUnavailable) as error:
            unconfirmed = dataclasses.replace(verdict, reason=record.Reason.UNCONFIRMED)
            trouble = retry.of_machine(error, self._machine_strikes() + 1)
            if trouble is None:
                return unconfirmed
            return dataclasses.replace(  # another machine may read back
                unconfirmed, holds=trouble.policy.holds, error=error, trouble=trouble
            )
        return Verdict.served(found) if found else verdict

    def _after_crash(self, error: Exception) -> Verdict:
        crashes = self._ask.claim.crashes + 1
        log.exception("delivery_crashed", id=self._ask.claim.id, crashes=crashes)
        seconds = retry.after_crash(error, crashes)
        if seconds is None:
            return self._finish_broken(crashes)
        return Verdict(
            status=record.Status.WAITING,
            reason=retry.CRASH.reason,
            wait_seconds=seconds,
            crashes=crashes,
        )

    def _finish_broken(self, crashes: int) -> Verdict:
        """Give up on a request that our own code cannot work on; it may not read back either."""
        failed = Verdict.failed(record.Reason.INTERNAL_ERROR)
        try:
            verdict = self._finish(failed)
        except _NO_CRASH:
            raise
        except Exception:
            log.exception("read_back_crashed", id=self._ask.claim.id)
            verdict = Verdict.failed(record.Reason.UNCONFIRMED)
        return dataclasses.replace(verdict, crashes=crashes)


def _reason_of(error: errors.WeChatError) -> record.Reason:
    """Why a request fails for good when nothing retries `error` any more."""
    if isinstance(error, errors.AgentOut):
        bound = error.errcode != _NOT_BOUND
        return record.Reason.INVALID_AGENT if bound else record.Reason.AGENT_NOT_BOUND
    return _FAILED.get(type(error), record.Reason.GAVE_UP)

"""Decides what is tried again, when, and when to stop: tenacity owns every such decision.

A delivery runs its calls through `Inline`: short waits happen in place, a longer one raises
`Parked`, and the request goes to the waiting room with the time that tenacity computed. What this
machine alone cannot do is never waited for in place: another machine may do it now.

Nobody else waits: no Celery countdown, no `self.retry`, no retries in requests, urllib3 or
redis-py.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity
from tenacity import stop, wait

from worker import errors
from worker.contract import errcodes, record
from worker.ledger import claims

T = TypeVar("T")

#: Transient and unsure attempts that end a request.
MAX_ATTEMPTS = 30
#: Failures of our own code in a row that end a request.
MAX_CRASHES = 5
#: Waits that a delivery makes in place, all together, in seconds.
INLINE_SECONDS = 3.0
#: A call that took longer and left the fan unsure hung; nothing more is tried in place after it.
HANGING_MS = 1000


def is_hanging(error: BaseException) -> bool:
    """Whether a call took long and left the fan unsure."""
    return isinstance(error, errors.Unsure) and (error.elapsed_ms or 0) > HANGING_MS


def _hold_seconds(error: BaseException) -> float:
    """How long the code table holds an account before one request probes."""
    errcode = getattr(error, "errcode", None)
    return errcodes.lookup(errcode).probe_seconds if errcode else errcodes.DEFAULT_PROBE_SECONDS


def _next_minute(_state: tenacity.RetryCallState) -> float:
    """WeChat counts calls a minute, so nothing helps before the next one."""
    return 60 - time.time() % 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One class of trouble: what a request waits for meanwhile, and tenacity's three answers."""

    reason: record.Reason
    retry: tenacity.retry_base
    wait: Callable[[tenacity.RetryCallState], float]
    #: What waits with the request.
    holds: claims.Holds = claims.Holds.REQUEST
    stop: Callable[[tenacity.RetryCallState], bool] = tenacity.stop_never
    #: Whether the attempt number is the request's spent budget; else it is how often in a row the
    #: request, or where it holds the machine the machine, has waited for the same reason.
    is_budgeted: bool = False
    #: Whether a machine that it holds can do nothing for any account.
    is_of_all_accounts: bool = False


#: WeChat was busy, or a reply was lost: 0.3 s, then doubling up to a minute.
TRANSIENT = Policy(
    reason=record.Reason.TRANSIENT,
    retry=tenacity.retry_if_exception_type(
        (
            errors.SystemBusy,
            errors.LostReply,
            errors.UnreadableReply,
            errors.ServedElsewhere,
        )
    ),
    wait=wait.wait_exponential_jitter(multiplier=0.3, max=60, jitter=0.3),
    stop=stop.stop_after_attempt(MAX_ATTEMPTS),
    is_budgeted=True,
)


def _nobody_free(reason: record.Reason) -> Policy:
    """Every target is out: presence brings the room's next try forward, the deadline ends it."""

    def is_held(error: BaseException) -> bool:
        return isinstance(error, errors.NobodyFree) and error.reason is reason

    return Policy(
        reason=reason,
        retry=tenacity.retry_if_exception(is_held),
        wait=wait.wait_exponential(multiplier=5, exp_base=1.5, max=60) + wait.wait_random(0, 1),
        holds=claims.Holds.ROOM,
    )


#: 65415: no target is online.
AGENT_OFFLINE = _nobody_free(record.Reason.AGENT_OFFLINE)
#: Who is online serves as many fans as they can take.
AGENT_FULL = _nobody_free(record.Reason.AGENT_FULL)
#: An operator paused the agents, or the account.
PAUSED = _nobody_free(record.Reason.PAUSED)

#: This machine finds no way to WeChat: no name, no connection, no TLS, no proxy.
NO_WAY = Policy(
    reason=record.Reason.TRANSIENT,
    retry=tenacity.retry_if_exception_type(errors.NeverLeft),
    wait=wait.wait_exponential_jitter(multiplier=0.3, max=60, jitter=0.3),
    holds=claims.Holds.MACHINE,
    is_of_all_accounts=True,
)

#: This machine has no credentials for the account.
NO_CREDENTIALS = Policy(
    reason=record.Reason.TOKEN,
    retry=tenacity.retry_if_exception_type(errors.CredentialsMissing),
    wait=wait.wait_fixed(5) + wait.wait_random(0, 1),
    holds=claims.Holds.MACHINE,
)

#: This machine has no usable access token.
TOKEN = Policy(
    reason=record.Reason.TOKEN,
    retry=tenacity.retry_if_exception_type((errors.TokenRejected, errors.TokenUnavailable)),
    wait=wait.wait_exponential(multiplier=4, max=60) + wait.wait_random(0, 1),
    holds=claims.Holds.MACHINE,
)

#: WeChat refuses this machine; a person has to act.
MACHINE_REFUSED = Policy(
    reason=record.Reason.ACCOUNT_BLOCKED,
    retry=tenacity.retry_if_exception_type(errors.MachineRefused),
    wait=wait.wait_exception(_hold_seconds) + wait.wait_random(0, 5),
    holds=claims.Holds.MACHINE,
)

#: 45011: the account's calls of this minute are used up.
RATE_LIMITED = Policy(
    reason=record.Reason.RATE_LIMITED,
    retry=tenacity.retry_if_exception_type(errors.RateLimited),
    wait=wait.wait_combine(_next_minute, wait.wait_random(0, 5)),
    holds=claims.Holds.ACCOUNT,
)

#: 45009: the account's calls of this day are used up; no source says when the count starts again.
QUOTA = Policy(
    reason=record.Reason.QUOTA,
    retry=tenacity.retry_if_exception_type(errors.QuotaExhausted),
    wait=wait.wait_exception(_hold_seconds) + wait.wait_random(0, 60),
    holds=claims.Holds.ACCOUNT,
)

#: A person has to act; one probe now and then notices that they have.
ACCOUNT_BLOCKED = Policy(
    reason=record.Reason.ACCOUNT_BLOCKED,
    retry=tenacity.retry_if_exception_type(errors.AccountBlocked),
    wait=wait.wait_exception(_hold_seconds) + wait.wait_random(0, 5),
    holds=claims.Holds.ACCOUNT,
)

#: Call after call of an account hangs: one request at a time finds out whether they still do.
HANGING = Policy(
    reason=record.Reason.TRANSIENT,
    retry=tenacity.retry_if_exception(is_hanging),
    wait=wait.wait_exponential(multiplier=10, exp_base=6, max=60) + wait.wait_random(0, 5),
    holds=claims.Holds.ACCOUNT,
)

#: Our own code failed on this request.
CRASH = Policy(
    reason=record.Reason.TRANSIENT,
    retry=tenacity.retry_if_exception_type(Exception),
    wait=wait.wait_exponential(multiplier=2, max=60),
    stop=stop.stop_after_attempt(MAX_CRASHES),
)

#: What can end a call, in the order they are asked.
POLICIES = (
    TRANSIENT,
    AGENT_OFFLINE,
    AGENT_FULL,
    PAUSED,
    NO_WAY,
    NO_CREDENTIALS,
    TOKEN,
    MACHINE_REFUSED,
    RATE_LIMITED,
    QUOTA,
    ACCOUNT_BLOCKED,
)


def once_or(loop: Callable[[], tenacity.Retrying], call: Callable[[], T]) -> T:
    """What `call` returns; where it fails, `loop` goes on, with that failure as its first attempt.

    Nearly every call succeeds, and an attempt inside a loop costs as much CPU as a tenth of the
    call to WeChat (ops/bench/README.md).
    """
    try:
        return call()
    except Exception as error:
        failed = [error]

    def again() -> T:
        if failed:
            raise failed.pop()
        return call()

    return loop()(again)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One failure, and for how long its policy has it waited out."""

    policy: Policy
    seconds: float
    #: How often in a row, this time included.
    strikes: int
    error: Exception

    @property
    def reason(self) -> record.Reason:
        """What is waited for."""
        return self.policy.reason

    @property
    def is_of_machine(self) -> bool:
        """Whether another machine may do now what this one cannot."""
        return self.policy.holds is claims.Holds.MACHINE

    @property
    def is_of_all_accounts(self) -> bool:
        """Whether this machine can do nothing for any account."""
        return self.policy.is_of_all_accounts

    def again(self) -> Trouble:
        """The same once more in a row."""
        strikes = self.strikes + 1
        seconds = self.policy.wait(_state(self.error, strikes))
        return dataclasses.replace(self, strikes=strikes, seconds=seconds)


class Parked(Exception):
    """The next try is too far away to wait in place, or another machine's."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"{trouble.reason} for {trouble.seconds:.1f} s")
        self.trouble = trouble


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened to a request and to the machine so far; what grows is asked each time."""

    attempt_count: Callable[[], int]
    reason: record.Reason | None
    strikes: int
    #: How often in a row this machine stepped back from the account, or from all of them.
    machine_strikes: Callable[[], int] = lambda: 0

    def number(self, policy: Policy) -> int:
        """The attempt number that `policy` is asked for."""
        return max(self.attempt_count(), 1) if policy.is_budgeted else self.strikes_after(policy)

    def strikes_after(self, policy: Policy) -> int:
        """How often in a row it is waited for this reason, once it is waited for again."""
        if policy.holds is claims.Holds.MACHINE:
            return self.machine_strikes() + 1
        return self.strikes + 1 if policy.reason is self.reason else 1


class Inline:
    """Runs the calls of one delivery under the policies.

    `pause(seconds)` waits in place and says whether the time was waited out (a shutdown ends it
    early); `seconds_left()` is the time to the request's deadline.
    """

    def __init__(
        self, history: History, *, pause: Callable[[float], bool], seconds_left: Callable[[], float]
    ) -> None:
        self._history = history
        self._pause = pause
        self._seconds_left = seconds_left
        self._budget = INLINE_SECONDS
        self._policy = TRANSIENT
        self._error: Exception | None = None

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns at last.

        Raises Parked when the next try is far away, else the error that nothing retries any more.
        """
        return once_or(self._loop, call)

    def _loop(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=self._retry, wait=self._wait, stop=self._stop, sleep=self._sleep, reraise=True
        )

    def _retry(self, state: tenacity.RetryCallState) -> bool:
        failure = state.outcome.exception() if state.outcome else None
        self._error = failure if isinstance(failure, Exception) else None
        for policy in POLICIES:
            if policy.retry(state):
                self._policy = policy
                return True
        return False

    def _wait(self, state: tenacity.RetryCallState) -> float:
        return self._policy.wait(self._numbered(state))

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        return self._policy.stop(self._numbered(state))

    def _numbered(self, state: tenacity.RetryCallState) -> tenacity.RetryCallState:
        """The same state, counted from the request's first attempt and not this delivery's."""
        state.attempt_number = self._history.number(self._policy)
        return state

    def _sleep(self, seconds: float) -> None:
        assert self._error is not None  # noqa: S101 - nothing else is waited for
        trouble = Trouble(
            policy=self._policy,
            seconds=seconds,
            strikes=self._history.strikes_after(self._policy),
            error=self._error,
        )
        is_far = seconds > min(self._budget, self._seconds_left())
        is_slow = trouble.is_of_machine or is_hanging(trouble.error)
        if is_slow or is_far or not self._pause(seconds):
            raise Parked(trouble)
        self._budget -= seconds


def after_crash(error: Exception, crashes: int) -> float | None:
    """Seconds until a request on which our code failed `crashes` times is tried again, or None."""
    state = _state(error, crashes)
    return None if CRASH.stop(state) else CRASH.wait(state)


def hanging_seconds(error: Exception | None, strikes: int) -> float | None:
    """How long an account is held whose calls hang one after the other, of which `error` is one.

    `strikes` is how often in a row it is held for that. None where the call did not hang.
    """
    if error is None:
        return None
    state = _state(error, strikes)
    return HANGING.wait(state) if HANGING.retry(state) else None


def of_machine(error: Exception, strikes: int) -> Trouble | None:
    """How long this machine steps back for `error`, for the `strikes`th time in a row.

    None where the trouble is not the machine's own.
    """
    state = _state(error, strikes)
    policy = next((each for each in POLICIES if each.retry(state)), None)
    if policy is None or policy.holds is not claims.Holds.MACHINE:
        return None
    return Trouble(policy=policy, seconds=policy.wait(state), strikes=strikes, error=error)


def resting_seconds() -> float:
    """How long a room rests before it is tried without a reading of who is online."""
    return AGENT_OFFLINE.wait(_state(errors.NobodyFree(AGENT_OFFLINE.reason), 1))


def _state(error: Exception, number: int) -> tenacity.RetryCallState:
    """What a strategy is asked with outside a loop: the `number`th try ended in `error`."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = number
    state.set_exception((type(error), error, error.__traceback__))
    return state


def reading_back() -> tenacity.Retrying:
    """Two tries to learn who serves a fan, before a final state says that nobody could tell."""
    return tenacity.Retrying(
        retry=TRANSIENT.retry | NO_WAY.retry,
        wait=wait.wait_fixed(0.5),
        stop=stop.stop_after_attempt(2),
        reraise=True,
    )


def reaching_ledger(seconds: float) -> tenacity.Retrying:
    """Tries while Redis is away, for as long as a lease lasts; its replicas are not waited for."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(errors.LedgerUnavailable)
        & tenacity.retry_if_not_exception_type(errors.TooFewReplicas),
        wait=wait.wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
        stop=stop.stop_before_delay(seconds),
        reraise=True,
    )


def reading() -> tenacity.Retrying:
    """Six tries of a call that changes nothing, for a command whose user waits for the answer."""
    return tenacity.Retrying(
        retry=(
            TRANSIENT.retry
            | NO_WAY.retry
            | RATE_LIMITED.retry
            | tenacity.retry_if_exception(_is_token_late)
        ),
        wait=_reading_wait,
        stop=stop.stop_after_attempt(6),
        reraise=True,
    )


def _reading_wait(state: tenacity.RetryCallState) -> float:
    return (RATE_LIMITED if RATE_LIMITED.retry(state) else TRANSIENT).wait(state)


def _is_token_late(error: BaseException) -> bool:
    """Whether the token's source broke off, which passes, and did not refuse."""
    cause = error.cause_error if isinstance(error, errors.TokenUnavailable) else None
    return isinstance(cause, errors.NeverLeft | errors.Unsure)

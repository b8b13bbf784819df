"""retry: every decision to try again, as tables; the pause is injected, nothing sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from worker import errors, retry
from worker.contract import record

CODES = {
    errors.SystemBusy: -1,
    errors.AgentOffline: 65415,
    errors.TokenRejected: 40001,
    errors.RateLimited: 45011,
    errors.QuotaExhausted: 45009,
    errors.AccountBlocked: 48001,
}
POLICY_OF: list[tuple[type[errors.WeChatError], retry.Policy]] = [
    (errors.NeverLeft, retry.TRANSIENT),
    (errors.SystemBusy, retry.TRANSIENT),
    (errors.LostReply, retry.TRANSIENT),
    (errors.UnreadableReply, retry.TRANSIENT),
    (errors.ServedElsewhere, retry.TRANSIENT),
    (errors.AgentOffline, retry.AGENT_OFFLINE),
    (errors.TokenRejected, retry.TOKEN),
    (errors.RateLimited, retry.RATE_LIMITED),
    (errors.QuotaExhausted, retry.QUOTA),
    (errors.AccountBlocked, retry.ACCOUNT_BLOCKED),
]


def wait_for(policy: retry.Policy, number: int, error: Exception) -> float:
    state = retry.tenacity.RetryCallState(retry.tenacity.Retrying(), None, (), {})
    state.attempt_number = number
    state.set_exception((type(error), error, None))
    return policy.wait(state)


class Run:
    """A delivery whose calls end as `outcomes` say; its pauses take no time."""

    def __init__(
        self,
        *outcomes: Exception | str,
        attempt_count: int = 0,
        reason: record.Reason | None = None,
        strikes: int = 0,
        seconds_left: float = 600,
        is_stopping: bool = False,
    ) -> None:
        self.outcomes = list(outcomes)
        self.attempt_count = attempt_count
        self.pauses: list[float] = []
        self.seconds_left = seconds_left
        self.is_stopping = is_stopping
        history = retry.History(
            attempt_count=lambda: self.attempt_count, reason=reason, strikes=strikes
        )
        self.inline = retry.Inline(
            history, pause=self.pause, seconds_left=lambda: self.seconds_left
        )

    def pause(self, seconds: float) -> bool:
        if self.is_stopping:
            return False
        self.pauses.append(seconds)
        self.seconds_left -= seconds
        return True

    def call(self) -> str:
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, str):
            return outcome
        self.attempt_count += 1
        raise outcome

    def __call__(self) -> str:
        return self.inline.run(self.call)

    def parked(self) -> retry.Parked:
        with pytest.raises(retry.Parked) as caught:
            self()
        return caught.value


@pytest.mark.parametrize(("kind", "policy"), POLICY_OF)
def test_each_class_of_trouble_has_one_policy(
    kind: type[errors.WeChatError], policy: retry.Policy
) -> None:
    """And waits for that policy's reason."""
    error = kind("x", errcode=CODES.get(kind))
    assert [each for each in retry.POLICIES if _retries(each, error)] == [policy]
    parked = Run(error, attempt_count=20, reason=policy.reason, strikes=20).parked()
    assert parked.reason is policy.reason


def test_a_missing_token_waits_for_one() -> None:
    """TokenUnavailable is no answer of WeChat, and waits all the same."""
    error = errors.TokenUnavailable("none", hint="get one")
    assert Run(error).parked().reason is record.Reason.TOKEN


@pytest.mark.parametrize(
    "kind", [errors.FanInvalid, errors.AgentOut, errors.BadRequest, errors.UnknownErrcode]
)
def test_what_nobody_can_mend_by_waiting_is_not_tried_again(
    kind: type[errors.WeChatError],
) -> None:
    """The error itself comes out."""
    run = Run(kind("x"))
    with pytest.raises(kind):
        run()
    assert run.pauses == []


@pytest.mark.parametrize("bug", [ZeroDivisionError(), errors.LeaseLost("x"), KeyError("x")])
def test_a_bug_is_not_tried_again_in_place(bug: Exception) -> None:
    """It surfaces, to be logged."""
    with pytest.raises(type(bug)):
        Run(bug)()


def _retries(policy: retry.Policy, error: Exception) -> bool:
    state = retry.tenacity.RetryCallState(retry.tenacity.Retrying(), None, (), {})
    state.set_exception((type(error), error, None))
    return bool(policy.retry(state))


@pytest.mark.parametrize(
    ("policy", "first", "cap"),
    [
        (retry.TRANSIENT, (0.3, 0.6), 60),
        (retry.AGENT_OFFLINE, (5, 6), 61),
        (retry.TOKEN, (4, 5), 61),
        (retry.CRASH, (2, 2), 60),
    ],
)
def test_waits_grow_and_are_capped(
    policy: retry.Policy, first: tuple[float, float], cap: float
) -> None:
    """From a first wait, up to a cap, however often it is asked."""
    error = errors.SystemBusy("x")
    waits = [wait_for(policy, number, error) for number in (1, 3, 6, 30, 1000, 100_000)]
    assert first[0] <= waits[0] <= first[1]
    assert waits[0] < waits[1] < waits[2]
    assert all(cap - 1 <= wait <= cap for wait in waits[3:])


@pytest.mark.parametrize(
    ("policy", "kind", "errcode", "seconds"),
    [
        (retry.QUOTA, errors.QuotaExhausted, 45009, (3600, 3660)),
        (retry.ACCOUNT_BLOCKED, errors.AccountBlocked, 48001, (60, 65)),
        (retry.ACCOUNT_BLOCKED, errors.AccountBlocked, 89506, (86_400, 86_405)),
        (retry.ACCOUNT_BLOCKED, errors.AccountBlocked, 89507, (3600, 3605)),
        (retry.ACCOUNT_BLOCKED, errors.AccountBlocked, 61005, (600, 605)),
        (retry.ACCOUNT_BLOCKED, errors.AccountBlocked, None, (60, 65)),
    ],
)
@pytest.mark.parametrize("number", [1, 50])
def test_a_held_account_is_probed_as_often_as_the_code_table_says(
    policy: retry.Policy,
    kind: type[errors.WeChatError],
    errcode: int | None,
    seconds: tuple[float, float],
    number: int,
) -> None:
    """Not more rarely the longer it lasts."""
    wait = wait_for(policy, number, kind("x", errcode=errcode))
    assert seconds[0] <= wait <= seconds[1]


@pytest.mark.parametrize(("now", "rest"), [(0.0, 60), (59.0, 1), (125.0, 55)])
def test_a_rate_limit_waits_for_the_next_minute(
    monkeypatch: pytest.MonkeyPatch, now: float, rest: float
) -> None:
    """WeChat counts by the minute."""
    monkeypatch.setattr(retry.time, "time", lambda: now)
    wait = wait_for(retry.RATE_LIMITED, 1, errors.RateLimited("x", errcode=45011))
    assert rest <= wait <= rest + 5


def test_transient_trouble_ends_after_thirty_attempts() -> None:
    """Counted over all deliveries; then the error comes out."""
    run = Run(errors.SystemBusy("x"), attempt_count=29)
    with pytest.raises(errors.SystemBusy):
        run()
    assert run.attempt_count == 30
    assert Run(errors.SystemBusy("x"), attempt_count=28).parked().seconds >= 59


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.AgentOffline("x", errcode=65415), record.Reason.AGENT_OFFLINE),
        (errors.TokenRejected("x", errcode=40001), record.Reason.TOKEN),
        (errors.QuotaExhausted("x", errcode=45009), record.Reason.QUOTA),
        (errors.AccountBlocked("x", errcode=48001), record.Reason.ACCOUNT_BLOCKED),
        (errors.RateLimited("x", errcode=45011), record.Reason.RATE_LIMITED),
    ],
)
def test_what_only_waits_never_stops_by_a_count(
    error: errors.WeChatError, reason: record.Reason
) -> None:
    """The deadline ends it."""
    parked = Run(error, attempt_count=29, reason=reason, strikes=100_000).parked()
    assert (parked.reason, parked.strikes) == (reason, 100_001)


def test_strikes_start_again_with_another_reason() -> None:
    """A first 65415 after a token wait waits 5 s, not a minute."""
    parked = Run(errors.AgentOffline("x"), reason=record.Reason.TOKEN, strikes=9).parked()
    assert parked.strikes == 1
    assert 5 <= parked.seconds <= 6


def test_short_waits_happen_in_place_and_end_with_the_answer() -> None:
    """Two -1 and then ok: three calls in one delivery."""
    run = Run(errors.SystemBusy("x"), errors.LostReply("y"), "ok")
    assert run() == "ok"
    assert len(run.pauses) == 2


def test_waits_in_place_take_three_seconds_all_together() -> None:
    """The wait beyond that goes to the waiting room, with tenacity's time."""
    run = Run(errors.SystemBusy("x"))
    parked = run.parked()
    assert 0 < sum(run.pauses) <= retry.INLINE_SECONDS
    assert sum(run.pauses) + parked.seconds > retry.INLINE_SECONDS
    assert 0.3 * 2 ** len(run.pauses) <= parked.seconds <= 0.3 * 2 ** len(run.pauses) + 0.3


def test_no_wait_in_place_passes_the_deadline() -> None:
    """Time that calls took counts too."""
    run = Run(errors.SystemBusy("x"), seconds_left=0.1)
    assert run.parked().seconds >= 0.3
    assert run.pauses == []

    slow = Run(errors.SystemBusy("x"), seconds_left=2)
    ask: Callable[[], Any] = slow.call

    def slow_call() -> str:
        slow.seconds_left -= 10
        return str(ask())

    slow.call = slow_call  # type: ignore[method-assign]
    slow.parked()
    assert slow.pauses == []


def test_a_shutdown_ends_the_wait_in_place() -> None:
    """The request goes to the waiting room instead."""
    assert Run(errors.SystemBusy("x"), is_stopping=True).parked().seconds >= 0.3


@pytest.mark.parametrize(
    ("crashes", "seconds"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, None), (6, None)]
)
def test_our_own_failures_back_off_and_end_after_five(crashes: int, seconds: float | None) -> None:
    """In a row."""
    assert retry.after_crash(ZeroDivisionError(), crashes) == seconds


def test_a_read_back_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a final state says that nobody could tell."""
    calls: list[int] = []

    def lost() -> None:
        calls.append(1)
        raise errors.LostReply("x")

    loop = retry.reading_back()
    loop.sleep = lambda _: None
    with pytest.raises(errors.LostReply):
        loop(lost)
    assert len(calls) == 2


def test_the_ledger_is_tried_while_time_lasts() -> None:
    """And at least once, however little is left."""
    calls: list[int] = []

    def away() -> None:
        calls.append(1)
        raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)

    with pytest.raises(errors.LedgerUnavailable):
        retry.reaching_ledger(-1)(away)
    assert len(calls) == 1
    with pytest.raises(errors.LedgerUnavailable):
        retry.reaching_ledger(0.5)(away)
    assert len(calls) > 2

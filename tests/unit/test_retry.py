"""retry: every decision to try again, as tables; the pause is injected, nothing sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from worker import errors, retry
from worker.contract import record
from worker.ledger import claims

CODES = {
    errors.SystemBusy: -1,
    errors.TokenRejected: 40001,
    errors.RateLimited: 45011,
    errors.QuotaExhausted: 45009,
    errors.AccountBlocked: 48001,
    errors.MachineRefused: 40164,
}
#: What nobody can be asked for holds the room of those agents.
ROOM_OF = {
    record.Reason.AGENT_OFFLINE: retry.AGENT_OFFLINE,
    record.Reason.AGENT_FULL: retry.AGENT_FULL,
    record.Reason.PAUSED: retry.PAUSED,
}
POLICY_OF: list[tuple[type[errors.WeChatError], retry.Policy]] = [
    (errors.NeverLeft, retry.NO_WAY),
    (errors.SystemBusy, retry.TRANSIENT),
    (errors.LostReply, retry.TRANSIENT),
    (errors.UnreadableReply, retry.TRANSIENT),
    (errors.ServedElsewhere, retry.TRANSIENT),
    (errors.TokenRejected, retry.TOKEN),
    (errors.RateLimited, retry.RATE_LIMITED),
    (errors.QuotaExhausted, retry.QUOTA),
    (errors.AccountBlocked, retry.ACCOUNT_BLOCKED),
    (errors.MachineRefused, retry.MACHINE_REFUSED),
]
#: What another machine may be able to do.
OF_MACHINES = (retry.NO_WAY, retry.TOKEN, retry.NO_CREDENTIALS, retry.MACHINE_REFUSED)


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
        machine_strikes: int = 0,
    ) -> None:
        self.outcomes = list(outcomes)
        self.attempt_count = attempt_count
        self.pauses: list[float] = []
        self.seconds_left = seconds_left
        self.is_stopping = is_stopping
        history = retry.History(
            attempt_count=lambda: self.attempt_count,
            reason=reason,
            strikes=strikes,
            machine_strikes=lambda: machine_strikes,
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

    def parked(self) -> retry.Trouble:
        with pytest.raises(retry.Parked) as caught:
            self()
        return caught.value.trouble


@pytest.mark.parametrize(("kind", "policy"), POLICY_OF)
def test_each_class_of_trouble_has_one_policy(
    kind: type[errors.WeChatError], policy: retry.Policy
) -> None:
    """And waits for that policy's reason."""
    error = kind("x", errcode=CODES.get(kind))
    assert [each for each in retry.POLICIES if _retries(each, error)] == [policy]
    parked = Run(error, attempt_count=20, reason=policy.reason, strikes=20).parked()
    assert parked.reason is policy.reason


@pytest.mark.parametrize(("reason", "policy"), ROOM_OF.items())
def test_nobody_to_ask_waits_in_the_room_of_its_agents(
    reason: record.Reason, policy: retry.Policy
) -> None:
    """Named for what the ledger says the agents are."""
    error = errors.NobodyFree(reason)
    assert [each for each in retry.POLICIES if _retries(each, error)] == [policy]
    parked = Run(error).parked()
    assert (parked.reason, parked.policy.holds) == (reason, claims.Holds.ROOM)
    assert 5 <= parked.seconds <= 6


@pytest.mark.parametrize(("kind", "policy"), POLICY_OF)
def test_trouble_of_the_account_holds_the_account(
    kind: type[errors.WeChatError], policy: retry.Policy
) -> None:
    """Trouble of one call holds nobody else; trouble of a machine holds that."""
    parked = Run(kind("x", errcode=CODES.get(kind)), attempt_count=20, strikes=20).parked()
    holds = claims.Holds.MACHINE if policy in OF_MACHINES else claims.Holds.ACCOUNT
    assert parked.policy.holds is (claims.Holds.REQUEST if policy is retry.TRANSIENT else holds)
    assert parked.is_of_all_accounts == (kind is errors.NeverLeft)


def test_a_missing_token_waits_for_one() -> None:
    """TokenUnavailable is no answer of WeChat, and holds this machine all the same."""
    error = errors.TokenUnavailable("none", hint="get one")
    parked = Run(error).parked()
    assert (parked.reason, parked.policy.holds) == (record.Reason.TOKEN, claims.Holds.MACHINE)


@pytest.mark.parametrize("strikes", [0, 1000])
def test_missing_credentials_hold_nobody_else(strikes: int) -> None:
    """Another worker may have them: it is soon there for another one to take."""
    error = errors.CredentialsMissing("none", hint="give it some")
    parked = Run(error, reason=record.Reason.TOKEN, strikes=strikes).parked()
    assert (parked.reason, parked.policy.holds) == (record.Reason.TOKEN, claims.Holds.MACHINE)
    assert 5 <= parked.seconds <= 6


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.NeverLeft("no name"), [(0.3, 0.6), (0.6, 0.9), (1.2, 1.5)]),
        (errors.TokenUnavailable("none", hint=""), [(4, 5), (8, 9), (16, 17)]),
        (errors.MachineRefused("no", errcode=40164), [(60, 65), (60, 65), (60, 65)]),
        (errors.MachineRefused("no", errcode=89506), [(86_400, 86_405)]),
        (errors.MachineRefused("no", errcode=89507), [(3600, 3605)]),
    ],
)
def test_a_machine_is_probed_by_its_own_count(
    error: Exception, seconds: list[tuple[float, float]]
) -> None:
    """However often this request has waited; and it is never waited for in place."""
    for strikes, (least, most) in enumerate(seconds, start=1):
        found = retry.of_machine(error, strikes)
        assert found is not None
        assert (found.strikes, found.error) == (strikes, error)
        assert least <= found.seconds <= most
        run = Run(error, attempt_count=9, strikes=9, machine_strikes=strikes - 1)
        assert least <= run.parked().seconds <= most
        assert run.pauses == []


@pytest.mark.parametrize("kind", [errors.SystemBusy, errors.AccountBlocked, errors.FanInvalid])
def test_what_every_machine_would_hear_is_no_trouble_of_this_one(kind: type[Exception]) -> None:
    """So nobody steps back for it."""
    assert retry.of_machine(kind("x"), 1) is None


def test_a_room_without_a_failed_call_rests_as_after_a_first_one() -> None:
    """Nobody of it was asked yet."""
    assert 5 <= retry.resting_seconds() <= 6


@pytest.mark.parametrize(
    "kind",
    [
        errors.FanInvalid,
        errors.AgentOut,
        errors.AgentOffline,
        errors.BadRequest,
        errors.UnknownErrcode,
    ],
)
def test_what_nobody_can_mend_by_waiting_is_not_tried_again(
    kind: type[errors.WeChatError],
) -> None:
    """The error itself comes out; 65415 never gets here, since asking takes the next target."""
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
        (retry.AGENT_FULL, (5, 6), 61),
        (retry.PAUSED, (5, 6), 61),
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
        (errors.NobodyFree(record.Reason.AGENT_OFFLINE), record.Reason.AGENT_OFFLINE),
        (errors.NobodyFree(record.Reason.AGENT_FULL), record.Reason.AGENT_FULL),
        (errors.NobodyFree(record.Reason.PAUSED), record.Reason.PAUSED),
        (errors.QuotaExhausted("x", errcode=45009), record.Reason.QUOTA),
        (errors.AccountBlocked("x", errcode=48001), record.Reason.ACCOUNT_BLOCKED),
        (errors.RateLimited("x", errcode=45011), record.Reason.RATE_LIMITED),
    ],
)
def test_what_only_waits_never_stops_by_a_count(error: Exception, reason: record.Reason) -> None:
    """The deadline ends it."""
    parked = Run(error, attempt_count=29, reason=reason, strikes=100_000).parked()
    assert (parked.reason, parked.strikes) == (reason, 100_001)


def test_strikes_start_again_with_another_reason() -> None:
    """A first 65415 after a token wait waits 5 s, not a minute."""
    offline = errors.NobodyFree(record.Reason.AGENT_OFFLINE)
    parked = Run(offline, reason=record.Reason.TOKEN, strikes=9).parked()
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


HUNG = {"elapsed_ms": retry.HANGING_MS + 1}


@pytest.mark.parametrize(
    ("error", "is_hanging"),
    [
        (errors.LostReply("x", **HUNG), True),
        (errors.UnreadableReply("x", **HUNG), True),
        (errors.LostReply("x", elapsed_ms=retry.HANGING_MS), False),
        (errors.LostReply("x"), False),
        (errors.NeverLeft("x", **HUNG), False),
        (errors.QuotaExhausted("x", **HUNG), False),
        (errors.NobodyFree(record.Reason.AGENT_OFFLINE), False),
        (None, False),
    ],
)
def test_a_call_hangs_that_takes_long_and_leaves_it_open_what_became_of_the_fan(
    error: errors.WeChatError | None, is_hanging: bool
) -> None:
    """A slow refusal is an answer."""
    assert retry.is_hanging(error) is is_hanging
    assert (retry.hanging_seconds(error, 1) is not None) is is_hanging


def test_a_call_that_hung_is_not_made_again_in_place() -> None:
    """A slot that waits for the next one serves nobody else; the wait itself is as after any."""
    run = Run(errors.LostReply("x", **HUNG), "ok")
    parked = run.parked()
    assert run.pauses == []
    assert parked.policy is retry.TRANSIENT
    assert 0.3 <= parked.seconds <= 0.6


@pytest.mark.parametrize(("strikes", "seconds"), [(1, 10), (2, 60), (9, 60)])
def test_an_account_whose_calls_hang_is_probed_less_and_less_often(
    strikes: int, seconds: float
) -> None:
    """Up to once a minute."""
    held = retry.hanging_seconds(errors.LostReply("x", **HUNG), strikes)
    assert held is not None
    assert seconds <= held <= seconds + 5


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


class Reads:
    """A call that changes nothing, which ends as `outcomes` say, the last for ever."""

    def __init__(self, *outcomes: Exception | str) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0
        self.pauses: list[float] = []

    def __call__(self) -> str:
        self.calls += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self) -> str:
        loop = retry.reading()
        loop.sleep = self.pauses.append
        return str(loop(self))


def _no_token(cause: errors.WeChatError | None) -> errors.TokenUnavailable:
    return errors.TokenUnavailable("none", hint="x", cause_error=cause)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (errors.LostReply("x"), 6),
        (errors.SystemBusy("x", errcode=-1), 6),
        (errors.RateLimited("x", errcode=45011), 6),
        (_no_token(errors.LostReply("x")), 6),
        (_no_token(errors.NeverLeft("x")), 6),
        (_no_token(errors.from_errcode(40125, "x")), 1),
        (_no_token(None), 1),
        (errors.from_errcode(48001, "x"), 1),
        (errors.from_errcode(45009, "x"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_a_command_reads_again_what_passes(error: Exception, calls: int) -> None:
    """Six times; what only a person can mend comes out at once."""
    reads = Reads(error)
    with pytest.raises(type(error)):
        reads.run()
    assert reads.calls == calls
    assert len(reads.pauses) == calls - 1


def test_a_command_waits_for_the_next_minute_only_where_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rate limit ends with the minute, a broken line with the next moment."""
    monkeypatch.setattr(retry.time, "time", lambda: 20.0)
    reads = Reads(errors.RateLimited("x", errcode=45011), errors.LostReply("x"), "read")
    assert reads.run() == "read"
    assert 40 <= reads.pauses[0] <= 45
    assert 0.3 <= reads.pauses[1] <= 1

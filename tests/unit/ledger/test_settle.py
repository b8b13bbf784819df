"""settle: one outcome, once, by who holds the claim."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, OTHER
from worker.contract import record
from worker.ledger import claims, keys


@pytest.mark.parametrize(
    ("status", "reason"),
    [("created", None), ("already_served", None)]
    + [("failed", reason) for reason in keys.details(record.Status.FAILED)],
)
def test_a_final_state_ends_the_request(
    stage: stages.Stage, status: str, reason: str | None
) -> None:
    """Its record says how, its timers are gone, and retention will remove it."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    assert stage.settle(
        claim, status, reason=reason, served_by=AGENT, attempts=[stages.attempt()]
    ).settled
    one = stage.get(request_id)
    assert (one.status.value, one.final, one.reason) == (status, True, reason)
    assert one.served_by == AGENT
    assert one.finished_at == one.updated_at
    assert stage.due_in_seconds(request_id) is None
    left = set(stage.client.hgetall(stage.keys.request(request_id)))
    assert not left & {"holder", "calling", "next_attempt_at", "strikes", "crashes", "cancel"}
    stage.check()


@pytest.mark.parametrize("reason", ["transient", "token"])
def test_a_wait_of_its_own_ends_at_its_wake_time(stage: stages.Stage, reason: str) -> None:
    """`next_attempt_at` is the time that tenacity computed."""
    request_id = stage.submit(ttl_seconds=600).id
    claim = stage.claim(request_id)
    alone = claims.Holds.REQUEST
    stage.settle(claim, "waiting", reason=reason, wait_seconds=42.5, holds=alone)
    one = stage.get(request_id)
    assert (one.status.value, one.reason) == ("waiting", reason)
    assert one.next_attempt_at is not None
    assert (one.next_attempt_at - one.updated_at).total_seconds() == 42.5
    assert stage.due_in_seconds(request_id) == pytest.approx(42.5, abs=0.5)
    assert stage.wakes_in_seconds() is None
    stage.check()


@pytest.mark.parametrize("reason", [*stages.HOLDS])
def test_a_wait_in_a_room_ends_with_the_rooms(stage: stages.Stage, reason: str) -> None:
    """The room has the wake time that tenacity computed; the request only has its deadline."""
    request_id = stage.submit(ttl_seconds=600).id
    stage.settle(stage.claim(request_id), "waiting", reason=reason, wait_seconds=42.5, strikes=2)
    one = stage.get(request_id)
    assert (one.status.value, one.reason) == ("waiting", reason)
    assert "next_attempt_at" not in stage.client.hgetall(stage.keys.request(request_id))
    assert stage.due_in_seconds(request_id) == pytest.approx(600, abs=0.5)
    assert stage.in_room() == [request_id]
    assert stage.wakes_in_seconds() == pytest.approx(42.5, abs=0.5)
    stage.check()


def test_every_reason_to_wait_is_one_of_a_room_or_of_a_request(stage: stages.Stage) -> None:
    """No reason is forgotten by the two tests above."""
    assert {*stages.HOLDS, "transient"} == {*keys.details(record.Status.WAITING)}


def test_a_wait_beyond_the_deadline_is_due_at_the_deadline(stage: stages.Stage) -> None:
    """Whichever comes first."""
    request_id = stage.submit(ttl_seconds=10).id
    stage.settle(stage.claim(request_id), "waiting", reason="quota", wait_seconds=3600)
    assert stage.due_in_seconds(request_id) == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize("status", ["created", "failed", "waiting"])
def test_a_stale_settlement_is_refused(stage: stages.Stage, status: str) -> None:
    """The fence: a holder whose lease ran out writes nothing."""
    request_id = stage.submit().id
    stale = stage.claim(request_id)
    stage.pass_seconds(stage.config.lease_seconds + 1)
    stage.wake()
    fresh = stage.claim(request_id, holder="w2")
    taken = stage.settle(stale, status, reason="quota", doubt=claims.Doubt.cleared())
    assert taken.settled is False
    assert stage.status(request_id) == "calling"
    assert stage.doubt() == AGENT
    assert stage.settle(fresh, "created").settled


def test_a_settlement_sent_again_is_recognised(stage: stages.Stage) -> None:
    """Its reply was lost; nothing is written twice."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="quota", wait_seconds=60)
    assert stage.settle(claim, "waiting", reason="quota", wait_seconds=600).settled
    assert stage.wakes_in_seconds() == pytest.approx(60, abs=1)
    assert [status for _, status, _ in stage.events()] == ["queued", "calling", "waiting"]


def test_a_claim_lost_with_the_reply_of_a_settlement_is_found_again(stage: stages.Stage) -> None:
    """The next request, handed out in the same step, does not sit out its lease."""
    first, second = (stage.submit(f"o{n}", lane="batch").id for n in range(2))
    claim = stage.claim(first)
    settlement = stages.settlement(claim, "created")
    handed = stage.ledger.settle(claim, settlement, "w1").claim
    again = stage.ledger.settle(claim, settlement, "w1", again=True)
    assert handed is not None
    assert again.claim is not None
    assert (again.settled, again.claim.id) == (True, second)
    assert again.claim.fence == handed.fence


def test_the_newest_five_attempts_are_kept_in_order(stage: stages.Stage) -> None:
    """Whatever number of calls a delivery made, and over several deliveries."""
    request_id = stage.submit(fallbacks=["any"]).id
    made = 0
    for calls in (2, 3, 1, 5):
        claim = stage.claim(request_id)
        attempts = [stages.attempt("kf7@acct", elapsed_ms=made + n) for n in range(calls)]
        made += calls
        stage.settle(claim, "waiting", reason="transient", attempts=attempts, attempt_count=made)
        stage.wake()
        one = stage.get(request_id)
        newest = range(max(0, made - 5), made)
        assert [each.elapsed_ms for each in one.attempts] == list(newest)
        assert (one.api_calls, one.attempt_count) == (made, made)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"errcode": 0, "errmsg": "ok", "error": None, "rid": None},
        {"errcode": None, "errmsg": None, "error": "lost_reply", "rid": None},
        {"errcode": -1, "errmsg": "系统繁忙, 请稍候  再试 - ", "error": "busy"},
        {"kf_account": "not-a-target@acct"},
        {"kf_account": "7"},
        {"kf_account": "客服 一@acct"},
    ],
)
def test_an_attempt_reads_back_as_it_was_written(
    stage: stages.Stage, fields: dict[str, object]
) -> None:
    """Short spelling in Redis, nothing lost."""
    request_id = stage.submit(fallbacks=["any"]).id
    attempt = stages.attempt(**fields)  # type: ignore[arg-type]
    stage.settle(stage.claim(request_id), "waiting", reason="transient", attempts=[attempt])
    assert stage.get(request_id).attempts == (attempt,)


def test_a_waiting_record_with_three_attempts_stays_small(stage: stages.Stage) -> None:
    """Every value has at most 64 bytes, so that the hash stays a listpack (promise 5)."""
    request_id = stage.submit("o" + "6" * 27, kf_account="kf2001@gh_0123456789ab").id
    for made in range(3):
        claim = stage.claim(request_id)
        stage.settle(
            claim,
            "waiting",
            reason="agent_offline",
            attempts=[stages.attempt(claim.targets[0], errmsg="kf is offline")],
            attempt_count=made + 1,
            strikes=made + 1,
        )
        if made < 2:
            assert stage.let_out() == [request_id]
    values = stage.client.hvals(stage.keys.request(request_id))
    assert max(len(each.encode()) for each in values) <= 64


@pytest.mark.parametrize(
    ("settled", "reason", "doubt", "status", "kept"),
    [
        ("waiting", "agent_offline", None, "cancelled", "agent_offline"),
        ("waiting", "transient", AGENT, "queued", None),
        ("failed", "invalid_openid", None, "cancelled", None),
        ("failed", "unconfirmed", AGENT, "cancelled", "unconfirmed"),
        ("created", None, None, "created", None),
        ("already_served", None, None, "already_served", None),
    ],
)
def test_a_cancel_during_a_call_applies_unless_the_call_succeeds(
    stage: stages.Stage,
    settled: str,
    reason: str | None,
    doubt: str | None,
    status: str,
    kept: str | None,
) -> None:
    """And not before it is known whether somebody has the fan; else the record says unconfirmed."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    assert stage.ledger.cancel(request_id) == "asked"
    told = claims.Doubt.about(doubt) if doubt else None
    stage.settle(claim, settled, reason=reason, doubt=told, wait_seconds=60)
    one = stage.get(request_id)
    assert (one.status.value, one.reason) == (status, kept)
    assert stage.doubt() == doubt
    stage.check()


def test_a_cancelled_and_doubted_request_comes_back_to_be_read_back(stage: stages.Stage) -> None:
    """It is claimed at once, with no agent to be called."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.ledger.cancel(request_id)
    stage.settle(claim, "waiting", reason="transient", doubt=claims.Doubt.about(AGENT))
    assert stage.due_in_seconds(request_id) == pytest.approx(0, abs=0.5)
    claim = stage.claim(request_id)
    assert (claim.is_cancelled, claim.doubt, claim.calling) == (True, AGENT, None)
    stage.settle(claim, "cancelled", reason="transient", doubt=claims.Doubt.cleared())
    assert stage.status(request_id) == "cancelled"
    assert stage.doubt() is None
    stage.check()


def test_a_crash_count_ends_with_the_next_ordinary_wait(stage: stages.Stage) -> None:
    """Five in a row end a request, not five in all."""
    request_id = stage.submit().id
    stage.settle(stage.claim(request_id), "waiting", reason="transient", crashes=4)
    stage.wake()
    claim = stage.claim(request_id)
    assert claim.crashes == 4
    stage.settle(claim, "waiting", reason="transient")
    stage.wake()
    assert stage.claim(request_id).crashes == 0


def test_the_doubt_belongs_to_the_fan_and_outlives_the_request(stage: stages.Stage) -> None:
    """The fan's next request knows it."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.settle(claim, "failed", reason="unconfirmed", doubt=claims.Doubt.about(OTHER))
    again = stage.submit().id
    claim = stage.claim(again)
    assert (claim.doubt, claim.calling) == (OTHER, None)
    stage.settle(claim, "created", doubt=claims.Doubt.cleared())
    assert stage.doubt() is None


def test_a_doubt_lives_longer_than_any_request(stage: stages.Stage) -> None:
    """48 h, or as long as records are kept."""
    stage.doubted()
    hours = stage.client.pttl(stage.keys.doubt(stages.APPID, stages.FAN)) / 3_600_000
    assert hours == pytest.approx(168, abs=0.1)

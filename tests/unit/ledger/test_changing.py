"""cancel and retry: what producers and operators change about a request."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER


@pytest.mark.parametrize("status", ["queued", "waiting"])
def test_a_request_that_nobody_works_on_is_cancelled_at_once(
    stage: stages.Stage, status: str
) -> None:
    """It keeps the reason it waited for."""
    request_id = stage.submit().id
    if status == "waiting":
        stage.wait(request_id, "agent_offline")
    assert stage.ledger.cancel(request_id) == "cancelled"
    one = stage.get(request_id)
    assert one.status.value == "cancelled"
    assert one.reason == ("agent_offline" if status == "waiting" else None)
    assert stage.ledger.claim([request_id], "w1").claim is None
    stage.check()


def test_a_request_under_way_is_asked_to_end(stage: stages.Stage) -> None:
    """The call decides first."""
    request_id = stage.submit().id
    stage.claim(request_id)
    assert stage.ledger.cancel(request_id) == "asked"
    assert stage.status(request_id) == "calling"
    stage.check()


@pytest.mark.parametrize("status", ["queued", "waiting"])
def test_a_doubted_request_is_read_back_before_it_is_cancelled(
    stage: stages.Stage, status: str
) -> None:
    """It is in its lane at once, to be claimed for the read-back."""
    request_id = stage.doubted()
    if status == "waiting":
        stage.wait(request_id, "transient")
    assert stage.ledger.cancel(request_id) == "asked"
    assert stage.status(request_id) == "queued"
    assert stage.claim(request_id).is_cancelled
    stage.check()


@pytest.mark.parametrize("status", ["created", "already_served", "failed", "expired", "cancelled"])
def test_a_final_state_stands_against_a_cancel(stage: stages.Stage, status: str) -> None:
    """One outcome, once."""
    request_id = stage.submit().id
    stage.finish(request_id, status, "invalid_openid" if status == "failed" else None)
    before = stage.events()
    assert stage.ledger.cancel(request_id) == status
    assert stage.events() == before


def test_an_unknown_id_cannot_be_changed(stage: stages.Stage) -> None:
    """And leaves nothing behind."""
    assert stage.ledger.cancel("nobody") == "unknown"
    assert stage.ledger.retry("nobody") == ("unknown", "")
    assert stage.all_keys() == set()


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
@pytest.mark.parametrize("lane", ["escalation", "batch"])
def test_a_retry_starts_a_new_generation(stage: stages.Stage, status: str, lane: str) -> None:
    """The same record with a fresh deadline and budget."""
    request_id = stage.submit(lane=lane, ttl_seconds=5, metadata={"n": 1}).id
    claim = stage.claim(request_id)
    stage.settle(
        claim,
        "waiting",
        reason="transient",
        attempts=[stages.attempt()],
        attempt_count=30,
        out=frozenset({AGENT}),
        strikes=4,
        wait_seconds=0,
    )
    stage.wake()
    stage.finish(request_id, status, "gave_up" if status == "failed" else None)
    assert stage.ledger.retry(request_id) == ("queued", lane)
    one = stage.get(request_id)
    assert (one.status.value, one.reason, one.generation) == ("queued", None, 2)
    assert (one.attempt_count, one.api_calls, len(one.attempts)) == (0, 1, 1)
    assert (one.finished_at, one.served_by, one.metadata) == (None, None, {"n": 1})
    seconds = (one.deadline_at - one.updated_at).total_seconds()
    assert seconds == stage.config.default_ttl_seconds(lane)
    assert stage.due_in_seconds(request_id) == pytest.approx(seconds, abs=0.5)
    claim = stage.claim(request_id)
    assert (claim.out, claim.strikes, claim.crashes, claim.reason) == (frozenset(), 0, 0, None)
    assert claim.is_cancelled is False
    stage.check()


def test_each_retry_is_one_more_generation(stage: stages.Stage) -> None:
    """1 is the first."""
    request_id = stage.submit().id
    for generation in (1, 2, 3):
        assert stage.get(request_id).generation == generation
        stage.finish(request_id, "failed", "invalid_openid")
        stage.ledger.retry(request_id)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("queued", ("live", "queued")),
        ("created", ("succeeded", "created")),
        ("already_served", ("succeeded", "already_served")),
    ],
)
def test_there_is_nothing_to_retry_about_a_live_or_a_successful_request(
    stage: stages.Stage, status: str, answer: tuple[str, str]
) -> None:
    """Terminal states change by `retry` of failed, expired and cancelled only."""
    request_id = stage.submit().id
    if status != "queued":
        stage.finish(request_id, status)
    before = stage.events()
    assert stage.ledger.retry(request_id) == answer
    assert stage.events() == before


def test_a_retry_is_refused_while_the_fan_has_another_live_request(stage: stages.Stage) -> None:
    """One live request per fan."""
    first = stage.submit().id
    stage.finish(first, "failed", "invalid_openid")
    second = stage.submit().id
    assert stage.ledger.retry(first) == ("superseded", second)
    stage.finish(second, "failed", "invalid_openid")
    assert stage.ledger.retry(first) == ("queued", "escalation")
    assert stage.submit().id == first
    stage.check()


def test_a_retried_request_keeps_its_doubt(stage: stages.Stage) -> None:
    """The doubt is the fan's."""
    request_id = stage.doubted()
    claim = stage.claim(request_id)
    stage.settle(claim, "failed", reason="unconfirmed")
    stage.ledger.retry(request_id)
    assert stage.claim(request_id).doubt == AGENT


def test_a_retry_keeps_the_key_for_the_new_life(stage: stages.Stage) -> None:
    """24 h or the request's life, whichever is longer."""
    request_id = stage.submit(key="k", ttl_seconds=60).id
    stage.finish(request_id, "failed", "invalid_openid")
    stage.pass_seconds(24 * 3600 - 60)
    stage.ledger.retry(request_id)
    left = stage.client.pttl(stage.keys.key(APPID, "k")) / 1000
    assert left == pytest.approx(stage.config.ttl_seconds, abs=1)


def test_a_retry_never_shortens_what_another_key_asks_for(stage: stages.Stage) -> None:
    """A record stays as long as any key points at it."""
    request_id = stage.submit(key="own", ttl_seconds=60).id
    stage.pass_seconds(30)
    stage.submit(key="joined", ttl_seconds=47 * 3600)
    field = stage.keys.request(request_id), "kept_until"
    before = int(stage.client.hget(*field) or 0)
    stage.finish(request_id, "failed", "invalid_openid")
    stage.client.pexpire(stage.keys.key(APPID, "own"), 1000)
    stage.ledger.retry(request_id)
    assert int(stage.client.hget(*field) or 0) == before


def test_a_retry_of_another_fans_request_changes_nobody_elses(stage: stages.Stage) -> None:
    """Fans are told apart by account and openid."""
    first = stage.submit().id
    stage.finish(first, "failed", "invalid_openid")
    stage.submit("oOTHER", kf_account=OTHER)
    stage.submit(FAN, appid="wx2")
    assert stage.ledger.retry(first) == ("queued", "escalation")
    stage.check()


def test_a_request_that_runs_again_forgets_why_it_failed(stage: stages.Stage) -> None:
    """The code that it rested on is of the generation before."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.settle(claim, "failed", reason="invalid_agent", because="65401 no such agent")
    assert stage.get(request_id).errcode == 65401
    assert stage.ledger.retry(request_id)[0] == "queued"
    stage.settle(stage.claim(request_id), "created", served_by=stages.AGENT)
    assert stage.get(request_id).errcode is None

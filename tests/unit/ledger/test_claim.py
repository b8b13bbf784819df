"""claim and renew: a leased, fenced right to one request; the agent stands in the ledger first."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker import errors
from worker.ledger import claims


def test_a_claim_says_all_that_the_work_needs(stage: stages.Stage) -> None:
    """One round trip brings the fan, the targets and the history."""
    request_id = stage.submit(fallbacks=[OTHER, "any"], ttl_seconds=600).id
    claim = stage.claim(request_id)
    assert (claim.id, claim.appid, claim.openid) == (request_id, APPID, FAN)
    assert claim.targets == (AGENT, OTHER, "any")
    assert claim.calling == AGENT
    assert (claim.doubt, claim.reason, claim.out) == (None, None, frozenset())
    assert (claim.attempt_count, claim.api_calls, claim.strikes, claim.crashes) == (0, 0, 0, 0)
    assert claim.is_cancelled is False
    assert claim.seconds_left == pytest.approx(600, abs=1)
    assert claim.lease_left_seconds() == pytest.approx(stage.config.lease_seconds, abs=1)
    assert stage.due_in_seconds(request_id) == pytest.approx(stage.config.lease_seconds, abs=1)
    assert stage.status(request_id) == "calling"
    stage.check()


def test_a_claim_comes_back_with_what_earlier_deliveries_learned(stage: stages.Stage) -> None:
    """Attempts, crashes and targets found wrong outlive a wait."""
    request_id = stage.submit(fallbacks=[OTHER]).id
    claim = stage.claim(request_id)
    stage.settle(
        claim,
        "waiting",
        reason="transient",
        attempts=[stages.attempt(), stages.attempt(OTHER)],
        attempt_count=2,
        crashes=1,
        out=frozenset({AGENT}),
    )
    stage.wake()
    stage.observe({OTHER: 0})
    claim = stage.claim(request_id)
    assert (claim.attempt_count, claim.api_calls, claim.crashes) == (2, 2, 1)
    assert claim.out == frozenset({AGENT})
    assert claim.calling == OTHER
    assert claim.reason == "transient"
    assert claim.fence == 2


def test_the_oldest_escalation_goes_before_whoever_was_rung_for(stage: stages.Stage) -> None:
    """A person goes before a batch, whatever the doorbell says (promise 7)."""
    batch = stage.submit("oBATCH", lane="batch").id
    older = stage.submit("oOLDER").id
    stage.pass_seconds(1)
    newer = stage.submit("oNEWER").id
    assert stage.claim(batch).id == older
    assert stage.claim(batch).id == newer
    assert stage.claim(batch).id == batch


def test_an_escalation_joined_late_goes_by_its_age(stage: stages.Stage) -> None:
    """A batch request that became an escalation keeps its place in time."""
    first = stage.submit("oFIRST", lane="batch").id
    stage.pass_seconds(5)
    stage.submit("oSECOND")
    stage.submit("oFIRST")
    assert stage.claim().id == first


def test_settling_hands_out_the_next_request(stage: stages.Stage) -> None:
    """Settling one and claiming the next is one round trip."""
    batch = [stage.submit(f"o{n}", lane="batch").id for n in range(2)]
    claim = stage.claim(batch[0])
    taken = stage.ledger.settle(claim, stages.settlement(claim, "created"), "w1")
    assert taken.settled
    assert taken.claim is not None
    assert taken.claim.id == batch[1]


@pytest.mark.parametrize("status", ["calling", "waiting", "created"])
def test_a_doubled_doorbell_finds_nothing_to_claim(stage: stages.Stage, status: str) -> None:
    """Doubling a message harms nothing."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    if status != "calling":
        stage.settle(
            claim, status, reason="transient" if status == "waiting" else None, wait_seconds=9
        )
    taken = stage.ledger.claim([request_id], "w2")
    assert (taken.claim, taken.has_more, taken.unknown) == (None, False, ())
    stage.check()


def test_an_unknown_id_is_reported_and_counted(stage: stages.Stage) -> None:
    """Ids of other deployments harm nothing else."""
    request_id = stage.submit(lane="batch").id
    taken = stage.ledger.claim(["nobody", request_id, "nor this one"], "w1")
    assert taken.claim is not None
    assert taken.claim.id == request_id
    assert taken.unknown == ("nobody", "nor this one")
    assert stage.reader.oddities() == {"doorbell_unknown_id": 2}


def test_a_request_past_its_deadline_expires_at_its_claim(stage: stages.Stage) -> None:
    """No call is made for it."""
    request_id = stage.submit(ttl_seconds=60).id
    other = stage.submit("oOTHER", ttl_seconds=600).id
    stage.pass_seconds(61)
    assert stage.claim(request_id).id == other
    assert stage.status(request_id) == "expired"
    stage.check()


def test_a_claim_buries_only_so_many_on_its_way(stage: stages.Stage) -> None:
    """A script that met 100,000 expired escalations would hold up the whole server."""
    for number in range(130):
        stage.submit(f"o{number}", ttl_seconds=60)
    stage.pass_seconds(61)
    assert stage.ledger.claim([], "w1").claim is None
    assert 0 < len(stage.reader.select(stages.EXPIRED, 200)[0]) < 130
    stage.check()


def test_a_doubted_request_past_its_deadline_is_claimed_to_be_read_back(
    stage: stages.Stage,
) -> None:
    """A final state needs to know whether somebody has the fan; no agent is about to be called."""
    request_id = stage.doubted()
    stage.pass_seconds(3600)
    claim = stage.claim(request_id)
    assert claim.doubt == AGENT
    assert claim.seconds_left < 0
    assert claim.calling is None


@pytest.mark.parametrize(
    ("targets", "out", "doubt", "calling"),
    [
        ([AGENT, OTHER], (), None, AGENT),
        ([AGENT, OTHER], (AGENT,), None, OTHER),
        ([AGENT, OTHER], (), OTHER, OTHER),
        ([AGENT, OTHER], (), "kf9@acct", None),
        ([AGENT, OTHER], (AGENT, OTHER), None, None),
        (["any"], (), None, OTHER),
        (["any"], (), AGENT, None),
        ([AGENT, "any"], (), None, AGENT),
        ([AGENT, "any"], (AGENT,), None, OTHER),
    ],
)
def test_the_doubt_decides_who_may_be_called_at_once(
    stage: stages.Stage,
    targets: list[str],
    out: tuple[str, ...],
    doubt: str | None,
    calling: str | None,
) -> None:
    """The agent in doubt first; nobody while the fan must be read back, or when all are wrong."""
    request_id = stage.submit(kf_account=targets[0], fallbacks=targets[1:]).id
    stage.observe({AGENT: 0, OTHER: 0})
    claim = stage.claim(request_id)
    stage.observe({AGENT: 0 if AGENT in targets else 9, OTHER: 1})
    stage.settle(
        claim,
        "waiting",
        reason="transient",
        out=frozenset(out),
        doubt=claims.Doubt.about(doubt) if doubt else None,
    )
    stage.wake()
    assert stage.claim(request_id).calling == calling


def test_a_claim_sent_again_finds_the_claim_whose_reply_was_lost(stage: stages.Stage) -> None:
    """Otherwise the request would sit out a lease that nobody holds."""
    request_id = stage.submit().id
    first = stage.claim(request_id)
    again = stage.ledger.claim([request_id], "w1", again=True).claim
    assert again is not None
    assert (again.id, again.fence) == (first.id, first.fence)
    assert len(stage.events()) == 2


def test_a_claim_sent_again_that_had_not_arrived_takes_a_request(stage: stages.Stage) -> None:
    """The first try may have been lost on its way there."""
    request_id = stage.submit().id
    claim = stage.ledger.claim([request_id], "w1", again=True).claim
    assert claim is not None
    assert claim.id == request_id


def test_a_claim_sent_again_takes_nothing_from_another_holder(stage: stages.Stage) -> None:
    """The holder's name tells whose claim it is."""
    request_id = stage.submit().id
    stage.claim(request_id, holder="w2")
    assert stage.ledger.claim([request_id], "w1", again=True).claim is None


def test_renewing_names_the_agent_and_lengthens_the_lease(stage: stages.Stage) -> None:
    """The next target stands in the ledger before its call; what was learned is kept with it."""
    request_id = stage.submit(fallbacks=[OTHER]).id
    claim = stage.claim(request_id)
    stage.client.zincrby(stage.keys.due, -10_000, request_id)
    done = stages.progress(
        claim, attempts=[stages.attempt()], attempt_count=1, doubt=claims.Doubt.about(AGENT)
    )
    renewed = stage.ledger.renew(claim, OTHER, done)
    assert renewed.calling == OTHER
    assert stage.due_in_seconds(request_id) == pytest.approx(stage.config.lease_seconds, abs=1)
    assert stage.doubt() == AGENT
    one = stage.get(request_id)
    assert (one.attempt_count, one.api_calls) == (1, 1)
    assert one.attempts[0].kf_account == AGENT
    assert stage.client.hget(stage.keys.request(request_id), "calling") == OTHER


def test_renewing_sent_again_changes_nothing_more(stage: stages.Stage) -> None:
    """Numbers are absolute, so that a lost reply costs nothing."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    done = stages.progress(claim, attempts=[stages.attempt()], attempt_count=1)
    for _ in range(2):
        stage.ledger.renew(claim, AGENT, done)
    one = stage.get(request_id)
    assert (one.attempt_count, one.api_calls, len(one.attempts)) == (1, 1, 1)


def test_renewing_a_lost_lease_is_refused(stage: stages.Stage) -> None:
    """A stale holder makes no further call."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.pass_seconds(stage.config.lease_seconds + 1)
    stage.wake()
    stage.claim(request_id, holder="w2")
    with pytest.raises(errors.LeaseLost, match=request_id):
        stage.ledger.renew(claim, OTHER, stages.progress(claim))
    assert stage.client.hget(stage.keys.request(request_id), "calling") == AGENT


def test_renewing_tells_of_a_cancel(stage: stages.Stage) -> None:
    """No further call is made for a request that was taken back."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.ledger.cancel(request_id)
    assert stage.ledger.renew(claim, AGENT, stages.progress(claim)).is_cancelled


def test_whoever_is_rung_takes_the_oldest_batch(stage: stages.Stage) -> None:
    """No slot sleeps while requests are queued, whoever the doorbell names."""
    first, second, third = (stage.submit(f"o{n}", lane="batch").id for n in range(3))
    assert stage.claim(third).id == first
    assert stage.claim(third, holder="w2").id == second
    assert stage.claim(holder="w2").id == third
    taken = stage.ledger.claim([third], "w1")
    assert (taken.claim, taken.has_more) == (None, False)
    stage.check()


@pytest.mark.parametrize("lane", ["escalation", "batch"])
def test_a_claim_that_passes_over_many_says_that_there_may_be_more(
    stage: stages.Stage, lane: str
) -> None:
    """So the slot goes on, and the others in its lane are not left behind those."""
    for number in range(101):
        stage.submit(f"o{number}", lane=lane, ttl_seconds=60)
    stage.pass_seconds(61)
    last = stage.submit("oLAST", lane=lane).id
    rounds = 0
    while (taken := stage.ledger.claim([], "w1")).claim is None:
        assert taken.has_more
        rounds += 1
    assert taken.claim.id == last
    assert rounds >= 1
    stage.check()


def test_a_claim_found_again_has_its_whole_lease(stage: stages.Stage) -> None:
    """The holder counts the lease from its second try, and so must the ledger."""
    request_id = stage.submit().id
    stage.claim(request_id)
    stage.pass_seconds(stage.config.lease_seconds - 1)
    taken = stage.ledger.claim([request_id], "w1", again=True)
    assert taken.claim is not None
    assert stage.due_in_seconds(request_id) > stage.config.lease_seconds - 1  # type: ignore[operator]


def test_a_broken_record_stops_nobody(stage: stages.Stage) -> None:
    """Half a record, from whatever hand, is counted and left out; the others are served."""
    stage.client.hset(stage.keys.request("broken"), "status", "queued")
    stage.client.zadd(stage.keys.lane(APPID), {"broken": 1})
    stage.client.zadd(stage.keys.due, {"broken": 1})
    request_id = stage.submit().id
    assert stage.wake().taken == 1
    assert stage.claim(request_id).id == request_id
    assert stage.reader.oddities()["broken_record"] >= 1
    stage.client.delete(stage.keys.request("broken"))


def test_a_record_of_another_kind_stops_nobody(stage: stages.Stage) -> None:
    """Whatever hand wrote it: it is counted and left out."""
    stage.client.set(stage.keys.request("broken"), "a string")
    request_id = stage.submit(lane="batch").id
    stage.client.zadd(stage.keys.lane(APPID), {"broken": 1})
    assert stage.claim().id == request_id
    assert stage.reader.oddities()["broken_record"] >= 1
    stage.client.delete(stage.keys.request("broken"))


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_lane_that_is_wrong_is_put_right_by_the_claim(
    stage: stages.Stage, is_empty: bool
) -> None:
    """Else a slot would find the same one at the head of its lane for ever."""
    done = stage.submit("oDONE").id
    stage.finish(done, "created")
    if not is_empty:
        stage.client.zadd(stage.keys.lane(APPID), {done: 1})
    stage.client.zadd(stage.keys.turns, {APPID: 1})
    taken = stage.ledger.claim([], "w1")
    assert (taken.claim, taken.has_more) == (None, False)
    stage.check()

"""wake and purge: the waiting room's passes over what is due, and over what is old."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker.contract import request
from worker.ledger import claims

ESCALATION, BATCH = request.Lane


def test_a_queued_request_whose_doorbell_was_lost_is_found_after_two_seconds(
    stage: stages.Stage,
) -> None:
    """Losing a message harms nothing."""
    first, second = stage.submit().id, stage.submit("oBATCH", lane="batch").id
    assert stage.left_queued("escalation") == stage.left_queued("batch") == []
    stage.pass_seconds(2.1)
    for _ in range(2):
        assert stage.left_queued("escalation") == [first]
        assert stage.left_queued("batch") == [second]
    assert stage.wake().taken == 0, "nothing but its deadline is due"
    stage.check()


def test_the_oldest_that_are_left_come_first_and_no_more_than_may(stage: stages.Stage) -> None:
    """They are queued longest; whoever is rung for them draws the others too."""
    ids = []
    for number in range(5):
        ids.append(stage.submit(f"o{number}", lane="batch").id)
        stage.pass_seconds(1)
    assert stage.left_queued("batch", limit=2) == ids[:2]
    assert stage.left_queued("batch") == ids


def test_nobody_is_left_where_the_oldest_was_queued_just_now(stage: stages.Stage) -> None:
    """Who comes back from a wait has a doorbell of its own on the way."""
    woken = stage.submit("oOLD", lane="batch").id
    stage.wait(woken, "transient", seconds=5)
    stage.pass_seconds(6)
    stage.submit("oNEW", lane="batch")
    assert stage.wake().ring[BATCH] == (woken,)
    assert stage.left_queued("batch") == []
    stage.pass_seconds(2.1)
    assert len(stage.left_queued("batch")) == 2


def test_a_broken_record_in_a_lane_hides_nobody(stage: stages.Stage) -> None:
    """A claim clears it away."""
    request_id = stage.submit(lane="batch").id
    stage.client.zadd(stage.keys.lane(APPID), {"broken": 3 * stages.BAND + 10**6})
    stage.pass_seconds(3)
    assert stage.left_queued("batch") == ["broken", request_id]
    assert stage.claim().id == request_id
    stage.check()


def test_a_ledger_of_the_release_before_is_rung_and_put_right(stage: stages.Stage) -> None:
    """It kept the next ring of a queued request where this one keeps its deadline."""
    request_id = stage.submit(ttl_seconds=60).id
    stage.client.zadd(stage.keys.due, {request_id: (stage.now() - 1) * 1000})
    assert stage.wake().ring[ESCALATION] == (request_id,)
    assert stage.due_in_seconds(request_id) == pytest.approx(60, abs=1)
    assert stage.wake().taken == 0


def test_a_waiting_request_is_woken_at_its_time(stage: stages.Stage) -> None:
    """It is in its lane again, and rung."""
    request_id = stage.submit().id
    stage.wait(request_id, "transient", seconds=30)
    stage.pass_seconds(29)
    assert stage.wake().taken == 0
    stage.pass_seconds(1.1)
    assert stage.wake().ring[ESCALATION] == (request_id,)
    one = stage.get(request_id)
    assert (one.status.value, one.next_attempt_at) == ("queued", None)
    stage.check()


@pytest.mark.parametrize("status", ["queued", "waiting"])
def test_a_request_expires_at_its_deadline(stage: stages.Stage, status: str) -> None:
    """With the reason it waited for."""
    request_id = stage.submit(ttl_seconds=60).id
    if status == "waiting":
        stage.wait(request_id, "agent_offline", seconds=3600)
    stage.pass_seconds(60.1)
    woken = stage.wake()
    assert woken.expired == 1
    assert woken.ring == {ESCALATION: (), BATCH: ()}
    one = stage.get(request_id)
    assert one.status.value == "expired"
    assert one.reason == ("agent_offline" if status == "waiting" else None)
    stage.check()


def test_a_doubted_request_is_not_buried_at_its_deadline_but_queued(stage: stages.Stage) -> None:
    """Somebody has to read back whether the fan was served."""
    request_id = stage.doubted()
    stage.wait(request_id, "transient", seconds=60)
    stage.pass_seconds(3600)
    woken = stage.wake()
    assert woken.expired == 0
    assert woken.ring[ESCALATION] == (request_id,)
    assert stage.status(request_id) == "queued"
    stage.pass_seconds(3600)
    assert stage.wake().ring[ESCALATION] == (request_id,)
    stage.check()


def test_a_call_under_way_decides_beyond_the_deadline(stage: stages.Stage) -> None:
    """It is neither buried nor taken back while its lease lasts."""
    request_id = stage.submit(ttl_seconds=5).id
    claim = stage.claim(request_id)
    stage.pass_seconds(10)
    assert stage.wake().taken == 0
    assert stage.settle(claim, "created").settled
    assert stage.status(request_id) == "created"


def test_a_lease_that_ran_out_leaves_a_doubt_and_counts_an_attempt(stage: stages.Stage) -> None:
    """The worker may have called before it died."""
    request_id = stage.submit().id
    stage.called(request_id)
    stage.pass_seconds(stage.config.lease_seconds + 0.1)
    woken = stage.wake()
    assert woken.lost_leases == (request_id,)
    assert woken.ring[ESCALATION] == (request_id,)
    assert stage.doubt() == AGENT
    one = stage.get(request_id)
    assert (one.status.value, one.attempt_count) == ("queued", 1)
    claim = stage.claim(request_id, holder="w2")
    assert (claim.doubt, claim.calling) == (AGENT, AGENT)
    stage.check()


def test_a_lease_without_an_agent_leaves_no_doubt(stage: stages.Stage) -> None:
    """Where no target could be asked, nobody can have been called.

    It counts as an attempt all the same: a request that kills its workers must end.
    """
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="transient", out=frozenset({AGENT}))
    stage.wake()
    assert stage.claim(request_id).calling is None
    stage.pass_seconds(stage.config.lease_seconds + 0.1)
    assert stage.wake().lost_leases == (request_id,)
    assert stage.doubt() is None
    assert stage.get(request_id).attempt_count == 1


def test_a_lost_lease_that_only_read_back_keeps_the_older_doubt(stage: stages.Stage) -> None:
    """No call was about to be made."""
    request_id = stage.doubted(OTHER)
    assert stage.claim(request_id).calling is None
    stage.pass_seconds(stage.config.lease_seconds + 0.1)
    stage.wake()
    assert stage.doubt() == OTHER


def test_a_pass_takes_no_more_than_it_may(stage: stages.Stage) -> None:
    """Oldest first; a full pass says that there may be more."""
    ids = [stage.submit(f"o{n}").id for n in range(5)]
    for request_id in ids:
        stage.wait(request_id, "transient", seconds=1)
    stage.pass_seconds(3)
    taken: list[str] = []
    for expected in (2, 2, 1, 0):
        woken = stage.wake(limit=2)
        assert woken.taken == expected
        taken += woken.ring[ESCALATION]
    assert sorted(taken) == sorted(ids)


def test_a_final_record_is_removed_with_all_its_traces(stage: stages.Stage) -> None:
    """After the retention nothing is left but the stream of events."""
    before = stage.all_keys()
    request_id = stage.submit(key="k", metadata={"a": 1}).id
    stage.doubted("kf9@acct", "oDOUBT")
    stage.finish(request_id, "failed", "invalid_openid")
    claim = stage.claim()
    stage.settle(claim, "created", attempts=[stages.attempt()], served_by=AGENT)
    assert stage.ledger.waiting.purge(10) == 0
    stage.pass_seconds(stage.config.retention_hours * 3600 + 1)
    assert stage.ledger.waiting.purge(10) == 2
    assert stage.all_keys() - before == {
        stage.keys.events,
        stage.keys.account(APPID),
        f"{stage.keys.base}clock",
    }


def test_a_record_stays_as_long_as_a_key_points_at_it(stage: stages.Stage) -> None:
    """A repeated key is answered for 24 h, however short the retention is."""
    short = stages.Stage(stage.client, stage.config.key_prefix, retention_hours=1)
    request_id = short.submit(key="k").id
    short.finish(request_id, "created")
    short.pass_seconds(23 * 3600)
    assert short.ledger.waiting.purge(10) == 0
    assert short.submit(key="k").id == request_id
    short.pass_seconds(3601)
    assert short.ledger.waiting.purge(10) == 1
    assert short.submit(key="k").how == "new"


def test_an_old_record_goes_without_the_fans_newer_request(stage: stages.Stage) -> None:
    """The fan is found by the newest."""
    first = stage.submit().id
    stage.finish(first, "failed", "invalid_openid")
    stage.pass_seconds(stage.config.retention_hours * 3600 + 1)
    second = stage.submit().id
    assert stage.ledger.waiting.purge(10) == 1
    assert stage.reader.get(first) is None
    newest = stage.reader.newest_of_fan(FAN, APPID)
    assert newest is not None
    assert newest.id == second
    stage.check()


def test_a_retried_record_is_not_removed(stage: stages.Stage) -> None:
    """Retention is for final records only."""
    request_id = stage.submit().id
    stage.finish(request_id, "failed", "invalid_openid")
    stage.pass_seconds(stage.config.retention_hours * 3600 + 1)
    stage.ledger.retry(request_id)
    assert stage.ledger.waiting.purge(10) == 0
    stage.check()


def test_every_change_of_state_is_one_event(stage: stages.Stage) -> None:
    """In order, with the reason; nothing else is one."""
    request_id = stage.submit(ttl_seconds=600).id
    stage.submit()
    claim = stage.claim(request_id)
    stage.ledger.renew(claim, AGENT, stages.progress(claim))
    stage.settle(claim, "waiting", reason="agent_offline", wait_seconds=10)
    stage.pass_seconds(11)
    stage.open_rooms()
    stage.pass_seconds(3)
    stage.wake()
    stage.open_rooms()
    stage.ledger.cancel(request_id)
    stage.ledger.retry(request_id)
    stage.claim(request_id)
    stage.pass_seconds(stage.config.lease_seconds + 1)
    stage.wake()
    assert stage.events() == [
        (request_id, "queued", ""),
        (request_id, "calling", ""),
        (request_id, "waiting", "agent_offline"),
        (request_id, "queued", ""),
        (request_id, "cancelled", "agent_offline"),
        (request_id, "queued", ""),
        (request_id, "calling", ""),
        (request_id, "queued", ""),
    ]


def test_a_deadline_with_a_doubt_does_not_wait_for_a_long_lane(stage: stages.Stage) -> None:
    """The fan is read back before the end is written, and that is soon."""
    request_id = stage.submit(lane="batch", ttl_seconds=60).id
    claim = stage.claim(request_id)
    unsure = claims.Doubt.about(stages.AGENT)
    stage.settle(claim, "waiting", reason="transient", doubt=unsure, wait_seconds=40)
    stage.pass_seconds(61)
    woken = stage.wake()
    assert woken.ring[request.Lane.ESCALATION] == (request_id,)

"""rooms: who waits for the same thing waits in one place, and leaves it in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER
from worker.contract import request
from worker.ledger import claims

ESCALATION, BATCH = request.Lane


def hold(stage: stages.Stage, *openids: str, **fields: object) -> list[str]:
    """Requests in the room of an agent who is not online, a second apart."""
    wish = stage.wish(**fields)
    stage.observe_nobody(*(set(wish.targets) - {"any"}))
    ids = []
    for openid in openids:
        stage.pass_seconds(1)
        ids.append(stage.submit(openid, **fields).id)
        assert stage.take(ids[-1]).claim is None
    assert set(ids) <= set(stage.in_room("|".join(wish.targets)))
    return ids


def create(stage: stages.Stage, request_id: str) -> None:
    """The next claim is this request's, and it gets its session."""
    claim = stage.claim(request_id)
    assert claim.id == request_id
    stage.settle(claim, "created", served_by=claim.calling, doubt=claims.Doubt.cleared())


def test_one_is_sent_ahead_and_its_session_opens_the_room(stage: stages.Stage) -> None:
    """Nobody knows whether the agent really takes fans; then all the others follow."""
    first, *others = hold(stage, "oA", "oB", "oC")
    assert stage.let_out() == []
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    stage.observe({AGENT: 0})
    assert stage.let_out() == [], "it is on its way"
    stage.check()
    create(stage, first)
    assert stage.let_out() == others
    assert stage.wakes_in_seconds() is None
    stage.check()


def test_a_door_stays_open_for_who_comes_later(stage: stages.Stage) -> None:
    """The first of a new crowd need not go alone while the agent was never found offline."""
    (first,) = hold(stage, "oA")
    stage.announce({"": 5})
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    create(stage, first)
    stage.observe({AGENT: 5})
    later = [stage.submit(openid).id for openid in ("oB", "oC")]
    assert stage.take().claim is None
    assert {stage.get(each).reason for each in later} == {"agent_full"}
    stage.pass_seconds(5)
    stage.observe({AGENT: 3})
    assert stage.let_out() == later


@pytest.mark.parametrize(("capacity", "serves", "follow"), [(5, 3, 1), (5, 0, 4), (58, 3, 54)])
def test_as_many_follow_as_there_is_room_for(
    stage: stages.Stage, capacity: int, serves: int, follow: int
) -> None:
    """Whoever is sent out in vain costs a doorbell, a claim and two events."""
    stage.announce({"": capacity})
    stage.observe_nobody()
    ids = [stage.submit(f"o{n:03d}").id for n in range(60)]
    stage.hold_all()
    stage.observe({AGENT: serves})
    assert stage.let_out() == ids[:1]
    create(stage, ids[0])
    assert stage.let_out() == ids[1 : 1 + follow]
    assert stage.let_out() == []
    assert stage.wakes_in_seconds() == pytest.approx(5, abs=0.5)
    stage.check()


def test_an_agent_of_two_rooms_is_promised_once(stage: stages.Stage) -> None:
    """Both rooms are open; there are two places for the three who stand there."""
    stage.announce({AGENT: 4, OTHER: 1})
    one = hold(stage, "oA", "oB", "oC")
    two = hold(stage, "oD", "oE", fallbacks=[OTHER])
    stage.observe({AGENT: 0, OTHER: 1})
    for ahead in stage.let_out():
        create(stage, ahead)
    assert "open" in stage.door()
    assert "open" in stage.door(f"{AGENT}|{OTHER}")
    assert stage.let_out() == one[1:], "the room whose first is older goes first"
    assert stage.in_room(f"{AGENT}|{OTHER}") == two[1:]


def test_one_place_sends_one_ahead_of_all_its_rooms(stage: stages.Stage) -> None:
    """The other room's first would find the place taken."""
    stage.announce({"": 1})
    (first,) = hold(stage, "oA")
    (other,) = hold(stage, "oB", fallbacks=[OTHER])
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    assert stage.in_room(f"{AGENT}|{OTHER}") == [other]


def test_a_name_tried_by_another_room_is_not_called_full(stage: stages.Stage) -> None:
    """Nobody has met the agent, and one at a time finds out: that is no lack of places."""
    stage.observe({})
    first = stage.claim(stage.submit("oA").id)
    ahead = stage.submit("oB").id
    other = stage.submit("oC", fallbacks=["any"]).id
    assert stage.take(ahead, other).claim is None
    stage.settle(first, "failed", reason="invalid_agent")
    stage.pass_seconds(6)
    stage.observe({})
    assert stage.let_out() == [ahead]
    assert stage.get(other).reason == "agent_offline"


def test_an_agent_named_twice_is_counted_once(stage: stages.Stage) -> None:
    """By name, and again by `any`."""
    stage.announce({"": 3})
    first, *others = hold(stage, "oA", "oB", "oC", "oD", "oE", fallbacks=["any"])
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    create(stage, first)
    assert stage.let_out() == others[:2]


def test_within_a_room_escalations_go_first_then_the_oldest(stage: stages.Stage) -> None:
    """One place at a time shows the order."""
    stage.announce({"": 1})
    batch = hold(stage, "oA", "oB", lane="batch")
    escalations = hold(stage, "oC", "oD")
    gone = []
    for _ in range(4):
        stage.observe({AGENT: 0})
        (ahead,) = stage.let_out()
        create(stage, ahead)
        gone.append(ahead)
        stage.pass_seconds(5)
    assert gone == [*escalations, *batch]


def test_across_rooms_escalations_go_first_then_the_oldest(stage: stages.Stage) -> None:
    """A room goes by who stands first in it."""
    order = [
        ("kf1@a", "batch"),
        ("kf2@a", "batch"),
        ("kf3@a", "escalation"),
        ("kf4@a", "escalation"),
    ]
    ids = [hold(stage, f"o{name[2]}", kf_account=name, lane=lane)[0] for name, lane in order]
    stage.observe({name: 0 for name, _ in order})
    passes = [stage.let_out(limit=1) for _ in range(4)]
    assert passes == [[ids[2]], [ids[3]], [ids[0]], [ids[1]]]


def test_an_agent_found_offline_shuts_the_door(stage: stages.Stage) -> None:
    """Of those who come back to the room one goes ahead again."""
    ids = hold(stage, "oA", "oB", "oC")
    stage.observe({AGENT: 0})
    stage.let_out()
    create(stage, ids[0])
    assert stage.let_out() == ids[1:]
    stage.find_offline(stage.claim(ids[1]))
    assert "open" not in stage.door()
    assert stage.take(ids[2]).claim is None, "nobody else asks an agent known to be offline"
    stage.pass_seconds(5)
    stage.observe({AGENT: 0})
    assert stage.let_out() == [], "the list said so before, and was wrong"
    stage.pass_seconds(6)
    stage.observe({AGENT: 0})
    assert stage.let_out() == ids[1:2]
    stage.check()


def fail(stage: stages.Stage, request_id: str) -> None:
    stage.settle(stage.claim(request_id), "failed", reason="invalid_openid")


def park(stage: stages.Stage, request_id: str) -> None:
    stage.settle(stage.claim(request_id), "waiting", reason="transient", wait_seconds=60)


def give_elsewhere(stage: stages.Stage, request_id: str) -> None:
    stage.settle(stage.claim(request_id), "already_served", served_by=OTHER)


def cancel(stage: stages.Stage, request_id: str) -> None:
    assert stage.ledger.cancel(request_id) == "cancelled"


def cancel_in_call(stage: stages.Stage, request_id: str) -> None:
    claim = stage.claim(request_id)
    assert stage.ledger.cancel(request_id) == "asked"
    stage.settle(claim, "waiting", reason="transient")
    assert stage.status(request_id) == "cancelled"


def expire(stage: stages.Stage, request_id: str) -> None:
    stage.pass_seconds(31)
    assert stage.wake().expired == 1
    stage.observe({AGENT: 0})


@pytest.mark.parametrize(
    ("end", "seconds"),
    [(fail, 0), (park, 0), (give_elsewhere, 0), (cancel_in_call, 0), (cancel, 5.1), (expire, 0)],
)
def test_the_next_goes_ahead_when_the_first_does_not_open_the_room(
    stage: stages.Stage, end: Callable[[stages.Stage, str], None], seconds: float
) -> None:
    """What became of the one says nothing of the agent; a cancel is noticed after five seconds."""
    (first,) = hold(stage, "oA", ttl_seconds=30)
    second, _ = hold(stage, "oB", "oC", ttl_seconds=600)
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    end(stage, first)
    stage.pass_seconds(seconds)
    assert stage.let_out() == [second]
    stage.check()


def test_a_lost_lease_leaves_the_one_ahead_on_its_way(stage: stages.Stage) -> None:
    """It is rung again, and tells about the agent then."""
    first, second = hold(stage, "oA", "oB")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    stage.called(first)
    stage.pass_seconds(stage.config.lease_seconds + 1)
    assert stage.wake().lost_leases == (first,)
    stage.observe({AGENT: 0})
    assert stage.let_out() == []
    create(stage, first)
    assert stage.let_out() == [second]


def test_a_place_lost_to_another_brings_the_one_ahead_back(stage: stages.Stage) -> None:
    """It waits for room, and the room is looked into soon."""
    stage.announce({"": 1})
    first, second = hold(stage, "oA", "oB", lane="batch")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    stage.claim(stage.submit("oQUICK").id)
    assert stage.take(first).claim is None
    assert stage.get(first).reason == "agent_full"
    assert stage.in_room() == [first, second]
    assert stage.wakes_in_seconds() == pytest.approx(5, abs=0.5)
    stage.check()


def test_whoever_comes_first_in_a_better_lane_does_not_wait_for_a_batch(
    stage: stages.Stage,
) -> None:
    """A batch request sent ahead may stand in a long lane."""
    (batch,) = hold(stage, "oA", lane="batch")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [batch]
    (person,) = hold(stage, "oB")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [person]


def test_deadlines_end_a_wait_in_a_room(stage: stages.Stage) -> None:
    """With the reason it waited for; the last one to go takes the room along."""
    ids = hold(stage, "oA", "oB", ttl_seconds=60)
    stage.pass_seconds(60.1)
    assert stage.wake().expired == 2
    assert [stage.get(each).reason for each in ids] == ["agent_offline"] * 2
    assert stage.wakes_in_seconds() is None
    stage.check()


def test_who_is_past_the_deadline_is_not_let_out(stage: stages.Stage) -> None:
    """Also when the room is looked into first."""
    late, early = hold(stage, "oA", ttl_seconds=60), hold(stage, "oB", ttl_seconds=600)
    stage.pass_seconds(60)
    stage.observe({AGENT: 0})
    assert stage.let_out() == early
    assert stage.status(late[0]) == "expired"
    stage.check()


def test_a_doubted_fan_leaves_the_room_at_the_deadline_to_be_read_back(
    stage: stages.Stage,
) -> None:
    """Nothing is final while somebody may have the fan."""
    request_id = stage.doubted(AGENT)
    stage.ledger.accounts.pause(APPID)
    assert stage.take(request_id).claim is None
    assert stage.in_room() == [request_id]
    stage.pass_seconds(1800)
    assert stage.wake().ring[ESCALATION] == (request_id,)
    assert "paused" in stage.account()
    assert stage.claim(request_id).calling is None
    stage.check()


def test_a_join_raises_the_lane_and_the_place_in_the_room(stage: stages.Stage) -> None:
    """A person waits now: before every batch request, however old."""
    older, younger = hold(stage, "oA", "oB", lane="batch")
    assert stage.submit("oB").how == "joined"
    assert stage.in_room() == [younger, older]
    stage.check()
    stage.observe({AGENT: 0})
    assert stage.open_rooms().ring == {ESCALATION: (younger,), BATCH: ()}


def test_a_join_moves_the_deadline_of_who_waits_in_a_room(stage: stages.Stage) -> None:
    """It has no other time of its own."""
    (request_id,) = hold(stage, "oA", ttl_seconds=60)
    stage.submit("oA", ttl_seconds=600)
    assert stage.due_in_seconds(request_id) == pytest.approx(600, abs=1)
    stage.check()


def test_a_request_taken_back_from_a_room_can_run_again(stage: stages.Stage) -> None:
    """It has left the room; its next generation stands in it like a new one."""
    first, second = hold(stage, "oA", "oB")
    assert stage.ledger.cancel(first) == "cancelled"
    assert stage.in_room() == [second]
    stage.check()
    assert stage.ledger.retry(first) == ("queued", "escalation")
    assert stage.take(first).claim is None
    assert stage.in_room() == [first, second]
    stage.check()


def test_how_often_nobody_was_found_is_kept_at_the_door(stage: stages.Stage) -> None:
    """Whoever goes ahead next is told, so that the waits grow; a session ends the row."""
    first, second = hold(stage, "oA", "oB")
    for strikes in range(3):
        stage.pass_seconds(61)
        stage.lose_sight()
        assert stage.let_out() == [first]
        claim = stage.claim(first)
        assert (claim.reason, claim.strikes) == ("agent_offline", strikes)
        stage.find_offline(claim, seconds=40, strikes=strikes + 1)
        assert stage.wakes_in_seconds() == pytest.approx(40, abs=0.5)
    stage.ledger.cancel(first)
    stage.pass_seconds(61)
    stage.lose_sight()
    assert stage.let_out() == [second]
    claim = stage.claim(second)
    assert claim.strikes == 3
    (third,) = hold(stage, "oC")
    stage.settle(claim, "created", served_by=AGENT)
    stage.observe({AGENT: 0})
    assert stage.let_out() == [third]
    assert stage.claim(third).strikes == 0


def test_a_fresh_request_does_not_put_off_its_room(stage: stages.Stage) -> None:
    """However many come, the room is looked into at its time."""
    hold(stage, "oA")
    before = stage.wakes_in_seconds()
    assert before is not None
    stage.pass_seconds(3)
    hold(stage, "oB")
    after = stage.wakes_in_seconds()
    assert after is not None
    assert after < before - 3


def test_a_room_for_which_nobody_has_room_rests(stage: stages.Stage) -> None:
    """As long as the waiting room says, and nobody is let out."""
    hold(stage, "oA")
    stage.pass_seconds(6)
    assert stage.let_out() == []
    assert stage.wakes_in_seconds() == pytest.approx(5, abs=0.5)


def test_a_room_rests_as_long_as_its_last_failed_call_said(stage: stages.Stage) -> None:
    """Tenacity computed that time; only a reading wakes it before."""
    stage.find_offline(stage.claim(stage.submit().id), seconds=40)
    stage.pass_seconds(41)
    stage.observe_nobody()
    stage.pass_seconds(1)
    assert stage.let_out() == []
    assert stage.wakes_in_seconds() == pytest.approx(40, abs=0.5)


def test_a_pass_lets_out_about_as_many_as_it_may(stage: stages.Stage) -> None:
    """At most one look more; a full pass says that there may be more, and all go in the end."""
    first, *others = [stage.submit(f"o{n:03d}").id for n in range(71)]
    stage.observe_nobody()
    stage.hold_all()
    stage.observe({AGENT: 0})
    stage.let_out()
    create(stage, first)
    opened = stage.open_rooms(limit=30)
    out = [*opened.ring[ESCALATION]]
    assert opened.has_more
    assert 30 <= len(out) < 30 + 50
    opened = stage.open_rooms(limit=30)
    out += opened.ring[ESCALATION]
    assert (opened.has_more, out) == (False, others)


def test_a_room_left_by_its_last_is_gone(stage: stages.Stage) -> None:
    """By whatever way; nothing looks into it any more."""
    for leave in (cancel, expire, lambda stage, _: stage.let_out()):
        (request_id,) = hold(stage, "oA", ttl_seconds=30)
        stage.observe({AGENT: 0})
        assert stage.wakes_in_seconds() is not None
        leave(stage, request_id)
        assert stage.wakes_in_seconds() is None
        assert stage.client.exists(f"{stage.keys.rooms}:{APPID}") == 0
        stage.check()


def test_half_a_record_in_a_room_stops_nobody(stage: stages.Stage) -> None:
    """Whatever hand put it there: it is taken out, and the others go."""
    (request_id,) = hold(stage, "oA")
    stage.client.zadd(stage.keys.room(APPID, AGENT), {"nobody": 1, request_id: 2})
    stage.observe({AGENT: 0})
    assert stage.let_out() == [request_id]
    assert stage.wakes_in_seconds() is None


@pytest.mark.parametrize("status", ["created", "failed"])
def test_a_settlement_says_when_others_may_go(stage: stages.Stage, status: str) -> None:
    """So that the waiting room need not be waited for."""
    first, _ = hold(stage, "oA", "oB")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    reason = "invalid_openid" if status == "failed" else None
    assert stage.settle(stage.claim(first), status, reason=reason).has_stirred
    fresh = stage.claim(stage.submit("oC", kf_account="c@x").id)
    assert not stage.settle(fresh, "created", served_by="c@x").has_stirred


def test_a_room_with_few_places_rests_once_a_pass_is_full(stage: stages.Stage) -> None:
    """Who was let out counts for nobody before the claim: the next pass would send as many."""
    stage.announce({"": 60})
    stage.observe_nobody()
    ids = [stage.submit(f"o{n:03d}").id for n in range(150)]
    while stage.take().claim is None and stage.reader.counts()["queued"]:
        pass
    stage.observe({AGENT: 0})
    assert stage.let_out() == ids[:1]
    create(stage, ids[0])
    assert len(stage.let_out(limit=40)) == 50
    assert stage.let_out(limit=40) == []


def test_a_newcomer_takes_no_place_before_who_waits(stage: stages.Stage) -> None:
    """Where an agent can take only so many, an escalation in the room goes before a fresh batch."""
    stage.announce({"": 1})
    stage.observe({AGENT: 1})
    waits = stage.submit("oA").id
    assert stage.take(waits).claim is None
    stage.pass_seconds(5)
    stage.observe({AGENT: 0})
    newcomer = stage.submit("oB", lane="batch").id
    assert stage.take(newcomer).claim is None
    assert stage.get(newcomer).reason == "agent_full"
    assert stage.let_out() == [waits]
    assert stage.claim(waits).calling == AGENT
    stage.check()


def test_a_slow_call_of_the_one_sent_ahead_keeps_nobody(stage: stages.Stage) -> None:
    """Its worker may have been killed: the lease runs longer than fans wait gladly."""
    first, second = hold(stage, "oA", "oB")
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    stage.claim(first)
    stage.pass_seconds(4)
    stage.observe({AGENT: 0})
    assert stage.let_out() == []
    stage.pass_seconds(4)
    stage.observe({AGENT: 0})
    assert stage.let_out() == [second]
    stage.check()


def test_a_reading_that_misses_the_agent_shuts_the_door(stage: stages.Stage) -> None:
    """One is sent ahead again when the agent is back, however the agent left."""
    first, *others = hold(stage, "oA", "oB", "oC")
    stage.announce({"": 1})
    stage.observe({AGENT: 0})
    assert stage.let_out() == [first]
    create(stage, first)
    stage.pass_seconds(5)
    stage.observe({})
    stage.pass_seconds(5)
    assert stage.let_out() == []
    stage.announce({})
    stage.observe({AGENT: 0})
    assert stage.let_out() == others[:1]


def test_ids_that_another_release_left_behind_are_cleared_away(stage: stages.Stage) -> None:
    """One that knows no rooms ends a request and leaves its id there."""
    (first,) = hold(stage, "oA")
    room = stage.keys.room(APPID, AGENT)
    stage.client.zadd(room, {f"gone{n}": n for n in range(50)})
    assert stage.get(first).ahead == 50
    stage.pass_seconds(61)
    assert stage.let_out() == []
    assert stage.get(first).ahead == 0


def test_all_rooms_of_an_account_are_woken_a_thousand_a_script(stage: stages.Stage) -> None:
    """The waiting room goes on with the others at once."""
    rooms = {f"{APPID}:a{n}@x": n for n in range(2500)}
    stage.client.sadd(stage.keys.rooms_of(APPID), *rooms)
    for name in rooms:
        stage.client.zadd(stage.keys.base + "room:" + name, {"nobody": 1})
    stage.client.zadd(stage.keys.rooms, dict.fromkeys(rooms, 9e15))
    stage.observe({AGENT: 0})
    passes = 0
    while stage.open_rooms(limit=1000).has_more:
        passes += 1
        assert passes < 100
    assert stage.client.zcard(stage.keys.rooms) == 0, "each was looked into, and nobody was there"

"""agents: whom a request may ask, and how many fans an agent can take, over all workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER
from worker.ledger import claims, request_ids

#: Agents by their state in the tables: whoever is `free` has 8 of 10 places left.
A, B, C = "a@x", "b@x", "c@x"


def set_up(stage: stages.Stage, states: dict[str, str]) -> None:
    """Bring agents into a state: free, full, paused, gone (read before, missed now) or new."""
    stage.announce({"": 10})
    sessions = {name: 10 if state == "full" else 2 for name, state in states.items()}
    known = {name: n for name, n in sessions.items() if states[name] not in ("new", "wrong")}
    stage.observe(known)
    stage.observe({name: n for name, n in known.items() if states[name] != "gone"})
    for name, state in states.items():
        if state == "paused":
            stage.ledger.accounts.pause(APPID, name)


def found_wrong(stage: stages.Stage, targets: list[str], wrong: list[str]) -> str:
    """A queued request whose earlier delivery was told that these agents do not exist."""
    request_id = stage.submit(kf_account=targets[0], fallbacks=targets[1:]).id
    stage.observe({C: 0})
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="transient", out=frozenset(wrong))
    stage.wake()
    return request_id


@pytest.mark.parametrize(
    ("targets", "states", "calling", "held_for"),
    [
        ([A], {A: "free"}, A, None),
        ([A, B], {A: "free", B: "free"}, A, None),
        ([A, B], {A: "gone", B: "free"}, B, None),
        ([A, B], {A: "full", B: "free"}, B, None),
        ([A, B], {A: "paused", B: "free"}, B, None),
        ([A, B], {A: "wrong", B: "free"}, B, None),
        ([A, B, C], {A: "wrong", B: "gone", C: "free"}, C, None),
        # One that may not exist is asked, since the list cannot tell, but after all who are there.
        ([A], {A: "new"}, A, None),
        ([A, B], {A: "new", B: "free"}, B, None),
        ([A, B], {A: "gone", B: "new"}, B, None),
        ([A, B], {A: "full", B: "new"}, B, None),
        (["any"], {A: "gone", B: "free"}, B, None),
        ([A, "any"], {A: "free", B: "free"}, A, None),
        ([A, "any"], {A: "full", B: "free"}, B, None),
        ([A, "any"], {A: "wrong", B: "paused", C: "free"}, C, None),
        # All are out: the nearest to release is what the request waits for.
        ([A], {A: "gone"}, None, "agent_offline"),
        ([A], {A: "paused"}, None, "paused"),
        ([A], {A: "full"}, None, "agent_full"),
        ([A, B], {A: "gone", B: "paused"}, None, "paused"),
        ([A, B], {A: "paused", B: "full"}, None, "agent_full"),
        ([A, B, C], {A: "full", B: "paused", C: "gone"}, None, "agent_full"),
        ([A, B], {A: "wrong", B: "gone"}, None, "agent_offline"),
        (["any"], {A: "gone"}, None, "agent_offline"),
        (["any"], {A: "full", B: "paused"}, None, "agent_full"),
        ([A, "any"], {A: "wrong"}, None, "agent_offline"),
        # All are wrong: nothing to wait for; the delivery says so.
        ([A, B], {A: "wrong", B: "wrong"}, None, None),
    ],
)
def test_the_first_target_who_can_take_the_fan_is_asked(
    stage: stages.Stage,
    targets: list[str],
    states: dict[str, str],
    calling: str | None,
    held_for: str | None,
) -> None:
    """Offline, full, paused and wrong ones are passed over at once; when all are out it waits."""
    wrong = [name for name, state in states.items() if state == "wrong"]
    request_id = found_wrong(stage, targets, wrong)
    set_up(stage, states)
    claim = stage.take(request_id).claim
    assert (claim.calling if claim else None) == calling
    assert (stage.get(request_id).reason if claim is None else None) == held_for
    stage.check()


@pytest.mark.parametrize(
    ("capacities", "sessions", "first"),
    [
        ({"": 10}, {A: 5, B: 4}, B),
        ({A: 20, B: 10}, {A: 11, B: 2}, A),
        ({A: 20, B: 10}, {A: 13, B: 2}, B),
        ({"": 10}, {B: 4, A: 4}, A),
        ({A: 10, B: 8}, {A: 6, B: 4}, A),
        ({}, {A: 3, B: 2}, B),
        ({}, {B: 2, A: 2}, A),
        ({A: 10}, {A: 0, B: 30}, B),
        ({"": 10, A: 0}, {A: 30, B: 0}, A),
    ],
)
def test_any_is_whoever_has_the_most_room(
    stage: stages.Stage, capacities: dict[str, int], sessions: dict[str, int], first: str
) -> None:
    """Fewest sessions where nothing limits them; ties by name."""
    stage.announce(capacities)
    stage.observe(sessions)
    assert stage.claim(stage.submit(kf_account="any").id).calling == first


@pytest.mark.parametrize("capacity", [0, 10])
def test_any_spreads_fans_between_two_readings(stage: stages.Stage, capacity: int) -> None:
    """Calls under way and sessions just opened count, with a capacity or without."""
    stage.announce({"": capacity})
    stage.observe({A: 0, B: 1, C: 2})
    asked = []
    for number in range(6):
        claim = stage.claim(stage.submit(f"o{number}", kf_account="any").id)
        asked.append(claim.calling)
        if number % 2:
            stage.settle(claim, "created", served_by=claim.calling)
    assert asked == [A, A, B, A, B, C]


@pytest.mark.parametrize(
    ("began_seconds_ago", "is_asked"), [(2, False), (0.5, False), (-0.5, True)]
)
def test_65415_stands_until_a_reading_that_began_later(
    stage: stages.Stage, began_seconds_ago: float, is_asked: bool
) -> None:
    """One that began before it may still show the agent online."""
    stage.find_offline(stage.claim(stage.submit("oA").id))
    if began_seconds_ago < 0:
        stage.pass_seconds(1)
    stage.observe({AGENT: 0}, seconds_ago=max(began_seconds_ago, 0))
    assert (stage.take(stage.submit("oB").id).claim is not None) is is_asked


def test_an_agent_found_offline_is_left_in_peace_by_every_room(stage: stages.Stage) -> None:
    """One 65415 speaks for all targets lists that hold the agent."""
    stage.observe({AGENT: 0, OTHER: 0})
    stage.find_offline(stage.claim(stage.submit("oA").id))
    assert stage.claim(stage.submit("oB", fallbacks=[OTHER]).id).calling == OTHER
    assert stage.claim(stage.submit("oC", kf_account="any").id).calling == OTHER


def test_the_next_target_is_found_within_a_delivery(stage: stages.Stage) -> None:
    """The agent just found offline is marked, and the place moves to the one asked next."""
    stage.announce({"": 5})
    stage.observe({AGENT: 0, OTHER: 0})
    claim = stage.claim(stage.submit(fallbacks=[OTHER]).id)
    assert set(stage.given(AGENT)) == {claim.id}
    for _ in range(2):  # sent again when its reply was lost
        found = stage.find_next(claim, offline=AGENT)
        assert (found.calling, found.held_for) == (OTHER, None)
        assert (stage.given(AGENT), set(stage.given(OTHER))) == ({}, {claim.id})
    stage.check()
    found = stage.find_next(found, out=[OTHER])
    assert (found.calling, found.held_for) == (None, "agent_offline")
    assert stage.given(OTHER) == {}
    stage.settle(found, "waiting", reason="agent_offline", wait_seconds=60, out=frozenset({OTHER}))
    stage.check()


def test_a_call_that_was_not_chosen_takes_the_place_of_the_one_before(stage: stages.Stage) -> None:
    """A claim kept for somebody else frees the first agent's place."""
    stage.announce({"": 1})
    stage.observe({AGENT: 0})
    claim = stage.claim(stage.submit().id)
    stage.ledger.renew(claim, OTHER, stages.progress(claim))
    assert stage.given(AGENT) == {}
    stage.check()


# -- room to spare ----------------------------------------------------------------------------


def fill(stage: stages.Stage) -> list[claims.Claim]:
    """Claims for as many further fans as the agent can take now."""
    taken = []
    while True:
        request_id = stage.submit(f"o{request_ids.new_id()}").id
        claim = stage.take(request_id).claim
        if claim is None:
            stage.ledger.cancel(request_id)  # or the next ones would stand behind it
            return taken
        taken.append(claim)


def test_no_more_fans_are_given_than_the_agent_can_take(stage: stages.Stage) -> None:
    """Capacity less what the reading says, calls under way, and sessions opened since."""
    stage.announce({"": 20, AGENT: 6})
    stage.observe({AGENT: 2})
    under_way = fill(stage)
    assert len(under_way) == 4
    for claim in under_way[:3]:
        stage.settle(claim, "created", served_by=AGENT)
    assert fill(stage) == [], "a session takes the place of its call"
    stage.settle(under_way[3], "failed", reason="invalid_openid")
    assert len(fill(stage)) == 1, "a refused call gives its place back"
    stage.check()


def test_a_reading_may_lag_behind_the_truth(stage: stages.Stage) -> None:
    """What was opened up to three seconds before it began is counted again, and later no more."""
    stage.announce({"": 3})
    stage.observe({AGENT: 0})
    for claim in fill(stage):
        stage.settle(claim, "created", served_by=AGENT)
    stage.pass_seconds(2.5)
    stage.observe({AGENT: 0})
    assert fill(stage) == []
    stage.pass_seconds(1)
    stage.observe({AGENT: 3})
    assert fill(stage) == []
    stage.pass_seconds(5)
    stage.observe({AGENT: 1})
    assert len(fill(stage)) == 2


def wake_alone(stage: stages.Stage) -> claims.Claim:
    request_id = stage.submit().id
    stage.settle(stage.claim(request_id), "waiting", reason="transient")
    stage.wake()
    return stage.claim(request_id)


def come_from_a_room(stage: stages.Stage) -> claims.Claim:
    stage.ledger.accounts.pause(APPID)
    request_id = stage.submit().id
    assert stage.take(request_id).claim is None
    stage.ledger.accounts.resume(APPID)
    assert stage.let_out() == [request_id]
    return stage.claim(request_id)


def fall_back(stage: stages.Stage) -> claims.Claim:
    claim = stage.claim(stage.submit(kf_account=OTHER, fallbacks=[AGENT]).id)
    return stage.find_next(claim, offline=OTHER)


def choose_any(stage: stages.Stage) -> claims.Claim:
    stage.ledger.accounts.pause(APPID, OTHER)
    return stage.claim(stage.submit(kf_account="any").id)


@pytest.mark.parametrize("come", [wake_alone, come_from_a_room, fall_back, choose_any])
def test_a_call_counts_whatever_woke_its_request(
    stage: stages.Stage, come: Callable[[stages.Stage], claims.Claim]
) -> None:
    """Every way to a call passes the same count, on whatever worker."""
    stage.announce({"": 1})
    stage.observe({AGENT: 0, OTHER: 0})
    assert come(stage).calling == AGENT
    blocked = stage.submit("oNEXT").id
    assert stage.take(blocked).claim is None
    assert stage.get(blocked).reason == "agent_full"
    stage.check()


def test_a_lost_lease_takes_a_place_until_it_is_known_who_has_the_fan(stage: stages.Stage) -> None:
    """The killed worker may have opened the session."""
    stage.announce({"": 2})
    stage.observe({AGENT: 0})
    request_id = stage.submit().id
    stage.called(request_id)
    stage.pass_seconds(stage.config.lease_seconds + 1)
    stage.observe({AGENT: 0})
    stage.wake()
    stage.check()
    assert stage.given()[request_id] < float("inf"), "a reading can have seen it later"
    claim = stage.claim(request_id)
    assert (claim.doubt, claim.calling) == (AGENT, AGENT)
    assert len(fill(stage)) == 1
    stage.check()


@pytest.mark.parametrize("capacity", [1, 2])
def test_a_doubt_that_proved_empty_gives_its_place_back(stage: stages.Stage, capacity: int) -> None:
    """Read back, nobody has the fan: it does not wait for the place that it took itself."""
    stage.announce({"": capacity})
    stage.observe({AGENT: 0})
    request_id = stage.submit(kf_account=AGENT).id
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="transient", doubt=claims.Doubt.about(AGENT))
    stage.wake()
    claim = stage.claim(request_id)
    assert claim.calling == (AGENT if capacity > 1 else None)
    cleared = stages.progress(claim, doubt=claims.Doubt.cleared())
    found = stage.ledger.find_next(claim, cleared, out=())
    assert found.calling == AGENT
    assert stage.given()[request_id] == float("inf")
    stage.settle(found, "created", served_by=AGENT)
    assert stage.given()[request_id] < float("inf")
    stage.check()


def test_a_doubt_confirmed_keeps_its_place(stage: stages.Stage) -> None:
    """The session read back was opened by the call in doubt, and no reading has seen it."""
    stage.announce({"": 1})
    stage.observe({AGENT: 0})
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="transient", doubt=claims.Doubt.about(AGENT))
    stage.wake()
    claim = stage.claim(request_id)
    stage.settle(claim, "created", served_by=AGENT, doubt=claims.Doubt.cleared())
    assert fill(stage) == []


def test_without_a_capacity_nothing_is_counted(stage: stages.Stage) -> None:
    """Nothing of ours limits the agent, and Redis holds nothing for it."""
    stage.observe({AGENT: 900})
    stage.settle(stage.claim(stage.submit().id), "created", served_by=AGENT)
    assert stage.given() == {}


# -- without a reading ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "targets", "is_asked"),
    [
        (0, [AGENT], True),
        (0, [AGENT, OTHER], True),
        (5, [AGENT], False),
        (0, ["any"], False),
        (5, [AGENT, "any"], False),
    ],
)
def test_who_cannot_be_chosen_without_a_reading_waits_for_one(
    stage: stages.Stage, capacity: int, targets: list[str], is_asked: bool
) -> None:
    """It says so, that one is made now; the first target without a capacity needs none."""
    stage.announce({"": capacity})
    request_id = stage.submit(kf_account=targets[0], fallbacks=targets[1:]).id
    taken = stage.take(request_id)
    assert (taken.claim is not None, taken.needs_reading) == (is_asked, not is_asked)
    if is_asked:
        return
    assert stage.get(request_id).reason == "agent_offline"
    assert stage.watch() == [APPID]
    stage.observe({AGENT: 0})
    assert stage.let_out() == [request_id]
    assert stage.claim(request_id).calling == AGENT
    stage.check()


def test_a_reading_too_old_to_be_trusted_is_none(stage: stages.Stage) -> None:
    """Twenty seconds here: more fans may have come since than we sent."""
    stage.announce({"": 5})
    stage.observe({AGENT: 0})
    stage.pass_seconds(19)
    assert stage.take(stage.submit("oA").id).claim is not None
    stage.pass_seconds(2)
    taken = stage.take(stage.submit("oB").id)
    assert (taken.claim, taken.needs_reading) == (None, True)


def test_blind_an_agent_found_offline_is_asked_again_after_a_minute(stage: stages.Stage) -> None:
    """No reading will say that it came back."""
    stage.lose_sight()
    stage.find_offline(stage.claim(stage.submit("oA").id))
    stage.pass_seconds(55)
    assert stage.take(stage.submit("oB").id).claim is None
    stage.pass_seconds(6)
    assert stage.take(stage.submit("oC").id).claim is not None


def test_blind_the_one_sent_ahead_asks_all_the_same(stage: stages.Stage) -> None:
    """At the time that tenacity set, once; nobody else of its room or of another does."""
    stage.lose_sight()
    first, second = (stage.submit(openid, fallbacks=[OTHER]).id for openid in ("oA", "oB"))
    claim = stage.claim(first)
    found = stage.find_next(claim, offline=AGENT)
    assert found.calling == OTHER
    stage.find_offline(found, seconds=20)
    assert stage.take(second).claim is None
    stage.pass_seconds(21)
    assert stage.let_out() == [first]
    claim = stage.claim(second, stage.submit("oC").id)
    assert (claim.id, claim.calling) == (first, AGENT)
    assert stage.take(second).claim is None
    found = stage.find_next(claim, offline=AGENT)
    assert found.calling == OTHER
    stage.find_offline(found, seconds=20, strikes=2)
    assert stage.wakes_in_seconds(f"{AGENT}|{OTHER}") == pytest.approx(20, abs=0.5)
    stage.check()


def test_blind_a_fallback_known_to_be_offline_is_not_asked_by_everybody(
    stage: stages.Stage,
) -> None:
    """Each of a thousand whose first target is wrong would make a call in vain."""
    stage.lose_sight()
    stage.find_offline(stage.claim(stage.submit("oA", kf_account=OTHER).id))
    stage.pass_seconds(1)
    claim = stage.claim(stage.submit("oB", fallbacks=[OTHER]).id)
    found = stage.find_next(claim, out=[AGENT])
    assert (found.calling, found.held_for) == (None, "agent_offline")


def test_blind_any_waits_since_nobody_can_be_named(stage: stages.Stage) -> None:
    """Until somebody can tell, or the deadline."""
    stage.lose_sight()
    request_id = stage.submit(kf_account="any").id
    assert stage.take(request_id).claim is None
    assert stage.get(request_id).reason == "agent_offline"
    stage.pass_seconds(6)
    assert stage.let_out() == []
    stage.observe({AGENT: 0})
    assert stage.let_out() == [request_id]


def test_blind_an_agents_room_is_counted_from_our_own_sessions(stage: stages.Stage) -> None:
    """For half an hour each, since nobody says when they end."""
    stage.announce({"": 2})
    stage.lose_sight()
    for claim in fill(stage):
        stage.settle(claim, "created", served_by=AGENT)
    assert len(stage.given()) == 2
    stage.pass_seconds(29 * 60)
    stage.lose_sight()
    assert fill(stage) == []
    stage.pass_seconds(2 * 60)
    stage.lose_sight()
    assert len(fill(stage)) == 2


def test_a_failed_reading_gives_no_room_that_was_not_there(stage: stages.Stage) -> None:
    """What the last reading had seen of ours counts on when nobody can tell any more."""
    stage.announce({"": 2})
    stage.observe({AGENT: 0})
    for claim in fill(stage):
        stage.settle(claim, "created", served_by=AGENT)
    stage.pass_seconds(5)
    stage.observe({AGENT: 2})
    for _ in range(5):
        stage.pass_seconds(5)
        stage.lose_sight()
    assert fill(stage) == []
    request_id = stage.submit().id
    assert stage.take(request_id).claim is None
    assert stage.get(request_id).reason == "agent_full"


def test_what_is_an_hour_old_is_forgotten_where_nobody_can_tell(stage: stages.Stage) -> None:
    """No reading clears it away, so each call does: an agent's places do not pile up for days."""
    stage.announce({"": 2})
    for openid in ("oA", "oB", "oC"):
        stage.lose_sight()
        request_id = stage.submit(openid).id
        stage.settle(stage.claim(request_id), "created", served_by=AGENT)
        stage.pass_seconds(1900)
    stage.lose_sight()
    last = stage.claim(stage.submit("oD").id)
    assert list(stage.given()) == [request_id, last.id]


def test_that_nobody_could_tell_is_old_news_after_a_while(stage: stages.Stage) -> None:
    """Days later a reading is wanted again, and nothing is said of blindness."""
    stage.announce({"": 2})
    stage.lose_sight()
    assert stage.reader.account(APPID).blind
    stage.pass_seconds(3600)
    assert stage.reader.account(APPID).blind is None
    assert stage.take(stage.submit().id).needs_reading


def test_an_agent_last_known_offline_needs_a_reading(stage: stages.Stage) -> None:
    """However old that is: a reading can tell, so nobody is called to find out."""
    stage.observe_nobody(AGENT)
    stage.pass_seconds(3600)
    request_id = stage.submit().id
    taken = stage.take(request_id)
    assert (taken.claim, taken.needs_reading) == (None, True)
    stage.pass_seconds(61)
    assert stage.let_out() == [], "not by the room's own time either"
    stage.observe({AGENT: 0})
    assert stage.let_out() == [request_id]


def test_a_name_that_is_gone_may_be_wrong(stage: stages.Stage) -> None:
    """An agent who was deleted is asked once, so that the fan need not wait for the deadline."""
    stage.observe_nobody(AGENT)
    assert stage.take(stage.submit("oA").id).claim is None
    stage.ledger.accounts.name(APPID, [OTHER], [])
    assert stage.claim(stage.submit("oB").id).calling == AGENT
    assert stage.take(stage.submit("oC", kf_account=OTHER).id).claim is None


def test_a_name_that_may_be_wrong_is_asked_by_one_at_a_time(stage: stages.Stage) -> None:
    """An agent so new that no list has the name must not be given everybody."""
    stage.observe({OTHER: 0})
    first = stage.claim(stage.submit("oA").id)
    assert first.calling == AGENT
    assert stage.take(stage.submit("oB").id).claim is None
    stage.settle(first, "failed", reason="invalid_agent")
    assert stage.claim(stage.submit("oC").id).calling == AGENT


# -- agents who are online by the list, and 65415 by the call ----------------------------------


def lie(stage: stages.Stage, *names: str) -> None:
    """A request whose ladder leads over all of these, in vain."""
    first, *fallbacks = names
    claim = stage.claim(stage.submit("oLIE", kf_account=first, fallbacks=fallbacks).id)
    visited: list[str] = []
    while claim.calling:
        visited.append(claim.calling)
        claim = stage.ledger.find_next(
            claim, stages.progress(claim), out=(), offline=claim.calling, visited=visited
        )
    assert visited == list(names)
    assert claim.held_for == "agent_offline"
    stage.settle(claim, "waiting", reason="agent_offline", wait_seconds=5, strikes=1)


def suspect(stage: stages.Stage) -> claims.Claim:
    """A, who is in the list, answered 65415 some time ago; the claim that asks it next."""
    stage.observe(dict.fromkeys([A, B], 0))
    first = stage.claim(stage.submit("o1", kf_account=A, fallbacks=[B]).id)
    stage.settle(stage.find_next(first, offline=A), "created", served_by=B)
    stage.pass_seconds(11)
    stage.observe(dict.fromkeys([A, B], 0))
    claim = stage.claim(stage.submit("o2", kf_account=A, fallbacks=[B]).id)
    assert claim.calling == A
    return claim


def asked(stage: stages.Stage, openid: str, *names: str) -> str | None:
    """Whom the next request of this ladder would ask first; it gives its claim back."""
    first, *fallbacks = names
    taken = stage.take(stage.submit(openid, kf_account=first, fallbacks=fallbacks).id).claim
    if taken is None:
        return None
    stage.settle(taken, "failed", reason="invalid_openid")
    return taken.calling


def test_a_walk_asks_each_agent_once_whatever_readings_say_meanwhile(stage: stages.Stage) -> None:
    """A reading in the middle of it wipes nothing: it ends."""
    stage.observe(dict.fromkeys([A, B, C], 0))
    claim = stage.claim(stage.submit(kf_account=A, fallbacks=[B, C]).id)
    visited: list[str] = []
    while claim.calling:
        visited.append(claim.calling)
        stage.pass_seconds(30)
        stage.observe(dict.fromkeys([A, B, C], 0))
        claim = stage.ledger.find_next(
            claim, stages.progress(claim), out=(), offline=claim.calling, visited=visited
        )
    assert visited == [A, B, C]
    assert claim.held_for == "agent_offline"


def test_people_see_who_lied_as_offline(stage: stages.Stage) -> None:
    """As the workers do, for as long."""
    stage.observe(dict.fromkeys([A, B], 0))
    stage.find_next(stage.claim(stage.submit(kf_account=A, fallbacks=[B]).id), offline=A)
    stage.pass_seconds(5)
    stage.observe(dict.fromkeys([A, B], 0))
    assert {each.kf_account: each.is_online for each in stage.reader.account(APPID).agents} == {
        A: False,
        B: True,
    }


def test_what_a_call_said_outlives_the_next_readings(stage: stages.Stage) -> None:
    """So that others do not repeat it: ten seconds, then a minute."""
    stage.observe(dict.fromkeys([A, B], 0))
    claim = stage.claim(stage.submit("oX", kf_account=A, fallbacks=[B]).id)
    claim = stage.find_next(claim, offline=A)
    assert claim.calling == B
    stage.settle(claim, "created", served_by=B)
    for seconds, expected in ((4, B), (5, B), (3, A)):
        stage.pass_seconds(seconds)
        stage.observe(dict.fromkeys([A, B], 0))
        assert asked(stage, f"o{seconds}{expected[0]}", A, B) == expected


def test_a_suspect_is_asked_by_one_request_at_a_time(stage: stages.Stage) -> None:
    """The others go past it meanwhile; its second lie counts for a minute."""
    probing = suspect(stage)
    assert asked(stage, "o3", A, B) == B
    assert stage.find_next(probing, offline=A).calling == B
    stage.pass_seconds(50)
    stage.observe(dict.fromkeys([A, B], 0))
    assert asked(stage, "o4", A, B) == B
    stage.pass_seconds(11)
    stage.observe(dict.fromkeys([A, B], 0))
    assert asked(stage, "o5", A, B) == A


@pytest.mark.parametrize("how", ["served elsewhere", "busy", "asked for another"])
def test_an_answer_that_tells_nothing_of_a_suspect_lets_the_next_one_ask_it(
    stage: stages.Stage, how: str
) -> None:
    """A room of fans whom others serve must not pass a suspect one in fifteen seconds."""
    claim = suspect(stage)
    if how == "served elsewhere":
        stage.settle(claim, "already_served", served_by=C)
    elif how == "busy":
        stage.settle(claim, "waiting", reason="transient", wait_seconds=5)
    else:
        claim = stage.ledger.find_next(
            claim, stages.progress(claim), out=(), offline=None, visited=[A]
        )
        assert claim.calling == B
    assert asked(stage, "o3", A, B) == A


def test_no_request_asks_two_suspects(stage: stages.Stage) -> None:
    """A walk over many of them would begin again once they are all due."""
    stage.observe(dict.fromkeys([A, B, C], 0))
    lie(stage, A, B)
    stage.pass_seconds(11)
    stage.observe(dict.fromkeys([A, B, C], 0))
    claim = stage.claim(stage.submit("oY", kf_account=A, fallbacks=[B, C]).id)
    assert claim.calling == A
    claim = stage.ledger.find_next(claim, stages.progress(claim), out=(), offline=A, visited=[A])
    assert claim.calling == C


def test_any_asks_suspects_last(stage: stages.Stage) -> None:
    """However much room they have."""
    stage.announce({"": 9})
    stage.observe({A: 0, B: 8})
    claim = stage.claim(stage.submit("oX", kf_account="any").id)
    assert claim.calling == A
    stage.settle(stage.find_next(claim, offline=A), "created", served_by=B)
    stage.pass_seconds(11)
    stage.observe({A: 0, B: 5})
    assert stage.claim(stage.submit("oY", kf_account="any").id).calling == B


def test_once_the_list_was_wrong_any_asks_who_serves_somebody(stage: stages.Stage) -> None:
    """Who has the most room has it because nobody gets through there."""
    stage.observe({A: 0, B: 0, C: 3})
    claim = stage.claim(stage.submit("oX", kf_account="any").id)
    assert claim.calling == A
    claim = stage.ledger.find_next(claim, stages.progress(claim), out=(), offline=A, visited=[A])
    assert claim.calling == C


@pytest.mark.parametrize("how", ["a session", "the list agrees", "it serves fewer"])
def test_a_suspect_is_one_no_more_when(stage: stages.Stage, how: str) -> None:
    """There is a reason to believe the list again."""
    stage.observe({A: 2, B: 0})
    claim = stage.claim(stage.submit("oX", kf_account=A, fallbacks=[B]).id)
    stage.settle(stage.find_next(claim, offline=A), "created", served_by=B)
    if how == "a session":
        stage.pass_seconds(11)
        stage.observe({A: 2, B: 0})
        stage.settle(stage.claim(stage.submit("oY", kf_account=A).id), "created", served_by=A)
    elif how == "the list agrees":
        stage.pass_seconds(2)
        stage.observe({B: 0})
        stage.pass_seconds(2)
        stage.observe({A: 2, B: 0})
    else:
        stage.pass_seconds(2)
        stage.observe({A: 1, B: 0})
    assert not any(each.startswith("lie:") for each in stage.account())
    assert asked(stage, "oZ", A, B) == A


def test_nobody_new_is_asked_after_the_deadline(stage: stages.Stage) -> None:
    """By the server's clock, and by the deadline that a join may have moved."""
    stage.observe(dict.fromkeys([A, B], 0))
    fields = {"kf_account": A, "fallbacks": [B]}
    claim = stage.claim(stage.submit("oX", ttl_seconds=5, **fields).id)
    stage.submit("oX", ttl_seconds=20, **fields)
    stage.pass_seconds(6)
    stage.observe(dict.fromkeys([A, B], 0))
    again = stage.find_next(claim, offline=A)
    assert (again.is_over, again.calling) == (False, B)
    stage.pass_seconds(20)
    last = stage.ledger.find_next(again, stages.progress(again), out=(), offline=B, visited=[A, B])
    assert (last.is_over, last.calling) == (True, None)


def test_the_names_of_all_agents_put_nobody_offline_who_is_online(stage: stages.Stage) -> None:
    """Else the fans of a healthy agent would wait for a reading once in a while."""
    stage.observe({A: 0})
    stage.ledger.accounts.name(APPID, [A, B], [])
    assert f"off:{A}" not in stage.account()
    assert f"off:{B}" in stage.account()

"""The server's clock is set: no stored time is believed for longer than it was meant to last.

An operator, or a time service, sets it by an hour; here the fake server reads the time of this
process, which is set instead. What the workers measure by their own monotonic clocks goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker.contract import record, request
from worker.ledger import claims, ledger

HOUR = 3600.0
ESCALATION = request.Lane.ESCALATION


class Clock:
    """The server's clock, which a test sets."""

    def __init__(self, stage: stages.Stage) -> None:
        self._stage = stage
        self._undo = contextlib.ExitStack()

    def step(self, seconds: float) -> None:
        """Set it ahead, or back."""
        to = time.time() + seconds
        self._undo.enter_context(time_machine.travel(to, tick=True))
        self._stage._newest_reading_ms = 0  # the next one begins before it, if it was set back

    def undo(self) -> None:
        self._undo.close()


@pytest.fixture
def clock(stage: stages.Stage) -> Iterator[Clock]:
    own = Clock(stage)
    yield own
    own.undo()


@pytest.fixture
def ahead(stage: stages.Stage, clock: Clock) -> Callable[[], None]:
    """The clock is an hour ahead for a while; what is returned ends that."""
    stage.wake()
    clock.step(HOUR)
    stage.wake()
    return lambda: clock.step(-HOUR)


def let_pass(stage: stages.Stage, clock: Clock, seconds: float) -> None:
    """Time passes by every clock, and the waiting room looks on."""
    stage.ledger.waiting._told_at -= seconds
    clock.step(seconds)


def restart(stage: stages.Stage) -> None:
    """A worker starts, who knows nothing of the time before."""
    stage.ledger = ledger.Ledger(stage.client, stage.config)


# -- turns --------------------------------------------------------------------------------------


def test_an_account_whose_turn_was_while_the_clock_was_ahead_has_its_next_in_turn(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """It would come last for an hour."""
    accounts = ("wx1", "wx2", "wx3")
    for number in range(4):
        for appid in accounts:
            stage.submit(f"o{number}", appid=appid, lane="batch")
    assert stage.claim().appid == "wx1"
    ahead()
    stage.wake()
    assert sorted(stage.claim().appid for _ in range(6)) == [
        *["wx1"] * 2,
        *["wx2"] * 2,
        *["wx3"] * 2,
    ]


# -- readings and agents ------------------------------------------------------------------------


def test_a_reading_made_while_the_clock_was_ahead_is_none(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Who it saw may have left since, and the next one is not put off by it."""
    stage.ledger.accounts.want_reading([APPID])
    assert stage.watch() == [APPID]
    stage.observe({AGENT: 0})
    ahead()
    known = stage.reader.account(APPID)
    assert (known.read_at, [each.is_online for each in known.agents]) == (None, [None])
    stage.ledger.accounts.want_reading([APPID])
    assert stage.watch() == [APPID]
    stage.observe({OTHER: 0})
    known = stage.reader.account(APPID)
    assert {each.kf_account: each.is_online for each in known.agents} == {AGENT: False, OTHER: True}


def test_a_reading_that_began_before_the_clock_was_set_back_counts_from_now(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """It is no less true for that, and stands for its own length."""
    reading = stage.reading_of(APPID)
    ahead()
    stage.ledger.accounts.observe(reading, {AGENT: 0}, interval_seconds=5, trusted_seconds=20)
    assert int(stage.account()["fresh"]) / 1000 == pytest.approx(stage.now() + 20, abs=1)
    assert stage.claim(stage.submit(kf_account="any").id).calling == AGENT


def test_that_nobody_can_tell_is_found_out_anew(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """The next try was put off until an hour later."""
    stage.lose_sight()
    assert stage.reader.account(APPID).blind is not None
    ahead()
    assert stage.reader.account(APPID).blind is None
    stage.ledger.accounts.want_reading([APPID])
    assert stage.watch() == [APPID]
    assert stage.lose_sight() is True


def test_a_next_reading_of_the_release_before_is_believed_for_an_hour(stage: stages.Stage) -> None:
    """It did not write since when it stands."""
    stage.lose_sight()
    stage.client.hdel(stage.keys.account(APPID), "tried")
    assert stage.reader.account(APPID).blind is not None
    later = int(stage.now() * 1000) + 2 * 3600 * 1000
    stage.client.hset(stage.keys.account(APPID), "next", later)
    assert stage.reader.account(APPID).blind is None


def test_an_account_whose_reading_was_put_off_is_read_after_the_clock_is_set_back(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Although it stands in the list of those to read for an hour later."""
    stage.observe_nobody(AGENT)
    request_id = stage.submit().id
    assert stage.take(request_id).claim is None
    stage.watch()
    ahead()
    assert stage.watch() == []
    stage.wake()
    assert stage.watch() == [APPID]


def test_an_agent_found_offline_while_the_clock_was_ahead_is_asked_again(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Where nobody can tell it is left in peace for a minute, and not for an hour."""
    stage.lose_sight()
    stage.find_offline(stage.called(stage.submit().id))
    assert stage.take(stage.submit("oB").id).claim is None
    ahead()
    stage.lose_sight()
    assert stage.claim(stage.submit("oC").id).calling == AGENT


def test_an_agent_found_offline_while_the_clock_was_ahead_is_back_when_a_reading_says_so(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """And one who left is offline as of now."""
    for name in (AGENT, OTHER):
        stage.ledger.accounts.name(APPID, [AGENT, OTHER], [])
        stage.client.hset(stage.keys.account(APPID), f"off:{name}", int(stage.now() * 1000))
    ahead()
    stage.observe({AGENT: 0})
    assert stage.claim(stage.submit().id).calling == AGENT
    assert f"off:{AGENT}" not in stage.account()
    away = stage.submit("oB", kf_account=OTHER).id
    assert stage.take(away).claim is None
    assert stage.get(away).reason == "agent_offline"


def test_sessions_opened_while_the_clock_was_ahead_are_seen_by_the_readings_after(
    stage: stages.Stage, ahead: Callable[[], None], clock: Clock
) -> None:
    """Else the agent would be full for an hour more than they last."""
    stage.announce({"": 1})
    stage.observe({AGENT: 0})
    claim = stage.claim(stage.submit().id)
    stage.settle(claim, "created", served_by=AGENT)
    ahead()
    stage.observe({AGENT: 0})
    assert stage.given()[claim.id] == pytest.approx(stage.now() * 1000, abs=1000)
    let_pass(stage, clock, 1801)
    stage.observe({AGENT: 0})
    assert stage.given() == {}


def test_nobody_is_away_since_a_time_ahead(stage: stages.Stage, ahead: Callable[[], None]) -> None:
    """An account is read rarely once nobody was online for an hour, by the clock that is right."""
    stage.observe({})
    ahead()
    stage.observe({})
    assert int(stage.account()["empty_since"]) / 1000 == pytest.approx(stage.now(), abs=1)
    assert int(stage.account()["next"]) / 1000 == pytest.approx(stage.now() + 5, abs=1)


# -- holds ----------------------------------------------------------------------------------------


def refuse(stage: stages.Stage, openid: str = "oA", *, seconds: float = 60) -> str:
    """A request that holds its account."""
    request_id = stage.submit(openid, ttl_seconds=3 * HOUR).id
    stage.settle(
        stage.claim(request_id), "waiting", reason="quota", wait_seconds=seconds, strikes=1
    )
    return request_id


def test_a_hold_written_while_the_clock_was_ahead_is_over(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """One request probes; a hold of its own length would be as right, and no shorter."""
    first = refuse(stage)
    assert stage.reader.account(APPID).held_for == "quota"
    ahead()
    assert stage.reader.account(APPID).held_for is None
    stage.wake()
    assert stage.let_out() == [first]
    claim = stage.claim(first)
    assert (claim.reason, claim.strikes) == ("quota", 1)
    assert stage.take(stage.submit("oB").id).claim is None, "one probe is enough"
    stage.check()


def test_a_hold_outlasts_no_step_ahead_and_is_probed(stage: stages.Stage, clock: Clock) -> None:
    """By one, as when its time had come."""
    first = refuse(stage)
    clock.step(HOUR)
    assert stage.let_out() == [first]


def test_a_probe_sent_while_the_clock_was_ahead_gives_way(
    stage: stages.Stage, clock: Clock
) -> None:
    """Its half minute would else end an hour later."""
    stage.wake()
    first, second = refuse(stage), stage.submit("oB", ttl_seconds=3 * HOUR).id
    assert stage.take(second).claim is None
    clock.step(HOUR)
    stage.wake()
    assert stage.let_out() == [first]
    stage.claim(first)
    clock.step(-HOUR)
    stage.wake()
    assert stage.let_out() == [second]


def test_a_probe_that_gives_way_is_known_to_have_done_so_now(stage: stages.Stage) -> None:
    """The text of a hold is the one that older releases read."""
    first = refuse(stage, seconds=0)
    assert stage.let_out() == [first]
    stage.ledger.cancel(first)
    ends, *rest = stage.account()["hold"].split(" ")
    assert rest == ["quota", "1", "-"]
    assert int(ends) / 1000 == pytest.approx(stage.now(), abs=1)
    assert stage.account()["held_at"] == ends


def test_a_hold_of_the_release_before_is_believed_for_a_day(stage: stages.Stage) -> None:
    """It did not write since when it stands."""
    refuse(stage)
    stage.client.hdel(stage.keys.account(APPID), "held_at")
    assert stage.reader.account(APPID).held_for == "quota"
    ends = int(stage.now() * 1000) + 25 * 3600 * 1000
    stage.client.hset(stage.keys.account(APPID), "hold", f"{ends} quota 1 -")
    assert stage.reader.account(APPID).held_for is None
    assert stage.take(stage.submit("oB").id).claim is not None


def test_a_machine_s_mark_of_a_time_ahead_holds_the_account_for_a_moment(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """How long it was to last is not known any more; the machine probes by its own clock."""
    stage.announce(marks=[f"{APPID} 0 60000 1 account_blocked 40164 invalid ip"])
    ahead()
    stage.wake()
    request_id = stage.submit().id
    back = claims.Taker(worker="w1", leaves=f"|{APPID}|")
    assert stage.ledger.claim([request_id], "d1", taker=back).claim is None
    assert stage.get(request_id).reason == "account_blocked"
    assert stage.wakes_in_seconds() == pytest.approx(5, abs=1)


# -- rooms, and who waits alone -------------------------------------------------------------------


def test_rooms_wake_when_the_clock_is_set_back(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """They were to wake an hour later; each is looked into once."""
    for number in range(6):
        stage.wait(stage.submit(f"o{number}", kf_account=f"kfx{number}@acct").id, seconds=60)
    ahead()
    assert stage.let_out() == []
    stage.wake(limit=4)
    stage.wake(limit=4)
    scores = [at for _, at in stage.client.zrange(stage.keys.rooms, 0, -1, withscores=True)]
    assert len(scores) == 6
    assert max(scores) <= stage.now() * 1000
    assert len(stage.let_out()) == 6
    stage.check()


def test_rooms_wake_early_when_the_clock_is_set_ahead(stage: stages.Stage, clock: Clock) -> None:
    """To be looked into once more than needed harms nothing."""
    stage.observe_nobody(AGENT)
    request_id = stage.submit().id
    assert stage.take(request_id).claim is None
    clock.step(HOUR / 4)
    assert stage.let_out() == []
    assert stage.status(request_id) == "waiting"
    assert stage.wakes_in_seconds() == pytest.approx(5, abs=1)


def test_a_door_that_opened_at_a_time_ahead_says_nothing(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """One goes ahead, as from any room that nobody came out of lately."""
    held = []
    for number in range(3):
        request_id = stage.submit(f"o{number}").id
        stage.wait(request_id, seconds=0)
        held.append(request_id)
    first, *_ = stage.let_out()
    stage.settle(stage.claim(first), "created", served_by=AGENT)
    assert "open" in stage.door()
    ahead()
    stage.client.hdel(stage.keys.account(APPID), f"off:{AGENT}")
    stage.wake()
    assert stage.let_out() == [held[1]]


def test_who_was_sent_ahead_at_a_time_ahead_keeps_nobody(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Its call may hang: another one goes."""
    first, second = stage.submit("oA").id, stage.submit("oB").id
    for each in (first, second):
        stage.wait(each, seconds=0)
    assert stage.let_out() == [first]
    stage.claim(first)
    ahead()
    stage.wake()
    assert stage.let_out() == [second]


def test_who_waits_alone_waits_its_own_time_when_the_clock_is_set_back(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """And not an hour more."""
    long, short = stage.submit("oA").id, stage.submit("oB", ttl_seconds=10).id
    for each in (long, short):
        stage.wait(each, "transient", seconds=30)
    queued = stage.submit("oC").id
    ahead()
    assert stage.wake().set_back_seconds == pytest.approx(HOUR, abs=1)
    assert stage.due_in_seconds(long) == pytest.approx(30, abs=1)
    one = stage.get(long)
    assert one.next_attempt_at is not None
    assert one.next_attempt_at.timestamp() == pytest.approx(stage.now() + 30, abs=1)
    assert stage.due_in_seconds(short) == pytest.approx(30, abs=1)
    assert stage.due_in_seconds(queued) == pytest.approx(1800 + HOUR, abs=1), "its deadline"
    stage.check()


def test_who_waited_before_is_not_moved_when_the_clock_is_set_back(
    stage: stages.Stage, clock: Clock
) -> None:
    """By less than it waited: its time is no further ahead than it can be."""
    request_id = stage.submit().id
    stage.wait(request_id, "transient", seconds=60)
    stage.wake()
    let_pass(stage, clock, 30)
    stage.wake()
    clock.step(-20)
    assert stage.wake().set_back_seconds == pytest.approx(20, abs=1)
    assert stage.due_in_seconds(request_id) == pytest.approx(50, abs=1)


def test_a_walk_through_all_that_is_due_takes_capped_steps(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Whatever stands between, and however many have one deadline."""
    first = stage.submit("oFIRST").id
    stage.wait(first, "transient", seconds=30)
    deadline_ms = int((stage.now() + 60) * 1000)
    others = [stage.submit(f"o{number}").id for number in range(9)]
    for each in others:
        stage.client.hset(stage.keys.request(each), "deadline_at", deadline_ms)
        stage.client.zadd(stage.keys.due, {each: deadline_ms})
    ahead()
    passes = 0
    while stage.client.hexists(f"{stage.keys.base}clock", "due") or not passes:
        stage.wake(limit=2)
        passes += 1
    assert passes == 6
    assert stage.due_in_seconds(first) == pytest.approx(30, abs=1)
    assert {stage.client.zscore(stage.keys.due, each) for each in others} == {deadline_ms}


def test_a_ring_that_was_put_off_to_a_time_ahead_rings_now(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Whoever is queued is due at its deadline, or to be rung."""
    request_id = stage.doubted()
    stage.client.zadd(stage.keys.due, {request_id: (stage.now() + 2) * 1000})
    ahead()
    assert stage.wake().ring[ESCALATION] == (request_id,)
    assert stage.due_in_seconds(request_id) == pytest.approx(1800 + HOUR, abs=5)


def test_who_is_queued_since_a_time_ahead_is_rung_again(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Its doorbell may be lost."""
    request_id = stage.submit().id
    assert stage.left_queued() == []
    ahead()
    assert stage.left_queued() == [request_id]


def test_a_step_ahead_expires_what_was_to_expire_within_it(
    stage: stages.Stage, clock: Clock
) -> None:
    """A deadline is a time of the server's clock; the README says so."""
    request_id = stage.submit(ttl_seconds=600).id
    clock.step(HOUR)
    assert stage.wake().expired == 1
    assert stage.status(request_id) == "expired"


# -- leases ---------------------------------------------------------------------------------------


def lease_of(stage: stages.Stage) -> float:
    return float(stage.config.lease_seconds)


@pytest.mark.parametrize("is_new", [False, True])
def test_a_lease_that_a_step_ahead_ran_out_is_not_taken_back(
    stage: stages.Stage, clock: Clock, is_new: bool
) -> None:
    """Its holder lives, and may have a call under way: it settles, and nobody else got the fan.

    Whoever looks may have seen the step, or have started since.
    """
    request_id = stage.submit(ttl_seconds=2 * HOUR).id
    claim = stage.called(request_id)
    stage.wake()
    clock.step(HOUR)
    if is_new:
        restart(stage)
    woken = stage.wake()
    assert (woken.lost_leases, stage.doubt()) == ((), None)
    assert stage.take(request_id, holder="w2").claim is None
    assert stage.due_in_seconds(request_id) == pytest.approx(lease_of(stage), abs=1)
    let_pass(stage, clock, lease_of(stage) - 1)
    assert stage.wake().lost_leases == ()
    assert stage.settle(claim, "created", served_by=AGENT).settled
    assert stage.status(request_id) == "created"
    stage.check()


def test_a_dead_worker_s_lease_is_taken_back_a_lease_after_a_step_ahead(
    stage: stages.Stage, clock: Clock
) -> None:
    """Once: it is not given more each time it runs out."""
    request_id = stage.submit(ttl_seconds=2 * HOUR).id
    stage.called(request_id)
    stage.wake()
    clock.step(HOUR)
    stage.wake()
    let_pass(stage, clock, lease_of(stage) + 0.1)
    assert stage.wake().lost_leases == (request_id,)
    assert stage.doubt() == AGENT
    stage.check()


def test_a_step_ahead_gives_a_lease_no_more_than_it_took(stage: stages.Stage, clock: Clock) -> None:
    """Of a clock that is set by a few seconds, or of a pause of all workers."""
    request_id = stage.submit().id
    stage.called(request_id)
    stage.wake()
    clock.step(5)
    stage.wake()
    let_pass(stage, clock, lease_of(stage) - 5 + 0.1)
    assert stage.wake().lost_leases == ()
    assert stage.due_in_seconds(request_id) == pytest.approx(5, abs=0.5)
    let_pass(stage, clock, 5)
    assert stage.wake().lost_leases == (request_id,)


def test_two_steps_ahead_within_a_lease_add_up(stage: stages.Stage, clock: Clock) -> None:
    """Neither alone would do."""
    request_id = stage.submit().id
    stage.called(request_id)
    stage.wake()
    for _ in range(2):
        clock.step(lease_of(stage) / 2 + 0.1)
        stage.wake()
    assert stage.due_in_seconds(request_id) == pytest.approx(lease_of(stage), abs=1)


def test_a_lease_that_runs_out_by_a_steady_clock_is_taken_back_at_once(
    stage: stages.Stage, clock: Clock
) -> None:
    """A killed worker's fan waits no longer than it must, also where a step was long ago."""
    stage.wake()
    clock.step(HOUR)
    stage.wake()
    request_id = stage.submit().id
    stage.called(request_id)
    let_pass(stage, clock, lease_of(stage) + 0.1)
    assert stage.wake().lost_leases == (request_id,)


def test_a_long_pause_of_the_only_worker_is_no_step(stage: stages.Stage, clock: Clock) -> None:
    """It knows how long it slept: a broker that hangs makes no lease longer."""
    request_id = stage.submit().id
    stage.called(request_id)
    stage.wake()
    for _ in range(9):
        let_pass(stage, clock, lease_of(stage) / 9 + 0.1)
        lost = stage.wake().lost_leases
    assert lost == (request_id,)


def test_a_lease_of_the_release_before_counts_as_long_as_ours(
    stage: stages.Stage, clock: Clock
) -> None:
    """It did not write how long it is."""
    request_id = stage.submit(ttl_seconds=2 * HOUR).id
    stage.called(request_id)
    stage.client.hdel(stage.keys.request(request_id), "lease")
    stage.wake()
    clock.step(HOUR)
    assert stage.wake().lost_leases == ()
    assert stage.due_in_seconds(request_id) == pytest.approx(lease_of(stage), abs=1)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_lease_is_clamped_to_its_length_when_the_clock_is_set_back(
    stage: stages.Stage, ahead: Callable[[], None], is_known: bool
) -> None:
    """Never to less: its holder may have begun just now."""
    request_id = stage.submit().id
    claim = stage.called(request_id)
    if not is_known:
        stage.client.hdel(stage.keys.request(request_id), "lease")
    ahead()
    assert stage.wake().lost_leases == ()
    assert stage.due_in_seconds(request_id) == pytest.approx(lease_of(stage), abs=1)
    assert stage.settle(claim, "created", served_by=AGENT).settled


def test_a_dead_worker_s_lease_is_taken_back_a_lease_after_a_step_back(
    stage: stages.Stage, ahead: Callable[[], None], clock: Clock
) -> None:
    """And not an hour later."""
    request_id = stage.submit().id
    stage.called(request_id)
    ahead()
    stage.wake()
    let_pass(stage, clock, lease_of(stage) + 0.1)
    assert stage.wake().lost_leases == (request_id,)
    stage.check()


def test_a_claim_sent_again_has_its_whole_length(stage: stages.Stage, clock: Clock) -> None:
    """Also where what was left of it had been given once more."""
    request_id = stage.submit().id
    stage.claim(request_id)
    stage.wake()
    clock.step(3)
    stage.wake()
    let_pass(stage, clock, lease_of(stage) - 2)
    stage.wake()
    assert int(stage.client.hget(stage.keys.request(request_id), "lease")) < 10_000  # type: ignore[arg-type]
    assert stage.take(again=True).claim is not None
    told = stage.client.hget(stage.keys.request(request_id), "lease")
    assert told == str(round(lease_of(stage) * 1000))


# -- workers and accounts ---------------------------------------------------------------------


def test_a_worker_that_was_heard_of_at_a_time_ahead_counts_as_silent(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Until its next beat; it does not seem to live for an hour."""
    stage.announce(worker="w2", marks=[f"{APPID} 0 60000 1 token - no token"])
    assert stage.reader.is_served()
    ahead()
    assert not stage.reader.is_served()
    stage.announce(worker="w1")
    assert stage.client.zrange(f"{stage.keys.base}serving:{APPID}", 0, -1) == ["w1"]
    assert set(stage.reader.stepped_back()) == {"w2"}, "if it lives, that is true yet"
    ages = {
        name: stage.now() - about["at"] / 1000 for name, about in stage.reader.workers().items()
    }
    assert ages == {"w1": pytest.approx(0, abs=1), "w2": pytest.approx(1800, abs=1)}


def test_an_account_that_was_announced_at_a_time_ahead_is_not_the_one_meant(
    stage: stages.Stage, ahead: Callable[[], None]
) -> None:
    """Where a request names none, those count for which a worker lives."""
    stage.announce(appid="wx2")
    ahead()
    stage.announce()
    assert stage.submit(appid=None).how == "new"
    assert stage.reader.newest_of_fan(FAN, APPID) is not None


def test_the_final_state_is_written_once_whatever_the_clock_does(
    stage: stages.Stage, clock: Clock
) -> None:
    """A settlement rests on its fence, and on no time."""
    claim = stage.called(stage.submit(ttl_seconds=3 * HOUR).id)
    stage.wake()
    for seconds in (HOUR, -2 * HOUR, HOUR):
        clock.step(seconds)
        stage.wake()
    assert stage.settle(claim, "created", served_by=AGENT).settled
    one: Any = stage.get(claim.id)
    assert one.status is record.Status.CREATED
    stage.check()

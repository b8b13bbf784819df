"""Lanes: accounts take turns, the first in its lane is taken, and no account has all slots."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID
from worker.contract import record, request
from worker.ledger import claims

ESCALATION, BATCH = request.Lane
#: A worker whose accounts share eight slots.
SHARED = claims.Taker(worker="host:1:n1", slots=8)
#: Accounts that another worker serves.
FOREIGN = [f"wxf{number}" for number in range(20)]


def queue(stage: stages.Stage, appid: str, count: int = 1, **fields: object) -> list[str]:
    """Submit batch requests of new fans of an account, one after the other; their ids."""
    fans = (f"o{appid}{number}" for number in itertools.count())
    unknown = (fan for fan in fans if stage.reader.newest_of_fan(fan, appid) is None)
    chosen = itertools.islice(unknown, count)
    return [stage.submit(fan, appid=appid, **{"lane": "batch", **fields}).id for fan in chosen]


def try_again(stage: stages.Stage, appid: str, count: int = 1, **fields: object) -> list[str]:
    """Requests of an account that nothing else is queued for, whose first try failed."""
    ids = queue(stage, appid, count, **fields)
    for claim in [stage.claim() for _ in ids]:
        assert claim.id in ids
        stage.settle(claim, "waiting", reason="transient", attempt_count=1, wait_seconds=0)
    stage.wake()
    return ids


def serve(stage: stages.Stage, count: int, *, prefers_tried: bool = False) -> list[str]:
    """Serve as many as that, one after the other; their ids."""
    served = []
    for _ in range(count):
        claim = stage.claim(prefers_tried=prefers_tried)
        stage.settle(claim, "created", served_by=AGENT)
        served.append(claim.id)
    return served


def accounts_of(stage: stages.Stage, ids: Iterable[str]) -> list[str | None]:
    return [stage.get(each).appid for each in ids]


def in_lane(stage: stages.Stage, appid: str = APPID) -> list[str]:
    return stage.client.zrange(stage.keys.lane(appid), 0, -1)


def take_all(stage: stages.Stage, taker: claims.Taker) -> list[claims.Claim]:
    """Claim for one slot after the other until there is nothing left to take."""
    taken = []
    for number in itertools.count():
        claim = stage.take(holder=taker.holder(f"t{number}"), taker=taker).claim
        if claim is None:
            return taken
        taken.append(claim)
    raise AssertionError


def held(stage: stages.Stage, taker: claims.Taker = SHARED) -> dict[str, str]:
    counts = stage.client.hgetall(stage.keys.slots(taker.name))
    return {appid: count for appid, count in counts.items() if count != "0"}


# -- whose turn it is ------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [["wx1", "wx2"], ["wx1", "wx2", "wx3", "wx4"]])
@pytest.mark.parametrize("lane", ["escalation", "batch"])
def test_accounts_take_turns(stage: stages.Stage, accounts: list[str], lane: str) -> None:
    """However much longer one backlog is, and whichever was there first."""
    own = {each: queue(stage, each, 9 if each == "wx1" else 3, lane=lane) for each in accounts}
    served = serve(stage, 3 * len(accounts))
    rounds = [served[at : at + len(accounts)] for at in range(0, len(served), len(accounts))]
    assert [sorted(accounts_of(stage, each)) for each in rounds] == [accounts] * 3
    for appid, ids in own.items():
        assert [each for each in served if each in ids] == ids[:3], f"the oldest of {appid} first"
    assert serve(stage, 6) == own["wx1"][3:], "who is left alone has every turn"
    stage.check()


def test_settling_hands_out_the_next_of_another_account(stage: stages.Stage) -> None:
    """A slot stays with no account, though it goes on and on."""
    for appid in ("wx1", "wx2"):
        queue(stage, appid, 3)
    claim, served = stage.claim(), []
    while claim:
        served.append(claim.appid)
        done = stages.settlement(claim, "created", served_by=AGENT)
        taken = stage.ledger.settle(claim, done, "w1")
        claim = taken.claim  # type: ignore[assignment]
    assert served == ["wx1", "wx2"] * 3
    stage.check()


@pytest.mark.parametrize("appid", ["wx1", "wx2", "wx9"])
def test_an_escalation_of_any_account_goes_before_every_batch(
    stage: stages.Stage, appid: str
) -> None:
    """Whoever had the last turn, and however long the batches have waited."""
    for each in ("wx1", "wx2"):
        queue(stage, each, 3)
    stage.pass_seconds(60)
    serve(stage, 1)
    escalations = queue(stage, appid, 2, lane="escalation")
    assert serve(stage, 2) == escalations
    serve(stage, 5)
    stage.check()


def test_a_newcomer_waits_for_one_turn_of_each_other_account(stage: stages.Stage) -> None:
    """And not for anybody's backlog."""
    for each in ("wx1", "wx2", "wx3"):
        queue(stage, each, 9)
    serve(stage, 5)
    newcomers = queue(stage, "wx0", 2)
    served = serve(stage, 8)
    assert newcomers[0] in served[:4]
    assert newcomers[1] in served[4:]


def test_who_comes_back_again_and_again_takes_nobodys_turn(stage: stages.Stage) -> None:
    """An account with one request at a time is a newcomer each time, whatever its name."""
    queue(stage, "wx5", 6)
    served = []
    for _ in range(10):
        for appid in ("wx1", "wx9"):
            if not in_lane(stage, appid):
                queue(stage, appid)
        served += accounts_of(stage, serve(stage, 1))
    assert served.count("wx5") >= 3


def test_passing_over_somebody_is_the_turn_of_the_account(stage: stages.Stage) -> None:
    """A thousand whom nobody can be asked for do not stand before another account's one."""
    wishes = [(stage.wish(f"o{n}", lane="batch"), f"x{n:04d}") for n in range(1000)]
    stage.ledger.submit_many(wishes)
    stage.ledger.accounts.pause(APPID, AGENT)
    (behind,) = queue(stage, "wx2")
    stage.pass_seconds(60)
    assert stage.claim().id == behind
    assert stage.reader.counts()["waiting"] == {"paused": 1}
    taken = stage.take()
    assert (taken.claim, taken.has_more) == (None, True)
    assert len(in_lane(stage)) >= 900, "no step puts all of them into their room"
    stage.check_lanes()


# -- who of an account -----------------------------------------------------------------------


def tries(stage: stages.Stage, appid: str, served: Iterable[str]) -> str:
    """F for each first try of an account, A for each that was made again."""
    own = [stage.get(each) for each in served if stage.get(each).appid == appid]
    return "".join("A" if each.attempt_count else "F" for each in own)


@pytest.mark.parametrize("lane", ["escalation", "batch"])
def test_a_claim_takes_first_tries_before_those_tried_again_or_after(
    stage: stages.Stage, lane: str
) -> None:
    """As the worker asks: by far the most take newcomers, and yet neither keeps the other away."""
    again = try_again(stage, "wx1", 2, lane=lane)
    first = queue(stage, "wx1", 2, lane=lane)
    served = [serve(stage, 1, prefers_tried=tried) for tried in (False, True, False, True)]
    assert served == [first[:1], again[:1], first[1:], again[1:]]
    stage.check()


def test_where_nobody_is_new_every_turn_goes_to_who_is_tried_again(stage: stages.Stage) -> None:
    """The oldest first."""
    ids = try_again(stage, "wx1", 6)
    assert serve(stage, 6) == ids


def test_an_escalation_that_is_tried_again_goes_before_a_batch(stage: stages.Stage) -> None:
    """A person waits."""
    again = try_again(stage, "wx1", 2, lane="escalation")
    first = queue(stage, "wx1", 2)
    assert serve(stage, 4) == [*again, *first]


@pytest.mark.parametrize("ends", ["cancelled", "over"])
def test_who_is_only_read_back_goes_first(stage: stages.Stage, ends: str) -> None:
    """It takes no agent, and its end waits for it; of its lane, for a person goes before it."""
    (unsure,) = queue(stage, "wx1", ttl_seconds=60)
    claim = stage.claim()
    doubt = claims.Doubt.about(AGENT)
    stage.settle(claim, "waiting", reason="transient", doubt=doubt, attempt_count=1, wait_seconds=0)
    queue(stage, "wx1", 2)
    escalations = queue(stage, "wx1", 2, lane="escalation")
    stage.wake()
    assert in_lane(stage)[-1] == unsure, "first tries go before"
    if ends == "cancelled":
        assert stage.ledger.cancel(unsure) == "asked"
    else:
        stage.pass_seconds(61)
        stage.wake()
    assert in_lane(stage)[:3] == [*escalations, unsure]
    stage.check()


def test_a_join_puts_an_end_off_and_so_its_place(stage: stages.Stage) -> None:
    """Whoever took it back wants it after all: it is no read-back any more."""
    (unsure,) = queue(stage, "wx1")
    doubt = claims.Doubt.about(AGENT)
    stage.settle(
        stage.claim(),
        "waiting",
        reason="transient",
        doubt=doubt,
        attempt_count=1,
        wait_seconds=0,
    )
    (first,) = queue(stage, "wx1")
    stage.wake()
    stage.ledger.cancel(unsure)
    assert in_lane(stage) == [unsure, first]
    stage.submit(stage.get(unsure).openid, lane="batch")
    assert in_lane(stage) == [first, unsure]
    stage.check()


def test_a_join_that_lifts_a_batch_request_lifts_its_account(stage: stages.Stage) -> None:
    """From now on a person waits for it."""
    queue(stage, "wx1", 3)
    *_, last = queue(stage, "wx2", 3)
    stage.submit(stage.get(last).openid, appid="wx2")
    stage.check()
    assert serve(stage, 1) == [last]
    stage.check()


def test_whoever_ends_leaves_the_lane(stage: stages.Stage) -> None:
    """Taken back or expired; and a retry is a first try again."""
    cancelled, expired = queue(stage, "wx1", 2, ttl_seconds=60)
    (other,) = queue(stage, "wx2")
    stage.ledger.cancel(cancelled)
    stage.check()
    stage.pass_seconds(61)
    stage.wake()
    assert stage.status(expired) == "expired"
    assert in_lane(stage) == []
    assert stage.client.zrange(stage.keys.turns, 0, -1) == ["wx2"]
    assert stage.ledger.retry(expired) == ("queued", "batch")
    assert in_lane(stage) == [expired]
    stage.check()
    assert set(serve(stage, 2)) == {other, expired}


# -- slots -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "accounts", "most"),
    [
        *[(8, 2, 7), (8, 3, 5), (8, 20, 2)],
        *[(64, 2, 56), (64, 3, 42), (64, 20, 6)],
        *[(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 1)],
        *[(8, 1, 7), (64, 1, 56)],
    ],
)
def test_an_account_holds_about_twice_its_share_of_a_workers_slots(
    stage: stages.Stage, slots: int, accounts: int, most: int
) -> None:
    """And never all, so that whoever comes next finds a slot; but always one."""
    shared = claims.Taker(worker="n1", slots=slots, served=accounts)
    own = [f"wx{number:02d}" for number in range(accounts)]
    for appid in own:
        queue(stage, appid, most + 1)
    taken = collections.Counter(each.appid for each in take_all(stage, shared))
    assert taken == dict.fromkeys(own, most)
    assert held(stage) == dict.fromkeys(own, str(most))
    assert stage.take(holder="n2:t", taker=claims.Taker(worker="n2", slots=slots)).claim
    stage.check()


def test_accounts_that_others_serve_take_no_share(stage: stages.Stage) -> None:
    """However many of them have somebody queued."""
    shared = claims.Taker(worker="n1", slots=64, served=2, leaves=f"|{'|'.join(FOREIGN)}|")
    stage.ledger.accounts.announce("n1", {}, {"wx1": {}, "wx2": {}})
    stage.ledger.accounts.announce("other", {}, {appid: {} for appid in FOREIGN})
    for appid in FOREIGN:
        queue(stage, appid)
    queue(stage, "wx1", 60)
    queue(stage, "wx2", 60)
    taken = collections.Counter(each.appid for each in take_all(stage, shared))
    assert sum(taken.values()) >= 64
    assert set(taken) == {"wx1", "wx2"}
    assert max(taken.values()) == 56


def test_an_account_at_its_limit_lets_nobody_be_overtaken(stage: stages.Stage) -> None:
    """Its turn stands still meanwhile; who comes and goes takes turns with those of a backlog."""
    shared = claims.Taker(worker="n1", slots=8, served=6)
    queue(stage, "wx0", 10)
    for _ in range(2):
        stage.claim(holder=shared.holder("kept"), taker=shared)
    for appid in ("wx8", "wx9"):
        queue(stage, appid, 40)
    served: collections.Counter[str] = collections.Counter()
    for number in range(30):
        for appid in ("wx1", "wx2", "wx3"):
            if not in_lane(stage, appid):
                queue(stage, appid)
        claim = stage.claim(holder=shared.holder(f"t{number}"), taker=shared)
        stage.settle(claim, "created", served_by=AGENT)
        served[claim.appid] += 1
    assert set(served) - {"wx0"} == {"wx1", "wx2", "wx3", "wx8", "wx9"}
    assert min(served[appid] for appid in ("wx1", "wx2", "wx3", "wx8", "wx9")) >= 4
    stage.check()


def test_where_one_account_has_a_worker_to_itself_it_has_all_slots(stage: stages.Stage) -> None:
    """Nobody shares them, and nothing is counted."""
    queue(stage, "wx1", 70)
    assert len(take_all(stage, claims.Taker(worker="host:1:n1", slots=0))) == 70
    assert held(stage) == {}


def test_an_account_with_its_share_of_the_slots_is_passed_by(stage: stages.Stage) -> None:
    """Even its escalations: a hanging account keeps no other one's batch waiting."""
    shared = claims.Taker(worker="n1", slots=2)
    queue(stage, "wx1", 3, lane="escalation")
    (batch,) = queue(stage, "wx2")
    stage.claim(holder="n1:t1", taker=shared)
    assert stage.claim(holder="n1:t2", taker=shared).id == batch
    taken = stage.take(holder="n1:t3", taker=shared)
    assert (taken.claim, taken.has_more) == (None, False)
    stage.check()


def test_a_slot_that_settles_may_take_the_next_of_its_account(stage: stages.Stage) -> None:
    """It is free by then, in the same step; a settle sent again gives back no second one."""
    shared = claims.Taker(worker="n1", slots=2)
    first, second = queue(stage, "wx1", 2)
    claim = stage.claim(holder="n1:t1", taker=shared)
    assert stage.take(holder="n1:t2", taker=shared).claim is None
    done = stages.settlement(claim, "created", served_by=AGENT)
    assert claim.id == first
    for again in (False, True):
        taken = stage.ledger.settle(claim, done, "n1:t1", taker=shared, again=again)
        assert taken.claim is not None
        assert taken.claim.id == second
        assert held(stage) == {"wx1": "1"}
    stage.check()


def test_a_lost_lease_gives_its_slot_back(stage: stages.Stage) -> None:
    """Whoever held it is not waited for, and what it writes too late changes nothing."""
    queue(stage, "wx1", 2)
    claim, other = (stage.claim(holder=f"n1:t{n}", taker=SHARED) for n in range(2))
    stage.settle(other, "created", served_by=AGENT)
    assert held(stage) == {"wx1": "1"}
    stage.pass_seconds(stage.config.lease_seconds + 1)
    assert stage.wake().lost_leases == (claim.id,)
    assert held(stage) == {}
    assert stage.claim(holder="n1:t3", taker=SHARED).id == claim.id
    assert not stage.settle(claim, "created", served_by=AGENT).settled
    assert held(stage) == {"wx1": "1"}


def test_a_worker_that_departs_holds_nothing(stage: stages.Stage) -> None:
    """What it had taken comes back by its leases, and gives back no slot of anybody."""
    stage.ledger.accounts.announce(SHARED.worker, {}, {"wx1": {}})
    queue(stage, "wx1")
    stage.claim(holder="n1:t1", taker=SHARED)
    stage.ledger.accounts.depart(SHARED.worker, ["wx1"])
    assert held(stage) == {}
    stage.pass_seconds(stage.config.lease_seconds + 1)
    stage.wake()
    assert held(stage) == {}
    stage.check()


def test_a_worker_that_was_silent_for_an_hour_holds_nothing(stage: stages.Stage) -> None:
    """It was killed, and its name does not come back."""
    stage.ledger.accounts.announce(SHARED.worker, {}, {"wx1": {}})
    stage.client.hset(stage.keys.slots("n1"), "wx1", 3)
    stage.client.hset(stage.keys.workers, SHARED.worker, "1000000 {}")
    stage.ledger.accounts.announce("host:2:n2", {}, {"wx1": {}})
    assert held(stage) == {}


def test_no_more_of_an_account_are_rung_than_it_has_slots_for(stage: stages.Stage) -> None:
    """Its doorbells would find nothing to take, and stand before those of others."""
    first = queue(stage, "wx1", 12, lane="escalation")
    second = queue(stage, "wx2", 12)
    for number in range(5):
        assert stage.claim(holder=f"n1:t{number}", taker=SHARED).id == first[number]
    stage.pass_seconds(3)
    left = stage.ledger.waiting.left_queued(100, SHARED)
    assert left == {ESCALATION: tuple(first[5:7]), BATCH: tuple(second[:7])}
    assert len(stage.ledger.waiting.left_queued(100)[ESCALATION]) == 7, "who shares nothing"
    assert stage.ledger.waiting.left_queued(4, SHARED) == {
        ESCALATION: tuple(first[5:7]),
        BATCH: tuple(second[:2]),
    }


# -- whom an older release queued ------------------------------------------------------------


def forget_lanes(stage: stages.Stage, *accounts: str) -> None:
    """Of the last two releases the older one has none."""
    stage.client.delete(*(stage.keys.lane(appid) for appid in accounts))
    stage.client.zrem(stage.keys.turns, *accounts)


def test_a_doorbell_puts_whom_an_older_release_queued_into_their_lanes(
    stage: stages.Stage,
) -> None:
    """As soon as it is answered; whatever has become of the others whom it names."""
    done, first, second = queue(stage, "wx1", 3)
    stage.ledger.cancel(done)
    forget_lanes(stage, "wx1")
    assert stage.take().claim is None
    taken = stage.take(done, "nobody", first, second)
    assert taken.claim is not None
    assert (taken.claim.id, taken.unknown) == (first, ("nobody",))
    stage.check()
    assert stage.claim().id == second


def test_those_of_an_older_release_are_found_without_a_doorbell(stage: stages.Stage) -> None:
    """Each in its place, as if it had been there always."""
    for appid in ("wx1", "wx2"):
        queue(stage, appid, 2)
        queue(stage, appid, 2, lane="escalation")
    again = stage.claim()
    told = {"attempt_count": 1, "wait_seconds": 0}
    stage.settle(again, "waiting", reason="transient", **told)
    stage.wake()
    lanes = {appid: in_lane(stage, appid) for appid in ("wx1", "wx2")}
    forget_lanes(stage, "wx1", "wx2")
    while stage.ledger.waiting.adopt(100):
        pass
    assert {appid: in_lane(stage, appid) for appid in lanes} == lanes
    stage.check()


def test_thousands_are_put_into_their_lanes_step_by_step(stage: stages.Stage) -> None:
    """No step holds up the server, and slots work on meanwhile."""
    for at in range(0, 3000, 500):
        fans = range(at, at + 500)
        stage.ledger.submit_many(
            [(stage.wish(f"o{n}", lane="batch", appid=f"wx{n % 3}"), f"x{n:04d}") for n in fans]
        )
    forget_lanes(stage, "wx0", "wx1", "wx2")
    grown = [0]
    while stage.ledger.waiting.adopt(500):
        grown.append(sum(len(in_lane(stage, f"wx{n}")) for n in range(3)))
        if stage.take().claim:
            grown[-1] -= 1
    steps = [after - before for before, after in itertools.pairwise(grown)]
    assert len(steps) >= 5
    assert max(steps) <= 1000
    stage.check_lanes()
    assert not stage.ledger.waiting.adopt(500)


def test_where_nobody_is_missing_nothing_is_looked_through(stage: stages.Stage) -> None:
    """The sizes tell: a look costs next to nothing, and it is taken every few seconds."""
    queue(stage, "wx1", 5)
    queue(stage, "wx2", 5, lane="escalation")
    before = stage.all_keys()
    assert not stage.ledger.waiting.adopt(1)
    assert stage.all_keys() == before


def test_who_left_by_the_hand_of_an_older_release_is_dropped_from_the_lane(
    stage: stages.Stage,
) -> None:
    """It moves the record, and knows no lane; the next one is taken in the same step."""
    (waiting,) = queue(stage, "wx1")
    place = stage.client.zscore(stage.keys.lane("wx1"), waiting)
    stage.settle(stage.claim(), "waiting", reason="transient", wait_seconds=60)
    (behind,) = queue(stage, "wx1")
    stage.client.zadd(stage.keys.lane("wx1"), {waiting: place - 1})
    assert stage.claim().id == behind
    assert stage.status(waiting) == "waiting"
    stage.check()


def test_an_id_in_an_index_that_nobody_stands_behind_is_removed(stage: stages.Stage) -> None:
    """Else the sizes would never agree, and every walk would be followed by another one."""
    (one,) = queue(stage, "wx1")
    index = stage.keys.index(record.Status.QUEUED, "batch")
    stage.client.zadd(index, {"ghost": 1})
    while stage.ledger.waiting.adopt(100):
        pass
    assert stage.client.zrange(index, 0, -1) == [one]

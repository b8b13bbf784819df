"""run: over WeChat's queue, on a world whose clock only a sleep moves."""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from producers import failures, interrupts
from producers.route import plan, run, spread
from tests.unit.producers.route import queue_world
from tests.unit.producers.route.queue_world import World
from worker import errors
from worker.contract import record, request

Start = Callable[..., run.Router]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """A router over a world, with a capacity of the command line or of the deployment."""

    def made(world: World, *, asked: int = 0, kept: int = 0, **more: Any) -> run.Router:
        monkeypatch.setattr(run, "time", world)
        capacities = spread.Capacities(asked=asked, default=kept, own=more.pop("own", {}))
        more.setdefault("signals", interrupts.Signals())
        return run.Router(
            world,
            world,  # type: ignore[arg-type]
            queue_world.APPID,
            capacities,
            interval_seconds=5,
            **more,
        )

    return made


def openids(count: int) -> list[str]:
    return [f"o{number:04d}" for number in range(count)]


def seconds(world: World) -> float:
    return (world.now_ - queue_world.START).total_seconds()


# -- to the end ------------------------------------------------------------------------------------


def test_a_queue_longer_than_what_is_shown_is_drained_round_by_round(start: Start) -> None:
    """100 fans a look; the summary is what WeChat would tell."""
    world = World(openids(250), {"a@x": 0, "b@x": 10, "c@x": 0})
    router = start(world, kept=200)
    assert router.run() is plan.Rest.NOBODY_WAITS
    told = router.finish()
    assert (told.seen, told.routed, told.left, told.open) == (250, 250, 0, 0)
    assert dict(told.skipped) == {}
    assert sum(told.routed_by_agent.values()) == 250
    assert (world.looks, seconds(world) < 2) == (4, True)


def test_nobody_gets_more_than_fits_and_the_rest_is_left(start: Start) -> None:
    """Rooms differ; whoever has most is filled first."""
    world = World(openids(60), {"a@x": 0, "b@x": 15, "c@x": 30})
    router = start(world, asked=20)
    assert router.run() is plan.Rest.NO_ROOM
    told = router.finish()
    assert (told.routed, told.left, dict(told.skipped)) == (25, 35, {"no_room": 35})
    assert (world.most["a@x"], world.most["b@x"], world.most["c@x"]) == (20, 20, 30)


@pytest.mark.parametrize("lag_seconds", [0.0, 2.0, 2.9])
def test_a_list_that_lags_overfills_nobody_and_ends_no_run_too_soon(
    start: Start, lag_seconds: float
) -> None:
    """Until it surely shows the newest sessions, room that may be there is waited for."""
    agents = {f"a{number}@x": 0 for number in range(12)}
    world = World(openids(600), agents, lag_seconds=lag_seconds)
    router = start(world, asked=40)
    assert router.run() is plan.Rest.NO_ROOM
    assert router.finish().routed == 480
    assert set(world.most.values()) == {40}
    assert seconds(world) < 60


def test_room_that_gets_free_in_mid_run_is_found_before_it_ends(start: Start) -> None:
    """A list that shows fewer may be late, or sessions have closed: a little later it is sure."""
    world = World(openids(30))

    def close_some() -> None:
        if world.looks == 2:
            world.serving["a@x"] -= 5
            world._past[-1][1]["a@x"] -= 5

    world.on_look = close_some
    router = start(world, asked=20)
    assert router.run() is plan.Rest.NO_ROOM
    assert router.finish().routed == 25
    assert seconds(world) < 30


def test_requests_go_to_the_agent_and_then_to_any_where_workers_keep_capacities(
    start: Start,
) -> None:
    """Counted in the claim, `any` overfills nobody; they live as long as settings say."""
    world = World(["o1"])
    start(world, kept=5).run()
    assert world.wishes == [
        {
            "openid": "o1",
            "kf_account": "a@x",
            "fallbacks": ("any",),
            "appid": "wx1",
            "lane": request.Lane.BATCH,
        }
    ]


def test_without_a_kept_capacity_a_request_asks_one_agent_for_ten_minutes(start: Start) -> None:
    """Somebody else may be overfilled; and nobody is to be stranded with one who left."""
    world = World(["o1"])
    start(world, asked=5).run()
    assert world.wishes == [
        {
            "openid": "o1",
            "kf_account": "a@x",
            "appid": "wx1",
            "lane": request.Lane.BATCH,
            "ttl_seconds": 600.0,
        }
    ]


# -- who is left alone -----------------------------------------------------------------------------


def test_live_and_young_requests_and_odd_rows_are_left_alone_and_said_why(start: Start) -> None:
    """And what is over for ten minutes is not."""
    before = queue_world.START - datetime.timedelta(minutes=9)
    long_before = queue_world.START - datetime.timedelta(minutes=11)
    world = World(["live", "served", "failed", "ended", "again", "b ad", "new"])
    world.know(queue_world.a_record("live", status="waiting", reason="account_blocked"))
    world.know(queue_world.a_record("served", status="created", at=before))
    world.know(queue_world.a_record("failed", status="failed", at=before))
    world.know(queue_world.a_record("ended", status="cancelled", at=before))
    world.know(queue_world.a_record("again", status="created", at=long_before))
    router = start(world, asked=5)
    assert router.run() is plan.Rest.ALL_SKIPPED
    told = router.finish()
    assert [wish["openid"] for wish in world.wishes] == ["again", "new"]
    assert dict(told.skipped) == {
        "live_request": 1,
        "served_recently": 1,
        "failed_recently": 1,
        "ended_recently": 1,
        "invalid_openid": 1,
    }
    assert (told.seen, told.routed, told.left) == (7, 2, 5)


def test_a_fan_whose_request_fails_is_counted_once_and_not_tried_again(start: Start) -> None:
    """It goes on waiting at WeChat, and is no skipped one."""
    world = World(openids(3))
    world.deliver = lambda one, _: (
        ("failed", "invalid_openid") if one.openid == "o0001" else ("created", None)
    )
    router = start(world, asked=5)
    assert router.run() is plan.Rest.ALL_SKIPPED
    told = router.finish()
    assert (told.seen, told.routed, told.failed, told.left) == (3, 2, 1, 1)
    assert dict(told.skipped) == {}
    assert len(world.wishes) == 3


def test_when_all_that_are_shown_are_skipped_the_hidden_ones_are_told(start: Start) -> None:
    """WeChat shows the oldest 100 only."""
    world = World(openids(130))
    for openid in openids(100):
        world.know(queue_world.a_record(openid, status="failed"))
    told: list[tuple[plan.Rest, int]] = []
    router = start(world, asked=5, on_rest=lambda rest, planned: told.append((rest, planned.count)))
    router.run()
    assert told == [(plan.Rest.ALL_SKIPPED, 130)]
    assert router.finish().left == 130


def test_whoever_was_faster_has_the_fan(start: Start) -> None:
    """A wish that joins somebody's request is not this run's."""
    world = World(["o1", "o2"])
    submit = world.submit_many

    def late(wishes: Any) -> Any:
        world.know(queue_world.a_record("o1", status="waiting", reason="paused"))
        return submit(wishes)

    world.submit_many = late  # type: ignore[method-assign]
    router = start(world, asked=5)
    router.run()
    told = router.finish()
    assert (told.routed, dict(told.skipped)) == (1, {"live_request": 1})


# -- who can take them -----------------------------------------------------------------------------


def test_a_paused_agent_gets_nobody(start: Start) -> None:
    """The others do."""
    world = World(openids(4), {"a@x": 0, "b@x": 3})
    world.gates.paused = frozenset({"a@x"})
    router = start(world, asked=5)
    assert router.run() is plan.Rest.NO_ROOM
    assert dict(router.finish().routed_by_agent) == {"b@x": 2}


def test_a_paused_account_is_said_and_nothing_submitted(start: Start) -> None:
    """With the command that ends it."""
    world = World(["o1"])
    world.gates.is_paused = True
    with pytest.raises(plan.AccountPaused, match="kfsession resume --appid wx1"):
        start(world, asked=5).run()
    assert world.wishes == []


def test_an_agent_of_unknown_capacity_gets_nobody(start: Start) -> None:
    """Nobody wants 200 chats at once; a name that no request can hold gets nobody either."""
    world = World(openids(4), {"a@x": 0, "b@x": 0, "no name": 0, "any": 0})
    router = start(world, own={"b@x": 3})
    assert router.run() is plan.Rest.NO_ROOM
    assert dict(router.finish().routed_by_agent) == {"b@x": 3}


@pytest.mark.parametrize("agents", [{}, {"c@x": 0}])
def test_without_anybody_who_may_serve_a_run_ends(start: Start, agents: dict[str, int]) -> None:
    """And says how many wait."""
    world = World(openids(4))
    world.serving.clear()
    world.serving.update(agents)
    world._remember()
    router = start(world, own={"b@x": 3})
    assert router.run() is plan.Rest.NOBODY_ONLINE
    assert router.finish().left == 4


def test_places_that_live_requests_of_others_will_take_are_kept_for_them(start: Start) -> None:
    """Queued ones, those under way and those in rooms."""
    world = World(openids(9), {"a@x": 0})
    world.deliver = lambda one, _: None if one.id.startswith("r-") else ("created", None)
    world.know(queue_world.a_record("x1"))
    world.know(queue_world.a_record("x2", status="calling"))
    world.know(queue_world.a_record("x3", status="waiting", reason="agent_full"))
    router = start(world, asked=8)
    assert router.run() is plan.Rest.NO_ROOM
    assert router.finish().routed == 5


def test_too_many_requests_in_the_lanes_are_not_read(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run must not read 100,000 records a look."""
    monkeypatch.setattr(plan, "MAX_QUEUED", 1)
    world = World(openids(9), {"a@x": 0})
    world.deliver = lambda one, _: None if one.id.startswith("r-") else ("created", None)
    world.know(queue_world.a_record("x1"))
    world.know(queue_world.a_record("x2"))
    router = start(world, asked=8)
    router.run()
    assert router.finish().routed == 8


# -- waiting ---------------------------------------------------------------------------------------


def test_a_run_waits_for_what_is_tried_again_before_it_sums_up(start: Start) -> None:
    """`routed` is what WeChat's book holds, so a transient failure is waited out."""
    world = World(openids(3))
    world.deliver = lambda one, its: ("created", None) if seconds(its) > 20 else None
    router = start(world, asked=5)
    assert router.run() is plan.Rest.NOBODY_WAITS
    assert router.finish().routed == 3


def test_a_run_does_not_wait_for_what_may_take_hours(start: Start) -> None:
    """It goes on in the workers; the summary has it as open."""
    world = World(openids(3))
    world.deliver = lambda *_: ("waiting", "account_blocked")
    router = start(world, asked=5)
    assert router.run() is plan.Rest.ALL_SKIPPED
    told = router.finish()
    assert (told.open, told.routed, told.left) == (3, 0, 3)
    assert seconds(world) < 10


def test_requests_that_nobody_takes_end_the_run_with_a_word(start: Start) -> None:
    """After a minute and a half, for lack of a worker."""
    world = World(openids(3))
    world.deliver = lambda *_: None
    router = start(world, asked=5)
    assert router.run() is plan.Rest.NOT_MOVING
    assert router.finish().open == 3
    assert 90 <= seconds(world) < 100


def test_a_run_started_again_waits_for_the_requests_of_the_first(start: Start) -> None:
    """All that are shown have live requests then, but not for long."""
    world = World(openids(150), {"a@x": 0})
    for openid in openids(100):
        world.know(queue_world.a_record(openid))
    router = start(world, asked=500)
    assert router.run() is plan.Rest.NOBODY_WAITS
    assert router.finish().routed == 50
    assert len(world.wishes) == 50


def test_a_newer_request_of_the_fan_does_not_hide_what_became_of_ours(start: Start) -> None:
    """Ours is asked for by its id then."""
    world = World(["o1"])

    def follow() -> None:
        if world.records["r0"].final and "r-o1" not in world.records:
            world.know(queue_world.a_record("o1"))

    world.on_sleep = follow
    world.deliver = lambda one, _: None if one.id == "r-o1" else ("created", None)
    router = start(world, asked=5)
    router.run()
    assert router.finish().routed == 1


# -- watching --------------------------------------------------------------------------------------


def test_a_watch_goes_on_as_sessions_close_and_fans_arrive(start: Start) -> None:
    """It says once that there is nothing to do, each time it comes to that."""
    world = World(openids(4), {"a@x": 0})
    told: list[plan.Rest] = []

    def step() -> None:
        if world.looks == 8:
            world.serving["a@x"] -= 2
        if world.looks == 12:
            world.waiting["new"] = 1
            world.serving["a@x"] -= 1
        if world.looks == 20:
            raise interrupts.Interrupted(signal.SIGINT)

    world.on_look = step
    router = start(world, asked=3, on_rest=lambda rest, _: told.append(rest))
    with pytest.raises(KeyboardInterrupt):
        router.run(forever=True)
    assert router.finish().routed == 5
    assert told == [plan.Rest.NO_ROOM, plan.Rest.NOBODY_WAITS]


# -- ended from outside ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_submit_comes_once_its_ids_are_noted(
    start: Start, number: signal.Signals
) -> None:
    """So that the summary tells what goes on in the workers."""
    world, signals = World(openids(3)), interrupts.Signals()
    submit = world.submit_many

    def interrupted(wishes: Any) -> Any:
        os.kill(os.getpid(), number)
        return submit(wishes)

    world.submit_many = interrupted  # type: ignore[method-assign]
    router = start(world, asked=5, signals=signals)
    with pytest.raises(interrupts.Interrupted) as caught, signals.raised():
        router.run()
    assert caught.value.exit_status == 128 + number
    assert router.finish().open == 3


def test_the_summary_of_a_broken_run_knows_what_ended_meanwhile(start: Start) -> None:
    """It reads the ledger once more."""
    world = World(openids(3))

    def fail() -> None:
        if world.looks == 2:
            world.sleep(1)
            raise errors.AccountBlocked("errcode 48001", errcode=48001)

    world.on_look = fail
    world.deliver = lambda _, its: ("created", None) if its.looks == 2 else None
    router = start(world, asked=5)
    with pytest.raises(errors.AccountBlocked):
        router.run()
    told = router.finish()
    assert (told.routed, told.open, told.left) == (3, 0, 0)


def test_an_account_that_no_worker_serves_ends_the_run(start: Start) -> None:
    """The ledger's refusal says which ones are known."""
    world = World(["o1"])
    refusal = request.InvalidRequest("appid: 'wx1': no worker serves it")
    world.submit_many = lambda _: [refusal]  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(request.InvalidRequest, match="no worker serves it"):
        start(world, asked=5).run()


def test_a_ledger_that_is_away_ends_the_run_and_the_summary_still_stands(start: Start) -> None:
    """With what was known before."""
    world = World(openids(3))
    away = errors.LedgerUnavailable("redis://h", "gone", maybe_written=True)

    def fail(_: Any) -> Any:
        raise failures.SubmitFailed(away, ids=["r1"])

    world.submit_many = fail  # type: ignore[method-assign]
    router = start(world, asked=5)
    with pytest.raises(failures.SubmitFailed):
        router.run()
    world.reading = lambda: (_ for _ in ()).throw(away)  # type: ignore[method-assign]
    assert router.finish().left == 3


def test_progress_is_told_at_each_change(start: Start) -> None:
    """Looks, submits and outcomes."""
    world = World(openids(150))
    told: list[tuple[int, int, int]] = []
    router = start(
        world, asked=500, on_change=lambda now: told.append((now.routed, now.open, now.left))
    )
    router.run()
    assert told == [
        (0, 0, 150),
        (0, 100, 150),
        (100, 0, 50),
        (100, 0, 50),
        (100, 50, 50),
        (150, 0, 0),
        (150, 0, 0),
    ]


def test_a_plan_submits_nothing(start: Start) -> None:
    """What --dry-run shows: who would go to whom, and why others stay."""
    world = World(["o1", "o2", "o3"], {"a@x": 0, "b@x": 1})
    world.know(queue_world.a_record("o2", status="failed"))
    planned = start(world, asked=1).look()
    assert dict(planned.chosen) == {"o1": "a@x"}
    assert dict(planned.skipped) == {"o2": "failed_recently", "o3": "no_room"}
    assert planned.places["b@x"].room == 0
    assert world.wishes == []
    assert record.Status.QUEUED not in {one.status for one in world.records.values()}

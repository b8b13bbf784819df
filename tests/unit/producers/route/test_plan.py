"""plan: how much room an agent has, by what WeChat shows and the ledger knows."""

from __future__ import annotations

import datetime

import pytest

from producers.route import plan, spread
from tests.unit.producers.route import queue_world
from tests.unit.producers.route.queue_world import World

LONG_AGO = queue_world.START - datetime.timedelta(hours=1)


def planned(world: World, capacity: int = 3) -> plan.Plan:
    """One look of a run that has submitted nothing."""
    capacities = spread.Capacities(asked=capacity, default=0, own={})
    planner = plan.Planner(queue_world.APPID, capacities)
    return planner.plan(world.look(), world, began=world.now(), ours=())  # type: ignore[arg-type]


def a_session(seconds_ago: float) -> World:
    """A fan who waited for an hour has had a session for so long; WeChat does not show it."""
    world = World(["o1"])
    opened = world.now() - datetime.timedelta(seconds=seconds_ago)
    world.know(
        queue_world.a_record(
            "x1", status="created", at=LONG_AGO, updated_at=opened, finished_at=opened
        )
    )
    return world


@pytest.mark.parametrize(("seconds_ago", "room"), [(0, 2), (2.9, 2), (3.1, 3)])
def test_a_session_just_opened_takes_a_place_however_long_its_fan_waited(
    seconds_ago: float, room: int
) -> None:
    """Until the list surely shows it."""
    assert planned(a_session(seconds_ago)).places["a@x"].room == room


def test_a_session_of_another_account_takes_no_place() -> None:
    """The stream is of all accounts."""
    world = a_session(0)
    world.know(world.records["r-x1"].model_copy(update={"appid": "wx2"}))
    assert planned(world).places["a@x"].room == 3


@pytest.mark.parametrize("ahead", [None, 0])
@pytest.mark.parametrize("reason", ["token", "transient", "agent_full"])
def test_whoever_waits_is_promised_one_place_alone_or_in_a_room(
    reason: str, ahead: int | None
) -> None:
    """The record says where it stands, whatever it waits for."""
    world = World(["o1", "o2"])
    world.know(queue_world.a_record("o1", status="waiting", reason=reason, ahead=ahead))
    assert planned(world).places["a@x"].room == 2


def test_room_that_the_list_may_not_show_yet_is_waited_for() -> None:
    """Without it the run would end although the last session might be counted twice."""
    found = planned(a_session(0), capacity=1)
    assert (found.places["a@x"].room, found.rest) == (0, None)


def test_an_agent_who_is_full_by_the_list_alone_keeps_no_run_waiting() -> None:
    """However often others open sessions."""
    world = a_session(0)
    world.serving["a@x"] = 3
    world._remember()
    assert planned(world).rest is plan.Rest.NO_ROOM

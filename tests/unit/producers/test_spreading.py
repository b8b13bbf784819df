"""spreading: who goes to whom, decided on figures alone."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from producers import spreading
from tests.unit.producers import queue_world
from worker.contract import settings

NOW = queue_world.START + datetime.timedelta(hours=1)


def ago(seconds: float) -> datetime.datetime:
    return NOW - datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fans", "room", "chosen"),
    [
        ("", {"a": 3}, {}),
        ("123", {}, {}),
        ("123", {"a": 0, "b": -4}, {}),
        ("1", {"a": 2, "b": 3}, {"1": "b"}),
        ("1", {"b": 3, "a": 3}, {"1": "a"}),
        ("123", {"a": 1}, {"1": "a"}),
        ("12345", {"a": 1, "b": 3}, {"1": "b", "2": "b", "3": "a", "4": "b"}),
        ("1234", {"c": 2, "b": 2, "a": 2}, {"1": "a", "2": "b", "3": "c", "4": "a"}),
    ],
)
def test_the_oldest_fan_goes_to_whoever_has_most_room_ties_by_name(
    fans: str, room: dict[str, int], chosen: dict[str, str]
) -> None:
    """One after the other, so that rooms even out; nobody gets more than there is room for."""
    assert spreading.spread(fans, room) == chosen


@pytest.mark.parametrize(
    ("room", "promised", "paused", "left"),
    [
        ({"a": 2}, {}, "", {"a": 2}),
        ({"a": 0, "b": -1, "c": 1}, {}, "", {"c": 1}),
        ({"a": 2, "b": 2}, {}, "b", {"a": 2}),
        ({"a": 2, "b": 2}, {("a",): 1}, "", {"a": 1, "b": 2}),
        ({"a": 2, "b": 2}, {("a", "b"): 3}, "", {"a": 0, "b": 1}),
        ({"a": 2, "b": 2}, {("a",): 1000}, "", {"a": 0, "b": 2}),
        ({"a": 1, "b": 3}, {("any",): 1}, "", {"a": 1, "b": 2}),
        ({"a": 1, "b": 3}, {("c", "any"): 4}, "", {"a": 0, "b": 0}),
        ({"a": 2, "b": 2}, {("b", "any"): 1}, "b", {"a": 1}),
        ({"a": 2}, {("c",): 5}, "", {"a": 2}),
    ],
)
def test_a_live_request_takes_a_place_with_its_first_target_who_has_room(
    room: dict[str, int], promised: dict[tuple[str, ...], int], paused: str, left: dict[str, int]
) -> None:
    """As a worker will give it; one for whom nobody has room waits, and takes none."""
    assert spreading.room_left(room, promised, paused=frozenset(paused)) == left


@pytest.mark.parametrize(
    ("shown", "expected", "unseen", "serves"),
    [
        (5, float("inf"), 0, 5),
        (5, float("inf"), 3, 8),
        (5, 5, 3, 5),
        (5, 7, 3, 7),
        (5, 9, 3, 8),
        (5, 2, 3, 5),
        (9, 7, 3, 9),
    ],
)
def test_a_list_that_lags_counts_young_sessions_again_until_it_surely_shows_them(
    shown: int, expected: float, unseen: int, serves: int
) -> None:
    """But no more than the last reading and the sessions since account for."""
    assert spreading.serving(shown, expected=expected, unseen=unseen) == serves


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, None),
        ({"status": "queued"}, "live_request"),
        ({"status": "calling"}, "live_request"),
        ({"status": "waiting"}, "live_request"),
        ({"status": "created", "at": ago(1)}, "served_recently"),
        ({"status": "already_served", "at": ago(599)}, "served_recently"),
        ({"status": "failed", "at": ago(599)}, "failed_recently"),
        ({"status": "expired", "at": ago(1)}, "ended_recently"),
        ({"status": "cancelled", "at": ago(1)}, "ended_recently"),
        ({"status": "created", "at": ago(600)}, None),
        ({"status": "failed", "at": ago(601)}, None),
    ],
)
def test_a_fan_with_a_live_or_a_young_request_is_left_alone(
    known: dict[str, Any] | None, why: str | None
) -> None:
    """For ten minutes after its end."""
    newest = None if known is None else queue_world.a_record(**known)
    assert spreading.why_not(newest, NOW) == why


@pytest.mark.parametrize(
    ("known", "is_moving"),
    [
        ({"status": "queued", "at": ago(89)}, True),
        ({"status": "queued", "at": ago(90)}, False),
        ({"status": "calling", "at": ago(30)}, True),
        ({"status": "waiting", "reason": "transient", "at": ago(60)}, True),
        ({"status": "waiting", "reason": "rate_limited", "at": ago(60)}, True),
        ({"status": "waiting", "reason": "agent_full", "at": ago(29)}, True),
        ({"status": "waiting", "reason": "agent_offline", "at": ago(31)}, False),
        ({"status": "waiting", "reason": "account_blocked", "at": ago(1)}, False),
        ({"status": "waiting", "reason": "paused", "at": ago(1)}, False),
        ({"status": "created", "at": ago(4)}, True),
        ({"status": "created", "at": ago(6)}, False),
        ({"status": "failed", "at": ago(1)}, False),
    ],
)
def test_what_may_soon_stand_elsewhere_is_worth_waiting_for(
    known: dict[str, Any], is_moving: bool
) -> None:
    """A fan just served counts, since WeChat's queue may still show it."""
    assert spreading.is_moving(queue_world.a_record(**known), NOW) is is_moving


@pytest.mark.parametrize(
    ("asked", "default", "own", "of_a", "are_known", "are_kept"),
    [
        (None, None, {}, 0, False, False),
        (None, 0, {}, 0, False, False),
        (4, 0, {}, 4, True, False),
        (None, 7, {}, 7, True, True),
        (4, 7, {}, 4, True, False),
        (9, 7, {}, 7, True, True),
        (None, 7, {"a@x": 3}, 3, True, True),
        (5, 7, {"a@x": 3}, 3, True, False),
        (None, 0, {"a@x": 3}, 3, True, False),
        (None, 7, {"a@x": 0}, 0, True, False),
        (2, 7, {"a@x": 0}, 2, True, False),
    ],
)
def test_an_agents_capacity_is_the_smaller_of_what_is_said(
    asked: int | None,
    default: int | None,
    own: dict[str, int],
    of_a: int,
    are_known: bool,
    are_kept: bool,
) -> None:
    """Workers keep it for whoever `any` may be, if each agent has one and none is above ours."""
    account = settings.Account(
        appid="wx1", access_token="t", agent_capacity=default, capacities=own
    )
    capacities = spreading.Capacities.of_account(account, asked)
    assert capacities.of("a@x") == of_a
    assert capacities.are_known is are_known
    assert capacities.are_kept_by_workers is are_kept

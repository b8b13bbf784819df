"""spread: who goes to whom, decided on figures alone."""

from __future__ import annotations

import pytest

from producers.route import spread
from worker.contract import settings


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
    assert spread.spread(fans, room) == chosen


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
    assert spread.room_left(room, promised, paused=frozenset(paused)) == left


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
    capacities = spread.Capacities.of_account(account, asked)
    assert capacities.of("a@x") == of_a
    assert capacities.are_known is are_known
    assert capacities.are_kept_by_workers is are_kept

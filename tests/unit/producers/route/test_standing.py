"""standing: what a request says about its fan, decided on states and times alone."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from producers.route import standing
from tests.unit.producers.route import queue_world

NOW = queue_world.START + datetime.timedelta(hours=1)


def ago(seconds: float) -> datetime.datetime:
    return NOW - datetime.timedelta(seconds=seconds)


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
    assert standing.why_not(newest, NOW) == why


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
        ({"status": "created", "at": ago(2)}, True),
        ({"status": "created", "at": ago(4)}, False),
        ({"status": "failed", "at": ago(1)}, False),
    ],
)
def test_what_may_soon_stand_elsewhere_is_worth_waiting_for(
    known: dict[str, Any], is_moving: bool
) -> None:
    """A fan just served counts, since WeChat's queue may still show it."""
    assert standing.is_moving(queue_world.a_record(**known), NOW) is is_moving

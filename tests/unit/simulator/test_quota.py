"""Limits hold a minute or a day."""

from __future__ import annotations

from ops.simulator import quota, replies, scenario
from tests.unit.simulator import clock

PATH = scenario.CREATE_PATH


def spend(of: quota.Quota, path: str = PATH) -> int:
    try:
        of.spend(path)
    except replies.Refused as refused:
        return refused.errcode
    return 0


def test_a_minute_limit_ends_with_the_minute() -> None:
    now = clock.Clock()
    of = quota.Quota(scenario.Limits(per_minute=2), now)

    assert [spend(of) for _ in range(3)] == [0, 0, 45011]
    now.now += 60
    assert spend(of) == 0


def test_a_day_limit_ends_with_the_day() -> None:
    now = clock.Clock()
    of = quota.Quota(scenario.Limits(per_day=1), now)

    assert [spend(of), spend(of)] == [0, 45009]
    now.now += 86399
    assert spend(of) == 45009
    now.now += 1
    assert spend(of) == 0


def test_other_paths_are_free() -> None:
    of = quota.Quota(scenario.Limits(per_day=1, per_minute=1), clock.Clock())

    assert [spend(of, "/cgi-bin/customservice/getonlinekflist") for _ in range(5)] == [0] * 5


def test_the_report_counts_what_was_spent() -> None:
    of = quota.Quota(scenario.Limits(per_day=3, per_minute=2), clock.Clock())
    spend(of)

    assert of.report(PATH) == {
        "quota": {"daily_limit": 3, "used": 1, "remain": 2},
        "rate_limit": {"call_count": 2, "refresh_second": 60},
    }
    assert "rate_limit" not in of.report("/other")

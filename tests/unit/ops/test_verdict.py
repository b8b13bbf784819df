import datetime
from typing import Any

import pytest

from ops.demonstration import plan, verdict
from worker.contract import record, request

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def fan(kind: plan.Kind = plan.Kind.ONLINE, openid: str = "fan_1") -> plan.Fan:
    return plan.Fan(
        kind=kind,
        openid=openid,
        kf_account="anna@demo",
        arrives_at=0,
        lane=request.Lane.ESCALATION,
    )


def ended(status: str, *, reason: str | None = None, served_by: str | None = None) -> record.Record:
    return record.Record.model_validate(
        {
            "id": "06h05kqw49t5kqtarnj0",
            "schema": 1,
            "appid": "wx0",
            "openid": "fan_1",
            "kf_account": "anna@demo",
            "targets": ("anna@demo",),
            "lane": "escalation",
            "status": status,
            "final": True,
            "reason": reason,
            "errcode": None,
            "errmsg": None,
            "hint": None,
            "served_by": served_by,
            "ahead": None,
            "attempts": (),
            "attempt_count": 0,
            "api_calls": 1,
            "generation": 1,
            "submitted_at": NOW,
            "updated_at": NOW,
            "next_attempt_at": None,
            "deadline_at": NOW,
            "finished_at": NOW,
            "key": None,
            "metadata": None,
        }
    )


def session(kf_account: str = "anna@demo", opened_by: str = "create") -> dict[str, Any]:
    return {"openid": "fan_1", "kf_account": kf_account, "opened_by": opened_by}


CREATED = ended("created", served_by="anna@demo")
EXPIRED = ended("expired", reason="agent_offline")


@pytest.mark.parametrize(
    ("kind", "one", "sessions"),
    [
        (plan.Kind.ONLINE, CREATED, [session()]),
        (plan.Kind.NEVER, EXPIRED, []),
        (
            plan.Kind.SERVED,
            ended("already_served", served_by="bert@demo"),
            [session("bert@demo", "start")],
        ),
    ],
)
def test_what_ends_as_planned_is_right(
    kind: plan.Kind, one: record.Record, sessions: list[dict[str, Any]]
) -> None:
    """The outcome of the kind, and exactly the session that the record tells of."""
    judged = verdict.judge([fan(kind)], {"fan_1": one}, sessions, {})
    assert not judged.differences
    assert all(line.is_right for line in judged.lines if line.fans)


@pytest.mark.parametrize(
    ("kind", "records", "sessions", "says"),
    [
        (plan.Kind.ONLINE, {"fan_1": EXPIRED}, [], "expected created, ended expired"),
        (plan.Kind.ONLINE, {}, [], "expected created, ended not submitted"),
        (
            plan.Kind.NEVER,
            {"fan_1": ended("expired", reason="transient")},
            [],
            "expected expired (agent_offline), ended expired (transient)",
        ),
        (plan.Kind.ONLINE, {"fan_1": CREATED}, [], "opened sessions with []"),
        (plan.Kind.ONLINE, {"fan_1": CREATED}, [session("bert@demo")], "['bert@demo']"),
        (plan.Kind.ONLINE, {"fan_1": CREATED}, [session(), session("bert@demo")], "'bert@demo']"),
        (plan.Kind.NEVER, {"fan_1": EXPIRED}, [session()], "the record tells of []"),
    ],
    ids=[
        "another outcome",
        "never submitted",
        "another reason",
        "no session",
        "another agent's session",
        "two sessions",
        "a session nobody knows of",
    ],
)
def test_whatever_differs_is_told_with_the_fan(
    kind: plan.Kind,
    records: dict[str, record.Record],
    sessions: list[dict[str, Any]],
    says: str,
) -> None:
    """One line for each difference, from our records or from WeChat's book."""
    judged = verdict.judge([fan(kind)], records, sessions, {})
    (told,) = (each for each in judged.differences if says in each)
    assert "fan_1" in told


def test_calls_a_session_counts_the_create_calls_alone() -> None:
    """Tokens and reads are no part of it."""
    calls = {verdict.CREATE_PATH: 3, "/cgi-bin/stable_token": 7}
    sessions = [session(), {**session(), "openid": "fan_2"}]
    judged = verdict.judge([], {}, sessions, calls)
    assert judged.sessions_opened == 2
    assert judged.calls_a_session == 1.5

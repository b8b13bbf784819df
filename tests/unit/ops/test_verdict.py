import datetime
from typing import Any

import pytest

from ops.demonstration import cast, costs, kinds, plan, simulated, verdict
from worker.contract import record, request

NOTHING_ROUTED = {"routed": 0, "left": 0}
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def fan(kind: kinds.Kind = kinds.Kind.ONLINE, openid: str = "fan_1") -> plan.Fan:
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


def judge(
    fans: list[plan.Fan],
    records: dict[str, record.Record],
    *,
    sessions: list[dict[str, Any]] | None = None,
    calls: list[dict[str, Any]] | None = None,
    max_serving: int = 2,
    queue: list[plan.Fan] | None = None,
    routed: dict[str, Any] | None = NOTHING_ROUTED,
) -> verdict.Verdict:
    gina = simulated.Agent(kf_account=cast.GINA, online=True, serving=0, max_serving=max_serving)
    anna = simulated.Agent(kf_account=cast.ANNA, online=True, serving=9, max_serving=99)
    return verdict.judge(
        plan.Plan(seed=1, fans=tuple(fans), queue=tuple(queue or ()), scenario=""),
        records,
        {"sessions": sessions or [], "calls": calls or []},
        [anna, gina],
        routed,
    )


def create(*, opened: bool, errcode: int | None = 0, fault: str | None = None) -> dict[str, Any]:
    path = "/customservice/kfsession/create"
    return {"path": path, "opened": opened, "errcode": errcode, "fault": fault}


CREATED = ended("created", served_by="anna@demo")
EXPIRED = ended("expired", reason="agent_offline")


@pytest.mark.parametrize(
    ("kind", "one", "sessions"),
    [
        (kinds.Kind.ONLINE, CREATED, [session()]),
        (kinds.Kind.NEVER, EXPIRED, []),
        (
            kinds.Kind.SERVED,
            ended("already_served", served_by="bert@demo"),
            [session("bert@demo", "start")],
        ),
    ],
)
def test_what_ends_as_planned_is_right(
    kind: kinds.Kind, one: record.Record, sessions: list[dict[str, Any]]
) -> None:
    """The outcome of the kind, and exactly the session that the record tells of."""
    judged = judge([fan(kind)], {"fan_1": one}, sessions=sessions)
    assert not judged.differences
    assert all(line.is_right for line in judged.lines if line.fans)


@pytest.mark.parametrize(
    ("kind", "records", "sessions", "says"),
    [
        (kinds.Kind.ONLINE, {"fan_1": EXPIRED}, [], "expected created, ended expired"),
        (kinds.Kind.ONLINE, {}, [], "expected created, ended not submitted"),
        (
            kinds.Kind.NEVER,
            {"fan_1": ended("expired", reason="transient")},
            [],
            "expected expired (agent_offline), ended expired (transient)",
        ),
        (kinds.Kind.ONLINE, {"fan_1": CREATED}, [], "opened sessions with []"),
        (kinds.Kind.ONLINE, {"fan_1": CREATED}, [session("bert@demo")], "['bert@demo']"),
        (kinds.Kind.ONLINE, {"fan_1": CREATED}, [session(), session("bert@demo")], "'bert@demo']"),
        (kinds.Kind.NEVER, {"fan_1": EXPIRED}, [session()], "the record tells of []"),
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
    kind: kinds.Kind,
    records: dict[str, record.Record],
    sessions: list[dict[str, Any]],
    says: str,
) -> None:
    """One line for each difference, from our records or from WeChat's book."""
    judged = judge([fan(kind)], records, sessions=sessions)
    (told,) = (each for each in judged.differences if says in each)
    assert "fan_1" in told


def test_an_agent_who_served_more_than_fits_is_told() -> None:
    """The simulator would let an agent take any number; only those with a capacity are judged."""
    judged = judge([], {}, max_serving=3)
    assert judged.differences == ("gina@demo served 3 at a time, not 2",)


def test_who_waited_at_wechat_is_judged_as_everybody_else() -> None:
    """By the record and by the book; the summary of `route` must tell the same."""
    waited = [fan(kinds.Kind.QUEUE)]
    told = {"routed": 1, "left": 0}
    judged = judge([], {"fan_1": CREATED}, sessions=[session()], queue=waited, routed=told)
    assert not judged.differences
    (line,) = (each for each in judged.lines if each.fans)
    assert line.kind is kinds.Kind.QUEUE
    assert line.is_right
    forgotten = judge([], {}, queue=waited, routed=told)
    assert any("expected created, ended not submitted" in each for each in forgotten.differences)


@pytest.mark.parametrize(
    ("routed", "says"),
    [
        (None, "kfsession route did not end well"),
        ({"routed": 0, "left": 1}, "kfsession route: 0 routed and 1 left, of 1"),
        ({"routed": 1, "left": 1}, "kfsession route: 1 routed and 1 left, of 1"),
    ],
)
def test_a_summary_that_differs_from_the_queue_is_told(
    routed: dict[str, Any] | None, says: str
) -> None:
    """Although every fan has a session."""
    waited = [fan(kinds.Kind.QUEUE)]
    judged = judge([], {"fan_1": CREATED}, sessions=[session()], queue=waited, routed=routed)
    (told,) = judged.differences
    assert told.startswith(says)


def test_every_create_call_is_told_by_what_it_went_to() -> None:
    """Sessions, faults with the calls after lost replies, agents away, refusals; no other path."""
    calls = [
        create(opened=True),
        create(opened=True, errcode=None, fault="cut_after"),
        create(opened=False),
        create(opened=False, errcode=-1, fault="busy"),
        create(opened=False, errcode=65415),
        create(opened=False, errcode=65401),
        {"path": "/cgi-bin/stable_token"},
    ]
    judged = judge([], {}, calls=calls)
    assert judged.costs == costs.Costs(sessions=2, faults=2, away=1, refused=1)
    assert judged.costs.creates == 6
    assert judged.costs.a_session == 3.0
    assert judged.calls_by_path == {
        "/customservice/kfsession/create": 6,
        "/cgi-bin/stable_token": 1,
    }

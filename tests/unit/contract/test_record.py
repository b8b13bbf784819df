"""record: the closed sets of states and reasons, and how a record reads as JSON."""

from __future__ import annotations

import datetime

import pytest

from worker.contract import record, request
from worker.ledger import keys

WAITS = {
    "agent_offline",
    "agent_full",
    "transient",
    "token",
    "rate_limited",
    "quota",
    "account_blocked",
    "paused",
}
OUTSIDE_NAMES = [
    "id",
    "schema",
    "appid",
    "openid",
    "kf_account",
    "targets",
    "lane",
    "status",
    "final",
    "reason",
    "errcode",
    "errmsg",
    "hint",
    "served_by",
    "ahead",
    "attempts",
    "attempt_count",
    "api_calls",
    "generation",
    "submitted_at",
    "updated_at",
    "next_attempt_at",
    "deadline_at",
    "finished_at",
    "key",
    "metadata",
]
FAILURES = {
    "invalid_openid",
    "invalid_agent",
    "agent_not_bound",
    "bad_request",
    "unknown_errcode",
    "gave_up",
    "internal_error",
    "unconfirmed",
}


def test_the_states_are_those_of_the_contract() -> None:
    """Users script against these names."""
    live = {"queued", "calling", "waiting"}
    final = {"created", "already_served", "failed", "expired", "cancelled"}
    assert {status.value for status in record.Status} == live | final
    assert {status.value for status in record.Status if status.is_final} == final
    assert {status.value for status in record.Status if status in record.SERVED} == {
        "created",
        "already_served",
    }


def test_the_reasons_are_those_of_the_contract() -> None:
    """Of waiting and of failing, none in both."""
    assert {reason.value for reason in record.Reason} == WAITS | FAILURES
    assert set(keys.details(record.Status.WAITING)) == WAITS
    assert set(keys.details(record.Status.FAILED)) == FAILURES


@pytest.mark.parametrize("status", list(record.Status))
def test_every_state_has_its_indexes(status: record.Status) -> None:
    """So that counts miss nothing."""
    assert len(set(keys.details(status))) == len(keys.details(status)) > 0


def test_a_record_reads_as_json_under_its_outside_names() -> None:
    """Times in ISO 8601 UTC with milliseconds, `schema` without its underscore."""
    east = datetime.timezone(datetime.timedelta(hours=8))
    at = datetime.datetime(2026, 11, 22, 20, 0, 0, 7000, tzinfo=east)
    attempt = record.Attempt(
        at=at, kf_account="a@b", errcode=-1, errmsg="busy", rid=None, error="busy", elapsed_ms=3
    )
    one = record.Record(
        id="x",
        schema_=1,
        appid="wx1",
        openid="oA",
        kf_account="a@b",
        targets=("a@b",),
        lane=request.Lane.BATCH,
        status=record.Status.WAITING,
        final=False,
        reason=record.Reason.TRANSIENT,
        errcode=-1,
        errmsg="busy",
        hint=None,
        served_by=None,
        ahead=None,
        attempts=(attempt,),
        attempt_count=1,
        api_calls=1,
        generation=1,
        submitted_at=at,
        updated_at=at,
        next_attempt_at=None,
        deadline_at=at,
        finished_at=None,
        key=None,
        metadata={"a": []},
    )
    shown = one.as_json()
    assert list(shown) == OUTSIDE_NAMES
    assert shown["submitted_at"] == "2026-11-22T12:00:00.007Z"
    assert shown["attempts"] == [
        {
            "at": "2026-11-22T12:00:00.007Z",
            "kf_account": "a@b",
            "errcode": -1,
            "errmsg": "busy",
            "rid": None,
            "error": "busy",
            "elapsed_ms": 3,
        }
    ]
    assert (shown["status"], shown["lane"], shown["metadata"]) == ("waiting", "batch", {"a": []})

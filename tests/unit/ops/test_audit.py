"""The audit finds every kind of breach, and nothing where there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ops.chaos import audit, ledger_book
from worker.ledger import keys

ID, FAN, AGENT = "0123456789abcdefghjk", "oFAN", "anna@shop"
KEYS = keys.Keys("kf")
RECORD = {
    "appid": "wx1",
    "openid": FAN,
    "targets": AGENT,
    "lane": "batch",
    "status": "created",
    "reason": "",
    "submitted_at": "1000",
    "finished_at": "3000",
    "served_by": AGENT,
}
SESSION = {
    "appid": "wx1",
    "openid": FAN,
    "kf_account": AGENT,
    "opened_at": 2500,
    "opened_by": "create",
}
CHANGES = tuple(
    ledger_book.Change(1000 + at, ID, status)
    for at, status in enumerate(("queued", "calling", "created"))
)


def book(**changes: Any) -> ledger_book.LedgerBook:
    """One request that went as it should, except for `changes`."""
    index, fan = KEYS.index("created"), KEYS.fan("wx1", FAN)  # type: ignore[arg-type]
    types = {KEYS.request(ID): "hash", index: "zset", KEYS.retention: "zset", fan: "string"}
    right = ledger_book.LedgerBook(
        keys=KEYS,
        types=types,
        records={ID: RECORD},
        slots={},
        zsets={index: {ID: 1000.0}, KEYS.retention: {ID: 9000.0}},
        texts={fan: ID},
        left_ms=dict.fromkeys(types, -1),
        mail={},
        changes=CHANGES,
    )
    return dataclasses.replace(right, **changes)


def changed(**fields: str) -> dict[str, Any]:
    """The same request with other fields; its index is right."""
    record = RECORD | fields
    name = record["status"] + (f":{record['reason']}" if record["reason"] else "")
    return {
        "records": {ID: record},
        "zsets": {f"{KEYS.base}index:{name}": {ID: 1000.0}, KEYS.retention: {ID: 9000.0}},
        "changes": (*CHANGES[:-1], ledger_book.Change(1002, ID, record["status"])),
    }


def with_key(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    """One more key in Redis."""
    whole = KEYS.base + name
    right = book()
    return {
        "types": {**right.types, whole: kind},
        "left_ms": {**right.left_ms, whole: more.get("left_ms", -1)},
        "zsets": {**right.zsets, **({whole: more["members"]} if "members" in more else {})},
        "texts": {**right.texts, **({whole: more["text"]} if "text" in more else {})},
    }


def test_a_request_that_went_right_is_found_right() -> None:
    """Nothing lost, doubled or left behind."""
    assert not audit.examine(book(), [SESSION], [ID])


@pytest.mark.parametrize(
    "changes",
    [
        {"records": {}, "changes": ()},
        changed(status="waiting", reason="agent_offline"),
        changed(status="failed", reason="gave_up"),
        changed(status="expired", reason="agent_offline"),
        changed(served_by="bob@shop"),
        changed(finished_at="2000"),
    ],
    ids=["no record", "not ended", "failed", "expired", "another agent", "settled before"],
)
def test_what_is_lost_is_found(changes: dict[str, Any]) -> None:
    """An accepted request without an end, or a session that no record tells of rightly."""
    assert audit.examine(book(**changes), [SESSION], [ID]).lost


def test_a_session_may_be_unconfirmed_or_somebody_elses() -> None:
    """These are the ends that tell of a session without naming it as ours."""
    unconfirmed = book(**changed(status="failed", reason="unconfirmed"))
    assert not audit.examine(unconfirmed, [SESSION], [ID]).lost
    served = book(**changed(status="already_served"))
    assert not audit.examine(served, [SESSION | {"opened_by": "start"}], [ID]).lost


def test_a_server_whose_clock_was_behind_may_settle_before_the_session_began() -> None:
    """By so much and no more: its times are its own clock's."""
    (ended,) = (int(each["finished_at"]) for each in book().records.values())
    late = [SESSION | {"opened_at": ended + 3_600_000}]
    assert not audit.examine(book(), late, [ID], behind_ms=3_600_000)
    assert audit.examine(book(), late, [ID], behind_ms=3_500_000).lost


def test_what_is_doubled_is_found() -> None:
    """Two sessions of one fan, or two ends of one request."""
    other = SESSION | {"kf_account": "bob@shop"}
    assert audit.examine(book(), [SESSION, other], [ID]).doubled
    assert audit.examine(book(), [SESSION, SESSION], [ID]).doubled
    again = book(changes=(*CHANGES, CHANGES[-1]))
    assert audit.examine(again, [SESSION], [ID]).doubled
    after_its_end = book(changes=(*CHANGES, CHANGES[0]))
    assert audit.examine(after_its_end, [SESSION], [ID]).doubled


@pytest.mark.parametrize(
    "changes",
    [
        {"zsets": {KEYS.retention: {ID: 9000.0}}},
        {"zsets": {**book().zsets, f"{KEYS.base}index:calling": {ID: 1000.0}}},
        {"zsets": {name: {ID: 1.0} for name in book().zsets}},
        {"zsets": {name: members for name, members in book().zsets.items() if "index" in name}},
        with_key("due", "zset", members={ID: 1.0}),
        with_key("room:wx1:anna@shop", "zset", members={ID: 1.0}),
        with_key("rooms:wx1", "set"),
        with_key("lane:wx1", "zset", members={ID: 1.0}),
        with_key("turns", "zset", members={"wx1": 1.0}),
        {"slots": {"abc123": {"wx1": "0", "wx2": "1"}}},
        with_key("given:wx1:anna@shop", "zset", members={ID: float("inf")}, left_ms=1000),
        with_key("given:wx1:anna@shop", "zset", members={ID: 1.0}),
        with_key("stepped_back:host:1:abc123", "hash"),
        with_key("request:0123456789abcdefghjm", "hash"),
        with_key("fan:wx1:oOTHER", text="0123456789abcdefghjm"),
        with_key("doubt:wx1:oFAN", text=AGENT, left_ms=1000),
        with_key("key:wx1:order-1", text="0123456789abcdefghjm 00"),
        with_key("something:new"),
        {"texts": {}},
        {"mail": {"kf.batch": "list"}},
        {"mail": {"kf.unacked": "hash"}},
    ],
)
def test_what_is_left_behind_is_found(changes: dict[str, Any]) -> None:
    """A wrong index, and whatever nothing points to."""
    findings = audit.examine(book(**changes), [SESSION], [ID])
    assert findings.strays
    assert not findings.doubled


def test_what_expires_or_belongs_to_somebody_may_stay() -> None:
    """Doors, keys of records, accounts, tokens and the doubts of who is unconfirmed."""
    for changes in (
        with_key("door:wx1:anna@shop", "hash", left_ms=1000),
        with_key("given:wx1:anna@shop", "zset", members={ID: 1.0}, left_ms=1000),
        with_key("stepped_back:host:1:abc123", "hash", left_ms=-2),  # gone since it was listed
        with_key("key:wx1:order-1", text=f"{ID} 00"),
        with_key("account:wx1", "hash"),
        with_key("token:wx1", "hash"),
        with_key("slots:abc123", "hash") | {"slots": {"abc123": {"wx1": "0"}}},
        with_key("dead", "list"),
        {"mail": {"kf.unacked_mutex": "string"}},
    ):
        assert not audit.examine(book(**changes), [SESSION], [ID]), changes

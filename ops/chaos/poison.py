"""Every malformed entry that was tried on a stock worker, as it lies in a queue's list."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

ID = "0123456789abcdefghjk"

Entry = dict[str, Any]


def body(*parts: Any) -> str:
    """A task's arguments as Celery writes them."""
    return base64.b64encode(json.dumps(parts).encode()).decode()


#: A message as Celery's protocol 2 has it.
GOOD: Entry = {
    "body": body([[ID]], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}),
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {
        "lang": "py",
        "task": "kfsession.deliver",
        "id": "6a8f2c1e-0b7d-4c55-9a51-2f2d3c4b5a69",
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
    },
    "properties": {
        "correlation_id": "6a8f2c1e-0b7d-4c55-9a51-2f2d3c4b5a69",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "kf.batch"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": "f1f9e3a8-5c1b-4d52-8a51-9be39fe27c51",
    },
}


def without(*path: str) -> bytes:
    """The good message with one field left out."""
    entry, within = _at(path)
    del within[path[-1]]
    return json.dumps(entry).encode()


def with_(value: Any, *path: str) -> bytes:
    """The good message with another value in one field."""
    entry, within = _at(path)
    within[path[-1]] = value
    return json.dumps(entry).encode()


def _at(path: tuple[str, ...]) -> tuple[Entry, Entry]:
    entry = copy.deepcopy(GOOD)
    within = entry
    for name in path[:-1]:
        within = within[name]
    return entry, within


POISON: list[bytes] = [
    b"",
    b"hello",
    b"\xff\xfe\x00\x80",
    b"null",
    b"42",
    b'"text"',
    b"[]",
    b"{}",
    b"{",
    b"NaN",
    b'{"body": 1e999999}',
    b"[" * 50_000,
    b'{"a":' * 20_000,
    b"9" * 10_000,
    json.dumps(GOOD).encode()[:-20],
    json.dumps({**GOOD, "padding": "x" * 70_000}).encode(),
    without("body"),
    with_(None, "body"),
    with_("not base64!", "body"),
    with_(base64.b64encode(b"\xff\xfe").decode(), "body"),
    with_(base64.b64encode(b"no json").decode(), "body"),
    with_(body(), "body"),
    with_(body([[ID]]), "body"),
    with_(body({"ids": [ID]}, {}, {}), "body"),
    with_(body([[ID]], None, {}), "body"),
    with_(body([ID], {}, {}), "body"),
    with_(body([[]], {}, {}), "body"),
    with_(body([[ID] * 51], {}, {}), "body"),
    with_(body([[None]], {}, {}), "body"),
    with_(body([["../../" + ID]], {}, {}), "body"),
    with_(body([[ID], [ID]], {}, {}), "body"),
    with_(body([], {"id": [ID]}, {}), "body"),
    without("headers"),
    with_(None, "headers"),
    with_([], "headers"),
    without("headers", "task"),
    with_("os.system", "headers", "task"),
    with_(["kfsession.deliver"], "headers", "task"),
    with_("kfsession.submit", "headers", "task"),
    without("headers", "id"),
    with_({}, "headers", "id"),
    with_("2099-01-01T00:00:00+00:00", "headers", "eta"),
    with_("soon", "headers", "expires"),
    without("properties"),
    with_(None, "properties"),
    with_("x", "properties"),
]

#: Wrong where nothing of ours looks: what we need of them is whole, so they are doorbells.
HARMLESS: list[bytes] = [
    with_(None, "properties", "delivery_tag"),
    with_("x", "properties", "delivery_info"),
    with_(["soon", {}], "headers", "timelimit"),
    with_("application/x-python-serialize", "content-type"),
    with_("klingon", "content-encoding"),
    with_("many", "headers", "retries"),
]

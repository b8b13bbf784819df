"""Reads the raw structures of a ledger, and counts again whether they agree with each other.

Nothing here knows what steps were taken: whatever they were, this must hold.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

from tests.unit.ledger import stage as stages
from worker.contract import record
from worker.ledger import keys

_HOUR = 3600 * 1000
#: Where in a room batches begin, in ms.
BATCHES = 10**13
FINAL = frozenset(each.value for each in record.FINAL)
#: The fields of a record that are times, as `Stage.pass_seconds` moves them.
TIMES = frozenset({"submitted_at", "updated_at", "deadline_at", "next_attempt_at", "finished_at"})
TIMES |= {"kept_until"}
#: What may follow what in the life of a request.
LIVES = {
    "": {"queued"},
    "queued": {"calling", "waiting", "expired", "cancelled"},
    "calling": {"queued", "waiting", *FINAL},
    "waiting": {"waiting", "queued", "expired", "cancelled"},
    "created": set(),
    "already_served": set(),
    "failed": {"queued"},
    "expired": {"queued"},
    "cancelled": {"queued"},
}
#: What ends by itself, and what stands alone.
_EXPIRING = {"key", "doubt", "joined", "door", "given", "wanted", "stepped_back"}
_ALONE = {"due", "retention", "rooms", "watch", "events", "accounts", "workers", "counters"}
_ALONE |= {"dead", "schema", "stirring", "turns", "clock"}
_HASHES = {"request", "account", "door", "accounts", "workers", "counters", "stirring"}
_HASHES |= {"stepped_back", "slots", "clock"}
_NAMED = _EXPIRING | {"request", "index", "room", "rooms", "account", "fan", "serving"}
_NAMED |= {"lane", "slots"}
_SCORED = {"index", "lane", "room", "given", "serving"}


@dataclasses.dataclass(slots=True)
class Raw:
    """Every key of a deployment, by the first part of its name, then by the rest of it."""

    now_ms: float
    named: dict[str, dict[str, Any]]
    alone: dict[str, Any]
    #: How long what expires is there yet, in ms.
    left_ms: dict[str, int]

    @property
    def requests(self) -> dict[str, dict[str, str]]:
        return self.named["request"]

    @property
    def events(self) -> Iterator[tuple[str, str, str]]:
        for _, said in self.alone.get("events", ()):
            yield said["id"], said["status"], said["reason"]


def read(stage: stages.Stage) -> Raw:
    """All that stands in Redis."""
    base = stage.keys.base
    names = sorted(each.removeprefix(base) for each in stage.all_keys())
    with stage.client.pipeline(transaction=False) as pipe:
        for name in names:
            _ask(pipe, base, name)
            pipe.pttl(base + name)
        answers = iter(pipe.execute())
    raw = Raw(time.time() * 1000, {each: {} for each in _NAMED}, {}, {})
    for name, value, left_ms in zip(names, answers, answers, strict=True):
        kind, colon, rest = name.partition(":")
        known = dict(value) if _is_scored(kind, colon) else value
        if left_ms == -2:  # gone meanwhile
            continue
        assert kind in (_NAMED if colon else _ALONE), f"{name}: nothing of ours"
        if colon:
            raw.named[kind][rest] = known
        else:
            raw.alone[name] = known
        assert (left_ms >= 0) == (bool(colon) and kind in _EXPIRING), f"{name} ends in {left_ms}"
        if left_ms >= 0:
            raw.left_ms[name] = left_ms
    return raw


def _ask(pipe: Any, base: str, name: str) -> None:
    kind, colon, _ = name.partition(":")
    key = base + name
    if kind in _HASHES:
        pipe.hgetall(key)
    elif _is_scored(kind, colon):
        pipe.zrange(key, 0, -1, withscores=True)
    elif kind == "rooms":
        pipe.smembers(key)
    elif kind == "dead":
        pipe.lrange(key, 0, -1)
    elif kind == "events":
        pipe.xrange(key)
    else:
        pipe.get(key)


def _is_scored(kind: str, colon: str) -> bool:
    return kind in (_SCORED if colon else {"due", "retention", "rooms", "watch", "turns"})


def check(raw: Raw, lease_ms: float) -> None:
    """Raises AssertionError where two structures tell different stories."""
    _check_indexes(raw)
    _check_lanes(raw)
    _check_slots(raw)
    _check_timers(raw, lease_ms)
    _check_rooms(raw)
    _check_fields(raw)
    _check_fans(raw)
    _check_given(raw)
    _check_events(raw)


def _check_indexes(raw: Raw) -> None:
    """Each id stands in the index of its state, and in no other."""
    counted: dict[str, dict[str, float]] = {}
    for request_id, fields in raw.requests.items():
        counted.setdefault(index_of(fields), {})[request_id] = float(fields["submitted_at"])
    assert raw.named["index"] == counted
    known = {
        name.partition("index:")[2]
        for status in record.Status
        for name in (keys.Keys("x").index(status, each) for each in keys.details(status))
    }
    assert set(counted) <= known, "counts() knows every index"


def index_of(fields: dict[str, str]) -> str:
    """The index that a record belongs in."""
    details = {"queued": fields["lane"], "calling": "", "created": "", "already_served": ""}
    detail = details.get(fields["status"], fields["reason"])
    return fields["status"] + (f":{detail}" if detail else "")


def _check_lanes(raw: Raw) -> None:
    """Whoever is queued stands in the lane of its account; only accounts with such have turns."""
    lanes: dict[str, dict[str, tuple[bool, float]]] = {}
    for request_id, fields in raw.requests.items():
        if fields["status"] == "queued":
            is_batch, submitted_at = fields["lane"] == "batch", float(fields["submitted_at"])
            lanes.setdefault(fields["appid"], {})[request_id] = is_batch, submitted_at
    assert lanes == {
        appid: {
            request_id: (place >= 3 * stages.BAND, place % stages.BAND)
            for request_id, place in lane.items()
        }
        for appid, lane in raw.named["lane"].items()
    }
    turns: dict[str, float] = raw.alone.get("turns", {})
    assert {appid: turn >= stages.TURNS_OF_BATCHES for appid, turn in turns.items()} == {
        appid: all(is_batch for is_batch, _ in lane.values()) for appid, lane in lanes.items()
    }


def _check_slots(raw: Raw) -> None:
    """What an account holds of a worker's shared slots are its calls under way there."""
    held: dict[str, dict[str, str]] = {}
    for fields in raw.requests.values():
        name, colon, _ = fields.get("holder", "").partition(":")
        if colon:
            of_worker = held.setdefault(name, {})
            of_worker[fields["appid"]] = str(int(of_worker.get(fields["appid"], 0)) + 1)
    counted = {
        name: {appid: count for appid, count in of_worker.items() if count != "0"}
        for name, of_worker in raw.named["slots"].items()
    }
    assert {name: counts for name, counts in counted.items() if counts} == held


def _check_timers(raw: Raw, lease_ms: float) -> None:
    """Whoever lives is due at a time that its state tells; whoever does not, is to be removed."""
    due: dict[str, float] = raw.alone.get("due", {})
    final = {each for each, fields in raw.requests.items() if fields["status"] in FINAL}
    assert set(due) == set(raw.requests) - final
    assert set(raw.alone.get("retention", {})) == final
    for request_id, at in due.items():
        fields = raw.requests[request_id]
        deadline_at = int(fields["deadline_at"])
        if fields["status"] == "calling":
            assert at <= raw.now_ms + lease_ms
        elif fields["status"] == "queued":
            assert at <= max(deadline_at, raw.now_ms + 2000)  # a join moves only the deadline
        else:
            assert at == min(deadline_at, int(fields.get("next_attempt_at", deadline_at)))


def _check_rooms(raw: Raw) -> None:
    """Who waits without a time of its own stands in one room, and no room is empty."""
    rooms: dict[str, dict[str, float]] = {}
    for request_id, fields in raw.requests.items():
        if fields["status"] == "waiting" and "next_attempt_at" not in fields:
            after = 0 if fields["lane"] == "escalation" else BATCHES
            room = f"{fields['appid']}:{fields['targets']}"
            rooms.setdefault(room, {})[request_id] = int(fields["submitted_at"]) + after
            if fields["reason"] in record.OF_AGENTS:
                assert fields["appid"] in raw.alone.get("watch", {}), "somebody reads for it"
    assert raw.named["room"] == rooms
    assert set(raw.alone.get("rooms", {})) == set(rooms)
    of_accounts: dict[str, set[str]] = {}
    for room in rooms:
        of_accounts.setdefault(room.partition(":")[0], set()).add(room)
    assert raw.named["rooms"] == of_accounts


def _check_fields(raw: Raw) -> None:
    """A record holds what its state needs, and nothing of the states before."""
    for request_id, fields in raw.requests.items():
        status, has = fields["status"], set(fields)
        assert has - {*keys.RECORD_FIELDS} <= {f"{x}{n}" for x in "am" for n in range(5)}
        of_claim = ("calling" in has, "holder" in has, "lease" in has)
        assert of_claim == (status == "calling",) * 3, request_id
        assert ("finished_at" in has) == (status in FINAL), request_id
        assert "next_attempt_at" not in has or status == "waiting", request_id
        if status in FINAL:
            assert not has & {"cancel", "crashes"}, request_id
            assert fields["finished_at"] == fields["updated_at"]
        if "a0" in has:
            kept = {each for each in has if each[0] == "a" and each[1:].isdigit()}
            assert len(kept) == min(int(fields["calls"]), record.KEPT_ATTEMPTS)


def _check_fans(raw: Raw) -> None:
    """One live request a fan, which its fan points at; no pointer points at nothing."""
    live = [each for each in raw.requests.items() if each[1]["status"] not in FINAL]
    fans = {fan_of(fields): request_id for request_id, fields in live}
    assert len(fans) == len(live), "one live request per fan"
    pointers = raw.named["fan"]
    assert fans.items() <= pointers.items(), "the newest is the live one"
    for fan, request_id in pointers.items():
        assert fan_of(raw.requests[request_id]) == fan
    for kind in ("key", "joined"):
        for name, said in raw.named[kind].items():
            is_going = raw.left_ms[f"{kind}:{name}"] < 2000
            assert is_going or said.partition(" ")[0] in raw.requests, f"{kind}:{name}"


def fan_of(fields: dict[str, str]) -> str:
    return f"{fields['appid']}:{fields['openid']}"


def _check_given(raw: Raw) -> None:
    """Only a call under way takes a place without end; the others had theirs a while ago."""
    for name, places in raw.named["given"].items():
        appid, _, kf_account = name.partition(":")
        for request_id, at in places.items():
            if math.isinf(at):
                fields = raw.requests[request_id]
                assert (fields["status"], fields["appid"]) == ("calling", appid)
                assert fields["calling"] == kf_account
            else:
                assert raw.now_ms - 2 * _HOUR < at <= raw.now_ms


def _check_events(raw: Raw) -> None:
    """The events tell of legal lives that end where the records are, in one outcome each."""
    lives: dict[str, list[tuple[str, str]]] = {}
    for request_id, status, reason in raw.events:
        life = lives.setdefault(request_id, [])
        assert status in LIVES[life[-1][0] if life else ""], f"{request_id}: {life} -> {status}"
        life.append((status, reason))
    for request_id, fields in raw.requests.items():
        life = lives[request_id]
        said = "" if fields["status"] in ("queued", "calling") else fields["reason"]
        assert life[-1] == (fields["status"], said)
        outcomes = sum(status in FINAL for status, _ in life)
        is_over = fields["status"] in FINAL
        assert outcomes == int(fields.get("generation", 1)) - (not is_over), "one outcome each"

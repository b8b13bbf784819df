"""One deployment's ledger on any Redis, with the moves that every ledger test makes.

The clock is the server's own, so a test does not move it forward: it moves everything that the
ledger remembers back (`pass_seconds`), which comes to the same on a fake and on a real server.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from worker.contract import record, request, settings
from worker.ledger import accounts, claims, keys, ledger, reader, receipts, waiting

APPID, AGENT, OTHER, FAN = "wx1", "kf1@acct", "kf2@acct", "oFAN0000000000000000000000001"
#: Both lanes may be rung.
SILENCE = dict.fromkeys(request.Lane, False)
EXPIRED = reader.Filter(status=record.Status.EXPIRED)
#: What waits with a request, by the reason it waits for; alone where it is not named.
HOLDS = {
    **dict.fromkeys(("agent_offline", "agent_full", "paused"), claims.Holds.ROOM),
    **dict.fromkeys(("token", "rate_limited", "quota", "account_blocked"), claims.Holds.ACCOUNT),
}

_HASH_TIMES = ("submitted_at", "updated_at", "deadline_at", "next_attempt_at", "finished_at")
_ACCOUNT_TIMES = re.compile(
    r"paused|pause:.*|hold|held_at|began|fresh|next|tried|answered|off:.*|lie:.*|lied|empty_since"
)
_ZSETS = re.compile(r"due|retention|rooms|watch|index:.*|lane:.*|room:.*|given:.*|serving:.*")
_EXPIRING = ("key:", "doubt:", "joined:", "door:", "wanted:", "given:")
#: Where in a room batches begin, in ms.
_BATCHES = 10**13
#: Wider than any time or turn: how far apart the classes of a lane, and those of turns, are.
BAND = 10**13
#: Where in `turns` the accounts stand that have batches only.
TURNS_OF_BATCHES = 4 * 10**15
_FOR_AGENTS = {"agent_offline", "agent_full", "paused"}


class Stage:
    """A ledger, its reader, and shorthands for what tests do with them."""

    def __init__(self, client: redis.Redis, prefix: str, **overrides: Any) -> None:
        self.client = client
        self.config = settings.Settings(key_prefix=prefix, _env_file=None, **overrides)
        self.ledger = ledger.Ledger(client, self.config)
        self.reader = reader.Reader(client, prefix)
        self.keys = keys.Keys(prefix)
        self._ids = iter(range(10**6))
        self._newest_reading_ms = 0

    # -- a request's way ----------------------------------------------------------------------

    def wish(self, openid: str = FAN, **fields: Any) -> request.SessionRequest:
        given = {"openid": openid, "kf_account": AGENT, "appid": APPID, **fields}
        return request.SessionRequest.parse(given)

    def submit(
        self, openid: str = FAN, *, id: str | None = None, **fields: Any
    ) -> receipts.Receipt:
        own = id or f"id{next(self._ids):05d}"
        return self.ledger.submit(self.wish(openid, **fields), own)

    def claim(
        self,
        *ids: str,
        holder: str = "w1",
        taker: claims.Taker = claims.ANYBODY,
        prefers_tried: bool = False,
    ) -> claims.Claim:
        """The claim that must be there to take."""
        taken = self.take(*ids, holder=holder, taker=taker, prefers_tried=prefers_tried)
        claim = taken.claim
        assert claim is not None
        return claim

    def take(
        self,
        *ids: str,
        holder: str = "w1",
        again: bool = False,
        taker: claims.Taker = claims.ANYBODY,
        prefers_tried: bool = False,
    ) -> claims.Taken:
        """What one step takes, if anything."""
        return self.ledger.claim(
            ids, holder, rest_seconds=5, again=again, taker=taker, prefers_tried=prefers_tried
        )

    def hold_all(self, taker: claims.Taker = claims.ANYBODY) -> None:
        """Nobody of those queued can be asked: claim after claim puts them into their rooms."""
        while True:
            taken = self.take(taker=taker)
            assert taken.claim is None
            if not taken.has_more:
                return

    def called(self, *ids: str, holder: str = "w1") -> claims.Claim:
        """A claim whose agent stands in the ledger, as right before a call."""
        claim = self.claim(*ids, holder=holder)
        return self.ledger.renew(claim, AGENT, progress(claim))

    def find_next(
        self, claim: claims.Claim, *, out: Iterable[str] = (), offline: str | None = None
    ) -> claims.Claim:
        """The claim kept for whoever can be asked next; `offline` was just found so."""
        return self.ledger.find_next(claim, progress(claim), out=out, offline=offline)

    def settle(self, claim: claims.Claim, status: str, **fields: Any) -> claims.Taken:
        return self.ledger.settle(claim, settlement(claim, status, **fields), "w1", take_next=False)

    def wait(self, request_id: str, reason: str = "agent_offline", seconds: float = 60) -> None:
        """Bring a queued request to `waiting`."""
        claim = self.claim(request_id)
        assert claim.id == request_id
        self.settle(claim, "waiting", reason=reason, wait_seconds=seconds)

    def find_offline(self, claim: claims.Claim, *, seconds: float = 60, strikes: int = 1) -> None:
        """What 65415 of the last agent who could be asked comes to."""
        found = self.find_next(claim, offline=claim.calling)
        assert found.calling is None
        self.settle(found, "waiting", reason=found.held_for, wait_seconds=seconds, strikes=strikes)

    def finish(self, request_id: str, status: str, reason: str | None = None) -> None:
        """Bring a queued request to a final state, as it gets there in life."""
        if status == "cancelled":
            assert self.ledger.cancel(request_id) == status
            return
        if status == "expired":
            self.pass_seconds(49 * 3600)
            assert self.wake().expired == 1
            return
        claim = self.claim(request_id)
        assert claim.id == request_id
        self.settle(claim, status, reason=reason)

    def doubted(self, kf_account: str = AGENT, openid: str = FAN) -> str:
        """A queued request of a fan who may have been given to `kf_account`."""
        request_id = self.submit(openid).id
        claim = self.claim(request_id)
        self.settle(
            claim,
            "waiting",
            reason="transient",
            doubt=claims.Doubt.about(kf_account),
            wait_seconds=0,
        )
        self.wake()
        return request_id

    def wake(self, *, limit: int = 100) -> waiting.Woken:
        return self.ledger.waiting.wake(limit)

    def open_rooms(self, *, limit: int = 100) -> waiting.Opened:
        return self.ledger.waiting.open_rooms(limit, rest_seconds=5)

    def left_queued(self, lane: str = "escalation", limit: int = 100) -> list[str]:
        return list(self.ledger.waiting.left_queued(limit)[request.Lane(lane)])

    def let_out(self, **how: Any) -> list[str]:
        """Whom one pass over the rooms lets out, in the order of their doorbells."""
        opened = self.open_rooms(**how)
        return [each for lane in request.Lane for each in opened.ring[lane]]

    # -- accounts and their agents ------------------------------------------------------------

    def announce(
        self,
        own: Mapping[str, int] | None = None,
        appid: str = APPID,
        *,
        worker: str = "w1",
        marks: Sequence[str] = (),
    ) -> accounts.Fleet:
        """A worker serves the account; `own` is what its agents can take, "" for all others."""
        return self.ledger.accounts.announce(worker, {}, {appid: own or {}}, marks)

    def observe(
        self, sessions: Mapping[str, int], *, appid: str = APPID, seconds_ago: float = 0
    ) -> int:
        """A reading of who is online, which began some time ago."""
        return self.ledger.accounts.observe(
            self.reading_of(appid, seconds_ago), sessions, interval_seconds=5, trusted_seconds=20
        )

    def observe_nobody(self, *gone: str) -> None:
        """A reading that misses those whom the one before had seen."""
        self.observe(dict.fromkeys(gone or (AGENT,), 0))
        self.observe({})

    def lose_sight(self, appid: str = APPID) -> bool:
        """A reading that failed."""
        reading = self.reading_of(appid)
        return self.ledger.accounts.cannot_tell(
            reading, "48001 api unauthorized", interval_seconds=5
        )

    def reading_of(self, appid: str, seconds_ago: float = 0) -> accounts.Reading:
        began_ms = math.floor((self.now() - seconds_ago) * 1000)
        while not seconds_ago and began_ms <= self._newest_reading_ms:  # no two begin together
            began_ms = math.floor(self.now() * 1000)
        self._newest_reading_ms = max(began_ms, self._newest_reading_ms)
        return accounts.Reading(appid=appid, began_ms=began_ms)

    def watch(self, limit: int = 10) -> list[str]:
        """The accounts that a worker would read now."""
        return [each.appid for each in self.ledger.accounts.watch(limit, interval_seconds=5)]

    def account(self, appid: str = APPID) -> dict[str, str]:
        return self.client.hgetall(self.keys.account(appid))

    def given(self, kf_account: str = AGENT) -> dict[str, float]:
        """Whose session with this agent no reading can have seen, by when it was opened."""
        key = f"{self.keys.base}given:{APPID}:{kf_account}"
        return dict(self.client.zrange(key, 0, -1, withscores=True))

    def door(self, targets: str = AGENT) -> dict[str, str]:
        return self.client.hgetall(f"{self.keys.base}door:{APPID}:{targets}")

    def in_room(self, targets: str = AGENT) -> list[str]:
        """Who stands in a room, the first first."""
        return self.client.zrange(self.keys.room(APPID, targets), 0, -1)

    def wakes_in_seconds(self, targets: str = AGENT) -> float | None:
        """How long a room rests; None where there is no such room."""
        score = self.client.zscore(self.keys.rooms, f"{APPID}:{targets}")
        return None if score is None else score / 1000 - self.now()

    # -- what stands there --------------------------------------------------------------------

    def get(self, request_id: str) -> record.Record:
        one = self.reader.get(request_id)
        assert one is not None
        return one

    def status(self, request_id: str) -> str:
        return self.get(request_id).status.value

    def doubt(self, openid: str = FAN) -> str | None:
        return self.client.get(self.keys.doubt(APPID, openid))

    def due_in_seconds(self, request_id: str) -> float | None:
        score = self.client.zscore(self.keys.due, request_id)
        return None if score is None else score / 1000 - self.now()

    # -- the clock ----------------------------------------------------------------------------

    def now(self) -> float:
        """The server's clock, in seconds."""
        seconds, micros = self.client.time()
        return seconds + micros / 1e6

    def pass_seconds(self, seconds: float) -> None:
        """Move everything the ledger remembers so far into the past."""
        ms = round(seconds * 1000)
        for key in self.all_keys():
            name = key.removeprefix(self.keys.base)
            if _ZSETS.fullmatch(name):
                rows = self.client.zrange(key, 0, -1, withscores=True)
                if moved := {who: at - ms for who, at in rows if not math.isinf(at)}:
                    self.client.zadd(key, moved)
            elif name.startswith("request:"):
                known = self.client.hgetall(key)
                for field in (*_HASH_TIMES, "kept_until"):
                    if field in known:
                        self.client.hset(key, field, int(known[field]) - ms)
            elif name.startswith("account:"):
                for field, value in self.client.hgetall(key).items():
                    at, *rest = value.split(" ")
                    if _ACCOUNT_TIMES.fullmatch(field):
                        self.client.hset(key, field, " ".join([str(int(at) - ms), *rest]))
            if name.startswith(_EXPIRING):
                left = self.client.pttl(key)
                if left > ms:
                    self.client.pexpire(key, left - ms)
                else:
                    self.client.delete(key)

    # -- the whole ledger ---------------------------------------------------------------------

    def all_keys(self) -> set[str]:
        return set(self.client.scan_iter(match=self.keys.base + "*", count=1000))

    def events(self) -> list[tuple[str, str, str]]:
        return [(each.id, each.status.value, each.reason or "") for each in self.reader.events()]

    def check(self) -> None:
        """Whatever happened, the structures of the ledger agree with the records."""
        records = self._records()
        counted: dict[str, set[str]] = {}
        for request_id, fields in records.items():
            status = record.Status(fields["status"])
            detail = {"queued": fields["lane"], "calling": "", "created": "", "already_served": ""}
            key = self.keys.index(status, detail.get(status.value, fields["reason"]))
            counted.setdefault(key, set()).add(request_id)
        stored = {
            key: set(self.client.zrange(key, 0, -1))
            for key in self.all_keys()
            if key.startswith(self.keys.base + "index:")
        }
        assert stored == counted
        final = {
            each for each, fields in records.items() if record.Status(fields["status"]).is_final
        }
        assert set(self.client.zrange(self.keys.due, 0, -1)) == set(records) - final
        assert set(self.client.zrange(self.keys.retention, 0, -1)) == final
        sizes = sum(size for each in self.reader.counts().values() for size in each.values())
        assert sizes == len(records), "counts() knows every index"
        live = [
            (fields["appid"], fields["openid"])
            for each, fields in records.items()
            if each not in final
        ]
        assert len(live) == len(set(live)), "one live request per fan"
        last = {event_id: (status, reason) for event_id, status, reason in self.events()}
        for request_id, fields in records.items():
            said = "" if fields["status"] in ("queued", "calling") else fields["reason"]
            assert last[request_id] == (fields["status"], said)
        self._check_places(records)
        self.check_lanes(records)
        self._check_given(records)

    def _check_places(self, records: Mapping[str, Mapping[str, str]]) -> None:
        """Whoever waits stands in one room, or alone with a time of its own; all have a timer."""
        rooms: dict[str, dict[str, float]] = {}
        due = dict(self.client.zrange(self.keys.due, 0, -1, withscores=True))
        for request_id, fields in records.items():
            deadline_at = int(fields["deadline_at"])
            is_alone = "next_attempt_at" in fields
            if fields["status"] != "waiting":
                assert not is_alone
                assert (
                    ("calling" in fields) == ("holder" in fields) == (fields["status"] == "calling")
                )
            elif is_alone:
                assert due[request_id] == min(int(fields["next_attempt_at"]), deadline_at)
            else:
                assert due[request_id] == deadline_at
                after = 0 if fields["lane"] == "escalation" else _BATCHES
                name = f"{fields['appid']}:{fields['targets']}"
                rooms.setdefault(name, {})[request_id] = int(fields["submitted_at"]) + after
                if fields["reason"] in _FOR_AGENTS:
                    assert self.client.zscore(self.keys.watch, fields["appid"]) is not None
            if fields["status"] == "calling":
                assert due[request_id] <= (self.now() + self.config.lease_seconds) * 1000 + 1
        prefix = self.keys.base + "room:"
        stored = {
            key.removeprefix(prefix): dict(self.client.zrange(key, 0, -1, withscores=True))
            for key in self.all_keys()
            if key.startswith(prefix)
        }
        assert stored == rooms
        assert set(self.client.zrange(self.keys.rooms, 0, -1)) == set(rooms)
        by_account = {
            room
            for key in self.all_keys()
            if key.startswith(self.keys.rooms + ":")
            for room in self.client.smembers(key)
        }
        assert by_account == set(rooms)

    def _records(self) -> dict[str, dict[str, str]]:
        names = [each for each in self.all_keys() if each.startswith(self.keys.request(""))]
        return {name.rpartition(":")[2]: self.client.hgetall(name) for name in names}

    def check_lanes(self, records: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Whoever is queued stands in the account's lane; only accounts with such have turns."""
        lanes: dict[str, dict[str, bool]] = {}
        for request_id, fields in (records or self._records()).items():
            if fields["status"] == "queued":
                lane = lanes.setdefault(fields["appid"], {})
                lane[request_id] = fields["lane"] == "batch"
        prefix = self.keys.lane("")
        stored = {
            key.removeprefix(prefix): {
                request_id: place >= 3 * BAND
                for request_id, place in self.client.zrange(key, 0, -1, withscores=True)
            }
            for key in self.all_keys()
            if key.startswith(prefix)
        }
        assert stored == lanes
        turns = self.client.zrange(self.keys.turns, 0, -1, withscores=True)
        assert {appid: turn >= TURNS_OF_BATCHES for appid, turn in turns} == {
            appid: all(are_batches.values()) for appid, are_batches in lanes.items()
        }

    def _check_given(self, records: Mapping[str, Mapping[str, str]]) -> None:
        """Only a call under way takes a place without end."""
        prefix = self.keys.base + "given:"
        for key in self.all_keys():
            if key.startswith(prefix):
                appid, _, kf_account = key.removeprefix(prefix).partition(":")
                for request_id in self.client.zrangebyscore(key, "+inf", "+inf"):
                    fields = records[request_id]
                    assert (fields["status"], fields["appid"]) == ("calling", appid)
                    assert fields["calling"] == kf_account

    def clean_up(self) -> None:
        """Remove this deployment's keys, and no others."""
        if keys_left := self.all_keys():
            with contextlib.suppress(redis.RedisError):
                self.client.delete(*keys_left)


def progress(
    claim: claims.Claim,
    *,
    attempts: Iterable[record.Attempt] = (),
    doubt: claims.Doubt | None = None,
    attempt_count: int | None = None,
) -> claims.Progress:
    made = tuple(attempts)
    return claims.Progress(
        attempt_count=claim.attempt_count if attempt_count is None else attempt_count,
        api_calls=claim.api_calls + len(made),
        attempts=made,
        doubt=doubt or claims.Doubt(),
    )


def settlement(
    claim: claims.Claim, status: str, *, reason: str | None = None, **fields: Any
) -> claims.Settlement:
    told = {
        name: fields.pop(name) for name in ("attempts", "doubt", "attempt_count") if name in fields
    }
    return claims.Settlement(
        status=record.Status(status),
        reason=record.Reason(reason) if reason else None,
        progress=progress(claim, **told),
        **{"holds": HOLDS.get(reason or "", claims.Holds.REQUEST), **fields},
    )


def attempt(kf_account: str = AGENT, errcode: int | None = 65415, **fields: Any) -> record.Attempt:
    known = {
        "at": datetime.datetime.now(datetime.UTC).replace(microsecond=123000),
        "errmsg": "agent is offline",
        "rid": "6528a1b2-0c3d4e5f-1a2b3c4d",
        "error": "offline",
        "elapsed_ms": 123,
    }
    return record.Attempt(kf_account=kf_account, errcode=errcode, **{**known, **fields})

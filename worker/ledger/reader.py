"""Answers questions about the ledger for people and dashboards; the worker never imports it.

Counts are the sizes of the indexes, so they cannot disagree with the records.
"""

from __future__ import annotations

import dataclasses
import datetime
import heapq
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from worker.contract import record, request
from worker.ledger import agents, keys, marks, records

#: A worker that has said nothing for so long is gone, in seconds.
ALIVE_SECONDS = 60
#: How many records one round trip reads.
_PAGE = 200


#: How many wait in each room, by its targets.
Rooms = Mapping[tuple[str, ...], int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records a listing wants; None asks for all."""

    status: record.Status | None = None
    reason: record.Reason | None = None
    lane: request.Lane | None = None
    appid: str | None = None
    openid: str | None = None
    kf_account: str | None = None
    errcode: int | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    def admits(self, one: record.Record) -> bool:
        """Whether `one` is wanted."""
        return (
            self.status in (None, one.status)
            and self.reason in (None, one.reason)
            and self.lane in (None, one.lane)
            and self.appid in (None, one.appid)
            and self.openid in (None, one.openid)
            and (self.kf_account is None or self.kf_account in one.targets)
            and self.errcode in (None, one.errcode)
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of state."""

    #: The stream's own id, to go on from.
    position: str
    at: datetime.datetime
    id: str
    #: This and the reason are a plain str where only a newer release knows the word.
    status: record.Status | str
    reason: record.Reason | str | None

    def as_json(self) -> dict[str, Any]:
        """The event as plain JSON values."""
        return {
            "position": self.position,
            "at": records.iso(self.at),
            "id": self.id,
            "status": self.status,
            "reason": self.reason,
        }


class Reader:
    """A deployment's records, as they stand."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        # Answers are str, since the client decodes; redis-py's types cannot say so.
        self._client: Any = client
        self._keys = keys.Keys(prefix)

    def get(self, request_id: str) -> record.Record | None:
        """One record, or None for an unknown id."""
        return self._read([request_id])[0]

    def account(self, appid: str) -> agents.Account:
        """What is known of an account: gates, who is online, who serves how many."""
        return self.known([appid])[0]

    def known(self, appids: Sequence[str]) -> list[agents.Account]:
        """The same of many accounts, in two round trips."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            for each in appids:
                pipe.hgetall(self._keys.account(each))
            (seconds, micros), *hashes = pipe.execute()
        now = records.moment(seconds * 1000 + micros / 1000)
        names = [
            [name.removeprefix("on:") for name in known if name.startswith("on:")]
            for known in hashes
        ]
        with self._client.pipeline(transaction=False) as pipe:
            for appid, known, online in zip(appids, hashes, names, strict=True):
                for name in online:
                    since_ms = agents.unseen_since_ms(known)
                    pipe.zcount(self._keys.given(appid, name), since_ms, "+inf")
            counts = iter(pipe.execute())
        return [
            agents.read(appid, known, {name: next(counts) for name in online}, now=now)
            for appid, known, online in zip(appids, hashes, names, strict=True)
        ]

    def rooms(self, appid: str) -> Rooms:
        """How many wait in each room of an account, by its targets."""
        names = sorted(self._client.smembers(self._keys.rooms_of(appid)))
        targets = [name.partition(":")[2] for name in names]
        with self._client.pipeline(transaction=False) as pipe:
            for each in targets:
                pipe.zcard(self._keys.room(appid, each))
            sizes = pipe.execute()
        return {tuple(each.split("|")): size for each, size in zip(targets, sizes, strict=True)}

    def newest_of_fan(self, openid: str, appid: str | None = None) -> record.Record | None:
        """The fan's newest request; without `appid` in whichever account has the newest."""
        appids = [appid] if appid else self.accounts()
        ids = self._client.mget([self._keys.fan(each, openid) for each in appids]) if appids else []
        found = [one for one in self._read([each for each in ids if each]) if one]
        return max(found, key=lambda one: one.submitted_at, default=None)

    def newest_of_fans(self, appid: str, openids: Sequence[str]) -> dict[str, record.Record]:
        """The newest request of each fan who has one: two round trips, however many they are."""
        ids = (
            self._client.mget([self._keys.fan(appid, each) for each in openids]) if openids else []
        )
        known = {openid: each for openid, each in zip(openids, ids, strict=True) if each}
        found = zip(known, self._read(list(known.values())), strict=True)
        return {openid: one for openid, one in found if one}

    def by_key(self, key: str, appid: str | None = None) -> record.Record | None:
        """The request an idempotency key stands for."""
        appids = [appid] if appid else self.accounts()
        used = self._client.mget([self._keys.key(each, key) for each in appids]) if appids else []
        return next((self.get(each.split(" ")[0]) for each in used if each), None)

    def select(self, wanted: Filter, limit: int) -> tuple[list[record.Record], bool]:
        """The newest `limit` records that `wanted` admits, and whether there are more."""
        ids = self._ids_newest_first(wanted)
        found: list[record.Record] = []
        while page := list(itertools.islice(ids, _PAGE)):
            for one in self._read(page):
                if one is None or not wanted.admits(one):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(one)
        return found, False

    def counts(self) -> dict[record.Status, dict[str, int]]:
        """How many requests are in each state, told apart by lane or reason; no zeros."""
        names = [(status, detail) for status in record.Status for detail in keys.details(status)]
        with self._client.pipeline() as pipe:  # at one moment, or a request that moves is missed
            for status, detail in names:
                pipe.zcard(self._keys.index(status, detail))
            sizes = pipe.execute()
        counted: dict[record.Status, dict[str, int]] = {status: {} for status in record.Status}
        for (status, detail), size in zip(names, sizes, strict=True):
            if size:
                counted[status][detail] = size
        return counted

    def oldest(self, status: record.Status) -> datetime.datetime | None:
        """When the oldest request in `status` was submitted."""
        with self._client.pipeline(transaction=False) as pipe:
            for detail in keys.details(status):
                pipe.zrange(self._keys.index(status, detail), 0, 0, withscores=True)
            scores = [rows[0][1] for rows in pipe.execute() if rows]
        return records.moment(min(scores)) if scores else None

    def events(
        self, after: str = "0", *, block_ms: int | None = None, count: int = 500
    ) -> list[Event]:
        """Changes of state after a position, oldest first; waits up to `block_ms` for the first."""
        answer = self._client.xread({self._keys.events: after}, count=count, block=block_ms)
        return [_event(position, fields) for _, rows in answer or () for position, fields in rows]

    def newest_position(self) -> str:
        """The position of the newest event, `0` when there is none."""
        newest = self._client.xrevrange(self._keys.events, count=1)
        return str(newest[0][0]) if newest else "0"

    def accounts(self) -> list[str]:
        """The appids that workers announced."""
        return sorted(self._client.hkeys(self._keys.accounts))

    def workers(self) -> dict[str, dict[str, Any]]:
        """What each worker last said of itself."""
        said = self._client.hgetall(self._keys.workers)
        return {name: _worker(said[name]) for name in sorted(said)}

    def stepped_back(self) -> dict[str, list[marks.Mark]]:
        """What each worker alone cannot do now, by its name; only those that stepped back."""
        names = sorted(self._client.hkeys(self._keys.workers))
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._keys.stepped_back(name))
            kept = pipe.execute()
        return {name: marks.read(each) for name, each in zip(names, kept, strict=True) if each}

    def is_served(self) -> bool:
        """Whether any worker lives."""
        now_ms, alive_ms = self.now().timestamp() * 1000, ALIVE_SECONDS * 1000
        return any(abs(now_ms - about["at"]) <= alive_ms for about in self.workers().values())

    def now(self) -> datetime.datetime:
        """The time by the server's clock, which wrote every other time."""
        seconds, microseconds = self._client.time()
        return records.moment(seconds * 1000 + microseconds / 1000)

    def oddities(self) -> dict[str, int]:
        """How often something odd was seen: refused entries, unknown ids, crashes."""
        return {
            name: int(n) for name, n in sorted(self._client.hgetall(self._keys.counters).items())
        }

    def dead(self) -> int:
        """How many refused broker entries are kept."""
        return int(self._client.llen(self._keys.dead))

    def due(self) -> int:
        """How many live requests the waiting room keeps watch over."""
        return int(self._client.zcard(self._keys.due))

    def _read(self, ids: Sequence[str]) -> list[record.Record | None]:
        if not ids:
            return []
        with self._client.pipeline(transaction=False) as pipe:
            for each in ids:
                pipe.hgetall(self._keys.request(each))
            rows = pipe.execute()
        held = self._standings(
            [each for each, fields in zip(ids, rows, strict=True) if fields], rows
        )
        return [
            records.compose(each, fields, held.get(each, records.Standing())) if fields else None
            for each, fields in zip(ids, rows, strict=True)
        ]

    def _standings(
        self, ids: Sequence[str], rows: Sequence[Mapping[str, str]]
    ) -> dict[str, records.Standing]:
        """Where those stand that wait in a room, and what an account's gate says of it."""
        known = dict(zip(ids, filter(None, rows), strict=True))
        waiting = [
            each
            for each, fields in known.items()
            if fields["status"] == record.Status.WAITING and "next_attempt_at" not in fields
        ]
        if not waiting:
            return {}
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            for each in waiting:
                appid, targets = known[each]["appid"], known[each]["targets"]
                pipe.zrank(self._keys.room(appid, targets), each)
                pipe.zscore(self._keys.rooms, f"{appid}:{targets}")
                pipe.hget(self._keys.account(appid), "because")
            (seconds, micros), *told = pipe.execute()
        now_ms = seconds * 1000 + micros / 1000
        return {
            each: records.Standing(
                ahead=told[3 * at],
                wakes_at_ms=None if told[3 * at + 1] is None else max(now_ms, told[3 * at + 1]),
                because=told[3 * at + 2],
            )
            for at, each in enumerate(waiting)
        }

    def _ids_newest_first(self, wanted: Filter) -> Iterator[str]:
        scans = [
            self._scan(self._keys.index(status, detail), wanted)
            for status in ([wanted.status] if wanted.status else record.Status)
            for detail in keys.details(status)
        ]
        for _, request_id in heapq.merge(*scans, reverse=True):
            yield request_id

    def _scan(self, index: str, wanted: Filter) -> Iterator[tuple[float, str]]:
        high = wanted.until.timestamp() * 1000 if wanted.until else "+inf"
        low = wanted.since.timestamp() * 1000 if wanted.since else "-inf"
        for offset in itertools.count(0, _PAGE):
            rows = self._client.zrevrangebyscore(
                index, high, low, start=offset, num=_PAGE, withscores=True
            )
            yield from ((score, request_id) for request_id, score in rows)
            if len(rows) < _PAGE:
                return


def _worker(said: str) -> dict[str, Any]:
    at_ms, _, about = said.partition(" ")
    return {**json.loads(about), "at": int(at_ms)}


def _event(position: str, fields: Mapping[str, str]) -> Event:
    return Event(
        position=position,
        at=records.moment(position.partition("-")[0]),
        id=fields["id"],
        status=record.word(record.Status, fields["status"]),
        reason=record.word(record.Reason, fields["reason"]) if fields["reason"] else None,
    )

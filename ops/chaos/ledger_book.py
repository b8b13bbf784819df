"""Reads everything a deployment has in Redis, as it lies there, past every reader of ours."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from worker.ledger import keys

#: How many keys or entries one round trip reads.
_PAGE = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One entry of the events stream."""

    at_ms: int
    id: str
    status: str


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerBook:
    """One look at Redis: `records` by id, `slots` by a worker's name; the rest by key."""

    keys: keys.Keys
    types: Mapping[str, str]
    records: Mapping[str, Mapping[str, str]]
    slots: Mapping[str, Mapping[str, str]]
    zsets: Mapping[str, Mapping[str, float]]
    texts: Mapping[str, str]
    #: Milliseconds each key has left; -1: it never expires.
    left_ms: Mapping[str, int]
    #: What type each key of the broker has.
    mail: Mapping[str, str]
    changes: tuple[Change, ...]


def read(client: redis.Redis, prefix: str, *, broker: redis.Redis) -> LedgerBook:
    """Read what belongs to a deployment; both clients decode, and may be the same."""
    of = keys.Keys(prefix)
    names = sorted(set(client.scan_iter(f"{of.base}*", _PAGE)))
    types = dict(zip(names, _each(client, "type", names), strict=True))
    names = [name for name in names if types[name] != "none"]  # gone meanwhile
    mail = sorted(set(broker.scan_iter(f"{prefix}.*", _PAGE)))
    zsets = [name for name in names if types[name] == "zset"]
    members = _each(client, "zrange", zsets, 0, -1, withscores=True)
    texts = [name for name in names if types[name] == "string"]
    return LedgerBook(
        keys=of,
        types={name: types[name] for name in names},
        records=_hashes(client, names, of.request("")),
        slots=_hashes(client, names, f"{of.base}slots:"),
        zsets={name: dict(each) for name, each in zip(zsets, members, strict=True)},
        texts=dict(zip(texts, _each(client, "get", texts), strict=True)),
        left_ms=dict(zip(names, _each(client, "pttl", names), strict=True)),
        mail={name: str(broker.type(name)) for name in mail},
        changes=tuple(read_changes(client, of)),
    )


def _hashes(client: redis.Redis, names: Sequence[str], start: str) -> dict[str, Mapping[str, str]]:
    """Those whose name starts so, by the rest of it."""
    found = [name for name in names if name.startswith(start)]
    fields = _each(client, "hgetall", found)
    return {name.removeprefix(start): each for name, each in zip(found, fields, strict=True)}


def read_changes(client: redis.Redis, of: keys.Keys) -> Iterator[Change]:
    """Every change of state that the stream still has, oldest first."""
    after = "-"
    while page := _page(client, of.events, after):
        for position, fields in page:
            at_ms = int(position.partition("-")[0])
            yield Change(at_ms, fields["id"], fields["status"])
        after = f"({page[-1][0]}"


def by_request(changes: Iterable[Change]) -> dict[str, list[Change]]:
    """The changes of each request, in their order."""
    found = collections.defaultdict(list)
    for each in changes:
        found[each.id].append(each)
    return dict(found)


def _page(client: Any, stream: str, after: str) -> list[tuple[str, dict[str, str]]]:
    page: list[tuple[str, dict[str, str]]] = client.xrange(stream, after, "+", count=_PAGE * 10)
    return page


def _each(client: redis.Redis, command: str, names: Iterable[str], *rest: Any, **named: Any) -> Any:
    """The answers to one command about many keys."""
    answers: list[Any] = []
    left = iter(names)
    while page := list(itertools.islice(left, _PAGE)):
        with client.pipeline(transaction=False) as pipe:
            for name in page:
                getattr(pipe, command)(name, *rest, **named)
            answers += pipe.execute()
    return answers

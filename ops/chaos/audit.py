"""Takes both books, the ledger's and WeChat's, and hands on what is lost, doubled or left behind.

Nothing here asks our own reader: records are recounted as they lie in Redis.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ops.chaos import ledger_book
from worker.contract import record

_FINAL = frozenset(status.value for status in record.FINAL)
_SERVED = frozenset({"created", "already_served"})
#: What may follow what in the life of a request.
_LIFE = {
    "": {"queued"},
    "queued": {"calling", "waiting", "expired", "cancelled"},
    "calling": {"queued", "waiting", *_FINAL},
    "waiting": {"waiting", "queued", "expired", "cancelled"},
    **dict.fromkeys(_SERVED, frozenset[str]()),
    **dict.fromkeys(_FINAL - _SERVED, frozenset({"queued"})),  # by `retry` alone
}
#: Where a reason tells the members of an index apart.
_REASONED = frozenset({"waiting", "failed", "expired", "cancelled"})
#: Structures that stay although nobody waits for anything.
_LASTING = (
    *("accounts", "counters", "dead", "events", "replicated", "retention", "schema", "workers"),
    *("clock", "stepped_back"),
)
#: Kinds of which there are none once nobody waits for anything.
_EMPTY = ("room:", "rooms:", "lane:")
#: Kinds that belong to an account, of which there are few, or that a deadline removes.
_OF_ACCOUNTS, _EXPIRING = (
    ("account:", "token:", "serving:", "slots:"),
    ("door:", "given:", "wanted:", "joined:", "stepped_back:"),
)
#: What PTTL answers of a key that no deadline removes; of one that is gone it answers -2.
_NEVER_EXPIRES = -1
#: A session is opened in WeChat's time, settled in Redis's: one machine, rounded.
_ROUNDED_MS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What the promises rule out, each as a line that names the request, the fan or the key."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.strays)

    def __str__(self) -> str:
        """At most ten lines of each kind."""
        kinds = {"lost": self.lost, "doubled": self.doubled, "stray": self.strays}
        return "\n".join(f"{kind}: {line}" for kind, lines in kinds.items() for line in lines[:10])


def examine(
    ledger: ledger_book.LedgerBook,
    sessions: Iterable[Mapping[str, Any]],
    accepted: Collection[str],
    *,
    behind_ms: int = 0,
) -> Findings:
    """Compare the books once nothing is live: `accepted` are the ids that producers got back.

    `behind_ms` is how far Redis's clock was behind WeChat's, at the most.
    """
    sessions = list(sessions)
    return Findings(
        lost=(
            *_not_ended(ledger, accepted),
            *_unknown_sessions(ledger, sessions),
            *_missing_sessions(ledger, sessions, behind_ms + _ROUNDED_MS),
        ),
        doubled=(*_given_twice(sessions), *_ended_twice(ledger)),
        strays=(*_wrong_indexes(ledger), *_left_over(ledger), *_owned_by_nobody(ledger)),
    )


# -- every accepted request ended, once -----------------------------------------------------------


def _not_ended(ledger: ledger_book.LedgerBook, accepted: Collection[str]) -> Iterator[str]:
    for id_ in accepted:
        if id_ not in ledger.records:
            yield f"{id_} was accepted, and there is no record of it"
    for id_, fields in ledger.records.items():
        if fields.get("status") not in _FINAL:
            yield f"{id_} is {fields.get('status')} ({fields.get('reason')})"


def _ended_twice(ledger: ledger_book.LedgerBook) -> Iterator[str]:
    """A generation ends once, its end is the last that happened, and each step may follow."""
    lives = ledger_book.by_request(ledger.changes)
    for id_ in lives.keys() - ledger.records.keys():
        yield f"{id_} has events and no record"
    for id_, fields in ledger.records.items():
        life = [each.status for each in lives.get(id_, ())]
        ends = sum(status in _FINAL for status in life)
        is_legal = all(after in _LIFE[before] for before, after in itertools.pairwise(["", *life]))
        ended_last = life[-1:] == [fields["status"]]
        if not (is_legal and ended_last and ends == int(fields.get("generation", 1))):
            yield f"{id_} is {fields['status']}, and went {life}"


# -- one session a fan, and the record says so ----------------------------------------------------


def _given_twice(sessions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Who was with an agent from the start was not given there by us."""
    agents = collections.defaultdict(list)
    for each in sessions:
        if each["opened_by"] == "create":
            agents[each["appid"], each["openid"]].append(each["kf_account"])
    for (_, openid), given_to in agents.items():
        if len(given_to) > 1:
            yield f"{openid} was given to {given_to}"


def _unknown_sessions(
    ledger: ledger_book.LedgerBook, sessions: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Who was given to an agent has a request that says so, or that it could not be told."""
    told = {
        (fields["appid"], fields["openid"])
        for fields in ledger.records.values()
        if fields["status"] in _SERVED or fields["reason"] == "unconfirmed"
    }
    for each in sessions:
        if each["opened_by"] == "create" and (each["appid"], each["openid"]) not in told:
            yield f"{each['openid']} is with {each['kf_account']}, and no request says so"


def _missing_sessions(
    ledger: ledger_book.LedgerBook, sessions: Iterable[Mapping[str, Any]], apart_ms: int
) -> Iterator[str]:
    """What is recorded as served was so when it was settled."""
    since = {
        (each["appid"], each["openid"], each["kf_account"]): each["opened_at"] for each in sessions
    }
    for id_, fields in ledger.records.items():
        if fields["status"] in _SERVED:
            targets = fields["targets"].split("|")
            if fields["status"] == "created" and not {fields["served_by"], "any"} & {*targets}:
                yield f"{id_} is created by {fields['served_by']}, whom it did not ask"
            opened_at = since.get((fields["appid"], fields["openid"], fields["served_by"]))
            if opened_at is None or opened_at > int(fields["finished_at"]) + apart_ms:
                yield f"{id_} is {fields['status']} by {fields['served_by']}, with no session then"


# -- indexes, and what is left ----------------------------------------------------------------


def _wrong_indexes(ledger: ledger_book.LedgerBook) -> Iterator[str]:
    expected: collections.defaultdict[str, dict[str, float]] = collections.defaultdict(dict)
    for id_, fields in ledger.records.items():
        expected[_index_of(ledger, fields)][id_] = float(fields["submitted_at"])
    found = {
        name: members
        for name, members in ledger.zsets.items()
        if name.startswith(f"{ledger.keys.base}index:")
    }
    for name in sorted(expected.keys() | found.keys()):
        wrong = dict(expected.get(name, {}).items() ^ found.get(name, {}).items())
        if wrong:
            yield f"{name} disagrees with the records of {len(wrong)} ids, as {next(iter(wrong))}"
    final = {id_ for id_, fields in ledger.records.items() if fields["status"] in _FINAL}
    for id_ in final ^ ledger.zsets.get(ledger.keys.retention, {}).keys():
        yield f"{id_} is final or in retention, and not both"


def _index_of(ledger: ledger_book.LedgerBook, fields: Mapping[str, str]) -> str:
    status = record.Status(fields["status"])
    if status is record.Status.QUEUED:
        return ledger.keys.index(status, fields["lane"])
    return ledger.keys.index(status, fields["reason"] if status in _REASONED else "")


def _left_over(ledger: ledger_book.LedgerBook) -> Iterator[str]:
    """Where live requests stand, nobody does any more; no broker entry waits or is held back."""
    base = ledger.keys.base
    alone = (ledger.keys.due, *(f"{base}{name}" for name in ("rooms", "stirring", "turns")))
    for name, kind in ledger.mail.items():
        if kind != "none" and not name.endswith(".unacked_mutex"):
            yield f"{name} ({kind}) of the broker is still there"
    for name in ledger.types:
        if name in alone or name.startswith(tuple(f"{base}{each}" for each in _EMPTY)):
            yield f"{name} is still there"
        elif name.startswith(f"{base}given:") and float("inf") in ledger.zsets[name].values():
            yield f"{name} holds a call under way"
    for worker, slots in ledger.slots.items():
        if set(slots.values()) != {"0"}:
            yield f"{worker} holds slots for what is over: {slots}"


def _owned_by_nobody(ledger: ledger_book.LedgerBook) -> Iterator[str]:
    """Every key belongs to a record, to an account, or to the deployment; or it goes by itself."""
    base, records = ledger.keys.base, ledger.records
    owned = {f"{base}{name}" for name in (*_LASTING, "watch")}
    for id_, fields in records.items():
        owned.add(ledger.keys.request(id_))
        owned.add(ledger.keys.fan(fields["appid"], fields["openid"]))
        if fields["reason"] == "unconfirmed":
            owned.add(ledger.keys.doubt(fields["appid"], fields["openid"]))
    for name in ledger.types:
        kind = name.removeprefix(base)
        if name in owned or kind.startswith(_OF_ACCOUNTS):
            continue
        if kind.startswith("key:") and ledger.texts[name].partition(" ")[0] in records:
            continue
        if kind.startswith(("rooms", "due", "index:", "stirring", "turns", *_EMPTY)):
            continue  # told of above
        if kind.startswith(_EXPIRING) and ledger.left_ms[name] != _NEVER_EXPIRES:
            continue  # or it went between two looks, as a mark does that a worker takes back
        yield f"{name} belongs to nobody"
    for id_, fields in records.items():
        newest = ledger.texts.get(ledger.keys.fan(fields["appid"], fields["openid"]), "nothing")
        if newest not in records or records[newest]["openid"] != fields["openid"]:
            yield f"{id_} is of a fan whose newest request is {newest}, not one of that fan"

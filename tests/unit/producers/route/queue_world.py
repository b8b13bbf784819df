"""WeChat's queue, a ledger and its workers, all in memory: what a run of `route` stands on.

Time passes only while somebody sleeps; what is queued is then delivered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from producers.route import view
from worker.contract import record, request
from worker.ledger import reader, receipts

APPID = "wx1"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Gates:
    """What the ledger says of an account."""

    is_paused: bool = False
    paused: frozenset[str] = frozenset()


def a_record(openid: str = "o1", **known: Any) -> record.Record:
    """A record that holds what a test names, and nothing else of interest."""
    status = record.Status(known.pop("status", "queued"))
    at = known.pop("at", START)
    targets = tuple(known.pop("targets", ("a@x",)))
    is_held = status is record.Status.WAITING and known.get("reason") != record.Reason.TRANSIENT
    fields: dict[str, Any] = {
        "id": f"r-{openid}",
        "schema_": 1,
        "appid": APPID,
        "openid": openid,
        "kf_account": targets[0],
        "targets": targets,
        "lane": request.Lane.BATCH,
        "status": status,
        "final": status.is_final,
        "reason": None,
        "errcode": None,
        "errmsg": None,
        "hint": None,
        "served_by": targets[0] if status in record.SERVED else None,
        "ahead": 0 if is_held else None,
        "attempts": (),
        "attempt_count": 0,
        "api_calls": 0,
        "generation": 1,
        "submitted_at": at,
        "updated_at": at,
        "next_attempt_at": None,
        "deadline_at": at + datetime.timedelta(hours=1),
        "finished_at": at if status.is_final else None,
        "key": None,
        "metadata": None,
    }
    return record.Record(**{**fields, **known})


class World:
    """An account with agents (name -> sessions) and waiting fans; plays WeChat, ledger and workers.

    `deliver(record, world)` says what becomes of a queued request: a status and a reason, or None
    to leave it; `lag_seconds` is how old the truth is that the list of agents shows.
    """

    #: Whether a worker says that it lives.
    has_workers = True

    def __init__(
        self,
        fans: Sequence[str] = (),
        agents: Mapping[str, int] | None = None,
        *,
        lag_seconds: float = 0.0,
    ) -> None:
        self.now_ = START
        self.waiting: dict[str, int] = {openid: 1000 + at for at, openid in enumerate(fans)}
        self.serving: Counter[str] = Counter(agents or {"a@x": 0})
        self.most = Counter(self.serving)
        self.gates = Gates()
        self.records: dict[str, record.Record] = {}
        self.newest: dict[str, str] = {}
        self.wishes: list[dict[str, Any]] = []
        self.looks = 0
        self.deliver: Callable[[record.Record, World], tuple[str, str | None] | None] = create
        self.on_look: Callable[[], None] = lambda: None
        self.on_sleep: Callable[[], None] = lambda: None
        self._lag = datetime.timedelta(seconds=lag_seconds)
        self._past: list[tuple[datetime.datetime, Counter[str]]] = []
        self._remember()

    # -- WeChat ------------------------------------------------------------------------------------

    def look(self) -> view.View:
        self.looks += 1
        self.on_look()
        shown = [past for at, past in self._past if at <= self.now_ - self._lag]
        online = shown[-1] if shown else self._past[0][1]
        return view.View(
            count=len(self.waiting),
            fans=dict(list(self.waiting.items())[:100]),
            online={name: online[name] for name in self.serving},
        )

    # -- the ledger --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[World]:
        yield self

    def is_served(self) -> bool:
        return self.has_workers

    def now(self) -> datetime.datetime:
        return self.now_

    def account(self, appid: str) -> Gates:
        assert appid == APPID
        return self.gates

    def get(self, request_id: str) -> record.Record | None:
        return self.records.get(request_id)

    def newest_of_fans(self, appid: str, openids: Sequence[str]) -> dict[str, record.Record]:
        assert appid == APPID
        return {each: self.records[self.newest[each]] for each in openids if each in self.newest}

    def counts(self) -> dict[record.Status, dict[str, int]]:
        counted = Counter(one.status for one in self.records.values())
        return {status: {"": counted[status]} for status in record.Status}

    def select(self, wanted: reader.Filter, limit: int) -> tuple[list[record.Record], bool]:
        found = [one for one in self.records.values() if wanted.admits(one)]
        return found[-limit:], len(found) > limit

    def events(self, after: str) -> list[reader.Event]:
        """The newest change of each record."""
        found = [
            reader.Event(
                position=str(int(one.updated_at.timestamp() * 1000)),
                at=one.updated_at,
                id=one.id,
                status=one.status,
                reason=one.reason,
            )
            for one in self.records.values()
        ]
        found.sort(key=operator.attrgetter("at"))
        return [each for each in found if int(each.position) > int(after)]

    def rooms(self, appid: str) -> dict[tuple[str, ...], int]:
        held = (one.targets for one in self.records.values() if one.ahead is not None)
        return dict(Counter(held))

    def know(self, one: record.Record) -> None:
        """Somebody's request, as it stands."""
        self.records[one.id] = one
        self.newest[one.openid] = one.id

    # -- the producer ------------------------------------------------------------------------------

    def submit_many(self, wishes: Sequence[dict[str, Any]]) -> list[receipts.Receipt]:
        return [self._submit(request.SessionRequest.parse(wish)) for wish in wishes]

    def _submit(self, wish: request.SessionRequest) -> receipts.Receipt:
        self.wishes.append(wish.model_dump(exclude_unset=True))
        known = self.records.get(self.newest.get(wish.openid, ""))
        if known is not None and not known.final:
            return receipts.Receipt(id=known.id, status=known.status, how="joined")
        one = a_record(wish.openid, id=f"r{len(self.records)}", targets=wish.targets, at=self.now_)
        self.know(one)
        return receipts.Receipt(id=one.id, status=one.status, how="new")

    # -- time --------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self.now_.timestamp()

    def sleep(self, seconds: float) -> None:
        self.now_ += datetime.timedelta(seconds=seconds)
        for one in list(self.records.values()):
            if one.status is record.Status.QUEUED and (became := self.deliver(one, self)):
                self._become(one, *became)
        self._remember()
        self.on_sleep()

    def _become(self, one: record.Record, status: str, reason: str | None) -> None:
        now_it_is = record.Status(status)
        if now_it_is is record.Status.CREATED:
            self.serving[one.targets[0]] += 1
            self.most |= self.serving
            self.waiting.pop(one.openid, None)
        is_held = now_it_is is record.Status.WAITING and reason != record.Reason.TRANSIENT
        known = one.model_dump() | {
            "status": now_it_is,
            "final": now_it_is.is_final,
            "reason": reason,
            "ahead": 0 if is_held else None,
            "served_by": one.targets[0] if now_it_is in record.SERVED else None,
            "updated_at": self.now_,
            "finished_at": self.now_ if now_it_is.is_final else None,
        }
        self.records[one.id] = record.Record(**known)

    def _remember(self) -> None:
        self._past.append((self.now_, Counter(self.serving)))


def create(_one: record.Record, _world: World) -> tuple[str, None]:
    """Every request gets its session at once."""
    return "created", None

"""Takes what WeChat shows and the ledger knows; hands on a plan: who goes to whom, who stays."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from producers.route import spread, standing
from worker import errors
from worker.contract import record, request
from worker.ledger import reader

if TYPE_CHECKING:
    from producers.route import view

#: Most requests in the lanes that are read to learn which places they will take.
MAX_QUEUED = 2000

_UNDER_WAY = (record.Status.QUEUED, record.Status.CALLING)


class Rest(StrEnum):
    """Why there is nothing to do: a run ends with it, a watch goes on."""

    #: The queue is empty.
    NOBODY_WAITS = "nobody_waits"
    #: No agent is online whose capacity is known and who is not paused.
    NOBODY_ONLINE = "nobody_online"
    #: Every agent who is online serves as many fans as it may, or will.
    NO_ROOM = "no_room"
    #: Every fan whom WeChat shows is left alone; those behind cannot be seen.
    ALL_SKIPPED = "all_skipped"
    #: Requests of this run stand in their lane and nobody takes them.
    NOT_MOVING = "not_moving"


class AccountPaused(errors.KfsessionError):
    """An operator paused the account: nothing is routed until it is resumed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An agent who is online: may serve so many (0: nobody says), serves so many, can take some."""

    capacity: int
    serving: int
    room: int
    is_paused: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one look came to; nothing is submitted yet."""

    #: How many fans wait, and since when those do who can be seen.
    count: int
    fans: Mapping[str, int]
    places: Mapping[str, Place]
    #: The agent for each fan, and why the others stay.
    chosen: Mapping[str, str]
    skipped: Mapping[str, standing.Why]
    #: Whether requests that count here may soon stand elsewhere by themselves.
    is_moving: bool
    #: Whether an agent may have more room than its place says, once WeChat's list is surely true.
    may_have_room: bool

    @property
    def rest(self) -> Rest | None:
        """Why there is nothing to do, None when there is."""
        if self.chosen or self.is_moving:
            return None
        if not self.count:
            return Rest.NOBODY_WAITS
        if standing.Why.NO_ROOM not in self.skipped.values():
            return Rest.ALL_SKIPPED
        if self.may_have_room:
            return None
        can_serve = (each.capacity and not each.is_paused for each in self.places.values())
        return Rest.NO_ROOM if any(can_serve) else Rest.NOBODY_ONLINE


class Planner:
    """Plans for one account.

    WeChat's list of agents may lag behind, and live requests will fill places too; so an agent's
    room is, as in a worker's claim, capacity less what is shown, less what the list cannot show
    yet, less what others were promised. It is counted here again since workers read the list only
    while somebody waits for an agent, and count for no agent without a capacity of the settings.
    """

    def __init__(self, appid: str, capacities: spread.Capacities) -> None:
        self._appid = appid
        self._capacities = capacities

    def plan(
        self,
        seen: view.View,
        reads: reader.Reader,
        *,
        began: datetime.datetime,
        ours: Collection[record.Record],
    ) -> Plan:
        """Decide on a view whose reading began then; `ours` are live requests to wait for.

        Raises AccountPaused.
        """
        gates = reads.account(self._appid)
        if gates.is_paused:
            raise AccountPaused(
                f"account {self._appid} is paused; kfsession resume --appid {self._appid} ends that"
            )
        newest = reads.newest_of_fans(self._appid, [each for each in seen.fans if _is_fan(each)])
        now = reads.now()
        # In this order a request that moves on meanwhile counts twice, and never not at all.
        promised = self._promised(reads, (*newest.values(), *ours))
        unseen = self._unseen(reads, began)
        places = self._places(seen, unseen, promised, gates.paused)
        skipped = _skipped(seen, newest, now)
        chosen = spread.spread(
            (openid for openid in seen.fans if openid not in skipped),
            {name: place.room for name, place in places.items()},
        )
        stay = (openid for openid in seen.fans if openid not in skipped and openid not in chosen)
        return Plan(
            count=seen.count,
            fans=seen.fans,
            places=places,
            chosen=chosen,
            skipped=skipped | dict.fromkeys(stay, standing.Why.NO_ROOM),
            is_moving=any(standing.is_moving(one, now) for one in (*newest.values(), *ours)),
            may_have_room=any(
                unseen[name] and each.serving < each.capacity for name, each in places.items()
            ),
        )

    def _unseen(
        self, reads: reader.Reader, began: datetime.datetime
    ) -> collections.Counter[str | None]:
        """How many sessions each agent got, by whosever request, that the list may not show yet.

        The stream knows: an index goes by the time of the submit, which may be hours ago.
        """
        changes = _changes(reads, began - standing.LAG)
        opened = (reads.get(each.id) for each in changes if each.status is record.Status.CREATED)
        return collections.Counter(
            one.served_by for one in opened if one and one.appid == self._appid
        )

    def _places(
        self,
        seen: view.View,
        unseen: Mapping[str | None, int],
        promised: Mapping[tuple[str, ...], int],
        paused: frozenset[str],
    ) -> dict[str, Place]:
        capacity = {name: self._capacities.of(name) for name in seen.online if _is_agent(name)}
        free = {name: size - seen.online[name] - unseen[name] for name, size in capacity.items()}
        room = spread.room_left(free, promised, paused=paused)
        return {
            name: Place(
                capacity=capacity[name],
                serving=seen.online[name],
                room=room.get(name, 0),
                is_paused=name in paused,
            )
            for name in sorted(capacity)
        }

    def _promised(
        self, reads: reader.Reader, known: Iterable[record.Record]
    ) -> collections.Counter[tuple[str, ...]]:
        """How many live requests of the account, whoever made them, have the same targets.

        Those in the lanes are read unless they are too many: then workers alone see to it that no
        agent gets more than its capacity.
        """
        held = collections.Counter(reads.rooms(self._appid))
        live = {one.id: one for one in known}
        counts = reads.counts()
        if sum(sum(counts[status].values()) for status in _UNDER_WAY) <= MAX_QUEUED:
            for status in _UNDER_WAY:
                wanted = reader.Filter(status=status, appid=self._appid)
                live |= {one.id: one for one in reads.select(wanted, MAX_QUEUED)[0]}
        first = collections.Counter(one.targets for one in live.values() if _stands_alone(one))
        return first + held


def _stands_alone(one: record.Record) -> bool:
    """Whether a request is live, and counted in no waiting room."""
    return not one.final and one.ahead is None


def _changes(reads: reader.Reader, since: datetime.datetime) -> Iterator[reader.Event]:
    """Every change of state since then, of all accounts."""
    position = str(int(since.timestamp() * 1000))
    while some := reads.events(position):
        yield from some
        position = some[-1].position


def _skipped(
    seen: view.View, newest: Mapping[str, record.Record], now: datetime.datetime
) -> dict[str, standing.Why]:
    """Who is left alone, and why."""
    found: dict[str, standing.Why] = {}
    for openid in seen.fans:
        why = standing.why_not(newest.get(openid), now)
        if not _is_fan(openid):
            why = standing.Why.INVALID_OPENID
        if why is not None:
            found[openid] = why
    return found


def _is_fan(openid: str) -> bool:
    return _is_good(openid=openid, kf_account=request.ANY)


def _is_agent(kf_account: str) -> bool:
    return kf_account != request.ANY and _is_good(openid="o", kf_account=kf_account)


def _is_good(**fields: str) -> bool:
    try:
        request.SessionRequest.parse(fields)
    except request.InvalidRequest:
        return False
    return True

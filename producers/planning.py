"""Takes what WeChat shows and the ledger knows; hands on a plan: who goes to whom, who stays."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from producers import spreading
from worker import errors
from worker.contract import record, request
from worker.ledger import reader

if TYPE_CHECKING:
    from producers import wechat

#: Most requests in the lanes that are read to learn which places they will take.
MAX_QUEUED = 2000
#: Most young sessions that are read to learn what WeChat's list may not show yet.
MAX_YOUNG = 500

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
    skipped: Mapping[str, spreading.Why]
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
        if spreading.Why.NO_ROOM not in self.skipped.values():
            return Rest.ALL_SKIPPED
        if self.may_have_room:
            return None
        can_serve = (each.capacity and not each.is_paused for each in self.places.values())
        return Rest.NO_ROOM if any(can_serve) else Rest.NOBODY_ONLINE


class Planner:
    """Plans for one account; it remembers its last look, since WeChat's list may lag behind."""

    def __init__(self, appid: str, capacities: spreading.Capacities) -> None:
        self._appid = appid
        self._capacities = capacities
        #: What each agent served at most, at the last look, and when that began.
        self._serving: Mapping[str, int] = {}
        self._looked_at: datetime.datetime | None = None

    def plan(
        self,
        view: wechat.View,
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
        newest = reads.newest_of_fans(self._appid, [each for each in view.fans if _is_fan(each)])
        now = reads.now()
        # In this order a request that moves on meanwhile counts twice, and never not at all.
        promised = self._promised(reads, (*newest.values(), *ours))
        self._serving = self._estimate(view, reads, began)
        self._looked_at = began
        places = self._places(view, promised, gates.paused)
        skipped = _skipped(view, newest, now)
        chosen = spreading.spread(
            (openid for openid in view.fans if openid not in skipped),
            {name: place.room for name, place in places.items()},
        )
        stay = (openid for openid in view.fans if openid not in skipped and openid not in chosen)
        return Plan(
            count=view.count,
            fans=view.fans,
            places=places,
            chosen=chosen,
            skipped=skipped | dict.fromkeys(stay, spreading.Why.NO_ROOM),
            is_moving=any(spreading.is_moving(one, now) for one in (*newest.values(), *ours)),
            may_have_room=any(size > view.online[name] for name, size in self._serving.items()),
        )

    def _estimate(
        self, view: wechat.View, reads: reader.Reader, began: datetime.datetime
    ) -> dict[str, int]:
        """How many fans each agent serves at most; the list may lag behind."""
        young, _ = reads.select(
            reader.Filter(
                status=record.Status.CREATED, appid=self._appid, since=began - spreading.REST
            ),
            MAX_YOUNG,
        )
        opened = [(one.finished_at or one.updated_at, one.served_by) for one in young]
        unseen = collections.Counter(name for at, name in opened if at >= began - spreading.LAG)
        since = self._looked_at or began
        fresh = collections.Counter(name for at, name in opened if at > since)
        return {
            name: spreading.serving(
                shown,
                unseen=unseen[name],
                expected=self._serving.get(name, float("inf")) + fresh[name],
            )
            for name, shown in view.online.items()
        }

    def _places(
        self,
        view: wechat.View,
        promised: Mapping[tuple[str, ...], int],
        paused: frozenset[str],
    ) -> dict[str, Place]:
        capacity = {name: self._capacities.of(name) for name in view.online if _is_agent(name)}
        free = {name: size - self._serving[name] for name, size in capacity.items()}
        room = spreading.room_left(free, promised, paused=paused)
        return {
            name: Place(
                capacity=capacity[name],
                serving=view.online[name],
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
        first = collections.Counter(one.targets for one in live.values() if _is_in_no_room(one))
        return first + held


def _is_in_no_room(one: record.Record) -> bool:
    """Whether a request is live, and counted in no waiting room."""
    is_held = one.status is record.Status.WAITING and one.reason is not record.Reason.TRANSIENT
    return not one.final and not is_held


def _skipped(
    view: wechat.View, newest: Mapping[str, record.Record], now: datetime.datetime
) -> dict[str, spreading.Why]:
    """Who is left alone, and why."""
    found: dict[str, spreading.Why] = {}
    for openid in view.fans:
        why = spreading.why_not(newest.get(openid), now)
        if not _is_fan(openid):
            why = spreading.Why.INVALID_OPENID
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

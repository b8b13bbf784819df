"""Takes who waits, who is online and what is under way, and decides who goes to whom.

Pure: figures and times come as arguments. WeChat's list of agents may lag behind by some seconds,
and live requests will fill places too; so an agent's room is capacity less what is shown, less what
the list cannot show yet, less what others were promised.
"""

from __future__ import annotations

import dataclasses
import datetime
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from worker.contract import record, request, settings

#: A fan whose request ended so lately is left alone.
REST = datetime.timedelta(minutes=10)
#: WeChat's lists may show the truth of so long ago.
LAG = datetime.timedelta(seconds=5)
#: A queued request that nobody touched for so long waits for something else than its turn; the
#: longest pause between two tries of a transient failure is 60 s.
PATIENCE = datetime.timedelta(seconds=90)
#: A request that found its agent full or offline may still find a place so long after its submit.
SETTLING = datetime.timedelta(seconds=30)

_PASSING = (record.Reason.TRANSIENT, record.Reason.RATE_LIMITED)
_SETTLING = (record.Reason.AGENT_FULL, record.Reason.AGENT_OFFLINE)


class Why(StrEnum):
    """Why a fan who waits is not routed now."""

    #: The fan has a live request, of whoever.
    LIVE_REQUEST = "live_request"
    #: A request of the last ten minutes brought a session; it may have ended since.
    SERVED_RECENTLY = "served_recently"
    #: A request of the last ten minutes failed for good; `kfsession show --openid` says why.
    FAILED_RECENTLY = "failed_recently"
    #: A request of the last ten minutes expired or was cancelled.
    ENDED_RECENTLY = "ended_recently"
    #: What WeChat lists is no openid.
    INVALID_OPENID = "invalid_openid"
    #: No agent who is online has room.
    NO_ROOM = "no_room"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capacities:
    """How many fans each agent may serve: `asked` on the command line, the others by settings.

    0 says nothing of an agent; where two speak, the smaller counts.
    """

    asked: int
    default: int
    own: Mapping[str, int]

    @classmethod
    def of_account(cls, account: settings.Account, asked: int | None) -> Capacities:
        """Those of an account, and what the command line says."""
        return cls(asked=asked or 0, default=account.agent_capacity or 0, own=account.capacities)

    @property
    def are_known(self) -> bool:
        """Whether anybody says how many fans an agent may serve."""
        return any((self.asked, self.default, *self.own.values()))

    @property
    def are_kept_by_workers(self) -> bool:
        """Whether workers let no agent, whoever it is, serve more than may be routed here."""
        kept = (self.default, *self.own.values())
        return all(kept) and (not self.asked or self.asked >= max(kept))

    def of(self, kf_account: str) -> int:
        """How many fans this agent may serve; 0 where nobody says."""
        said = (self.asked, self.own.get(kf_account, self.default))
        return min((each for each in said if each), default=0)


def why_not(newest: record.Record | None, now: datetime.datetime) -> Why | None:
    """Why a fan with this newest request is left alone; None when nothing speaks against it."""
    if newest is None:
        return None
    if not newest.final:
        return Why.LIVE_REQUEST
    if now - (newest.finished_at or newest.updated_at) >= REST:
        return None
    if newest.status.is_success:
        return Why.SERVED_RECENTLY
    is_failed = newest.status is record.Status.FAILED
    return Why.FAILED_RECENTLY if is_failed else Why.ENDED_RECENTLY


def is_moving(one: record.Record, now: datetime.datetime) -> bool:
    """Whether looking again soon may show another picture because of this request."""
    match one.status:
        case record.Status.QUEUED | record.Status.CALLING:
            return now - one.updated_at < PATIENCE
        case record.Status.WAITING if one.reason in _PASSING:
            return now - one.updated_at < PATIENCE
        case record.Status.WAITING:
            return one.reason in _SETTLING and now - one.submitted_at < SETTLING
        case record.Status.CREATED | record.Status.ALREADY_SERVED:
            return now - one.updated_at < LAG
        case _:
            return False


def serving(shown: int, *, expected: float, unseen: int) -> int:
    """How many fans an agent serves at most, where the list shows so many.

    `expected` is what was known at the last reading and the sessions since; `unseen` are sessions
    too young to be sure that the list shows them.
    """
    return max(shown, int(min(expected, shown + unseen)))


def room_left(
    room: Mapping[str, int], promised: Mapping[tuple[str, ...], int], *, paused: frozenset[str]
) -> dict[str, int]:
    """`room` of who is not paused, once live requests took their places as workers give them.

    `promised` is how many of them have the same targets; those who find no place wait.
    """
    left = {name: size for name, size in room.items() if name not in paused and size > 0}
    for targets, size in promised.items():
        for _ in range(size):
            taken = next((name for name in _in_turn(targets, left) if left.get(name)), None)
            if taken is None:
                break
            left[taken] -= 1
    return left


def spread(openids: Iterable[str], room: Mapping[str, int]) -> dict[str, str]:
    """The agent for each fan, whoever has most room first, ties by name; for some there is none."""
    places = [(-size, name) for name, size in room.items() if size > 0]
    heapq.heapify(places)
    chosen: dict[str, str] = {}
    for openid in openids:
        if not places:
            break
        size, name = places[0]
        chosen[openid] = name
        if size == -1:
            heapq.heappop(places)
        else:
            heapq.heapreplace(places, (size + 1, name))
    return chosen


def _in_turn(targets: Sequence[str], room: Mapping[str, int]) -> Iterator[str]:
    """The targets; `any` is whoever has most room."""
    for target in targets:
        if target == request.ANY:
            yield min(room, key=lambda name: (-room[name], name), default="")
        else:
            yield target

"""Takes who waits, who is online and what is under way, and decides who goes to whom.

Pure: figures come as arguments.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.contract import request, settings


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

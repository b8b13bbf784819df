"""The waiting room's steps in the ledger: wake what is due, open rooms, remove what is past.

Each takes a bounded number of requests in one atomic script, and says whether there may be more.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

from worker.contract import request
from worker.ledger import claims
from worker.ledger import scripts as lua


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """What one pass over the due ids did."""

    taken: int
    expired: int
    lost_leases: tuple[str, ...]
    ring: Mapping[request.Lane, tuple[str, ...]]
    #: By how much the server's clock was set back since the pass before, whoever made that.
    set_back_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Whom one pass over the rooms let out."""

    has_more: bool
    ring: Mapping[request.Lane, tuple[str, ...]]


class Waiting:
    """What waits in one deployment's ledger; `lease_ms` is how long a claim lasts."""

    def __init__(self, scripts: lua.Scripts, *, lease_ms: int) -> None:
        self._scripts = scripts
        self._lease_ms = lease_ms
        # The server's time at the last pass (ms), and when that was by this process's clock.
        self._told_ms, self._told_at = 0, 0.0

    def wake(self, limit: int) -> Woken:
        """Take up to `limit` due ids: bury, take back, wake, and say whom to ring.

        It also watches the server's clock, on which every lease rests: how long this process
        slept since its last pass tells a long pause from a clock that was set ahead.
        """
        slept_ms = round((time.monotonic() - self._told_at) * 1000) if self._told_ms else 0
        taken, expired, lost, *rings, told_ms, set_back_ms = self._scripts.run(
            "wake", limit, self._lease_ms, self._told_ms, slept_ms
        )
        self._told_ms, self._told_at = int(told_ms), time.monotonic()
        return Woken(
            taken=taken,
            expired=expired,
            lost_leases=tuple(lost),
            ring=_by_lane(rings),
            set_back_seconds=set_back_ms / 1000,
        )

    def open_rooms(self, limit: int, *, rest_seconds: float) -> Opened:
        """Let out of the rooms whose time has come whom their agents can take, about `limit` ids.

        A room whose agents can take nobody is looked into again after `rest_seconds`, unless a
        failed call or a reading says better.
        """
        has_more, *rings = self._scripts.run("open_rooms", limit, round(rest_seconds * 1000))
        return Opened(has_more=bool(has_more), ring=_by_lane(rings))

    def left_queued(
        self, limit: int, taker: claims.Taker = claims.ANYBODY
    ) -> Mapping[request.Lane, tuple[str, ...]]:
        """Up to `limit` ids from the lanes whose first was left for two seconds.

        No more of an account than `taker` has slots for, and nobody of accounts that it leaves to
        others, who ring for them.
        """
        by = (taker.worker, taker.leaves, taker.slots, taker.served)
        return _by_lane(self._scripts.run("left_queued", limit, *by))

    def adopt(self, limit: int) -> bool:
        """Put about `limit` into their lanes whom an older release queued; whether there are more.

        Costs one look at each account where nobody is missing.
        """
        return bool(self._scripts.run("adopt", limit))

    def purge(self, limit: int) -> int:
        """Remove up to `limit` final records whose retention is over; returns how many."""
        return int(self._scripts.run("purge", limit))


def _by_lane(rings: Sequence[Sequence[str]]) -> dict[request.Lane, tuple[str, ...]]:
    return {lane: tuple(ids) for lane, ids in zip(request.Lane, rings, strict=True)}

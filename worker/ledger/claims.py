"""What a worker gets from the ledger, a `Claim`, and hands back to it, a `Settlement`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from worker.contract import record

#: What stands in `out` before a code that nobody knows; no agent's name begins so.
_UNKNOWN_CODE = "?"


def unknown_code_mark(errcode: int) -> str:
    """What stands in `out` for a code that nobody knows."""
    return f"{_UNKNOWN_CODE}{errcode}"


class Holds(StrEnum):
    """What waits together with a request that has to wait."""

    #: Nothing: the request waits alone, until its own wake time.
    REQUEST = "request"
    #: All that ask for the same agents: they stand in one room.
    ROOM = "room"
    #: The whole account; one request probes when the time is over.
    ACCOUNT = "account"
    #: Nothing, since another machine may do it; the whole account where no other one gets through.
    MACHINE = "machine"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """Which worker takes a step, and what it leaves to others."""

    #: Its name in the ledger.
    worker: str = ""
    #: The accounts it leaves to others, as the scripts read them: "|wx1|wx2|", or * for all.
    leaves: str = ""
    #: How many slots its accounts share; 0 where one account has them all.
    slots: int = 0
    #: How many accounts it serves.
    served: int = 1

    @property
    def name(self) -> str:
        """Under which name its slots are counted: the last part of the worker's."""
        return self.worker.rpartition(":")[2]

    def holder(self, delivery: str) -> str:
        """Under which name one delivery's claims stand in the ledger."""
        return f"{self.name}:{delivery}" if self.slots else delivery


#: Somebody who leaves nothing to others.
ANYBODY = Taker()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A leased, fenced right to work on one request, with what the work needs to know."""

    id: str
    #: Refuses the write of a holder whose lease ran out.
    fence: int
    appid: str
    openid: str
    #: Agents in order of preference.
    targets: tuple[str, ...]
    #: Targets found wrong in an earlier delivery, and the mark of a code that nobody knows.
    out: frozenset[str]
    #: The agent that may be called at once; None when the fan must be read back first, or when
    #: nobody can be asked now.
    calling: str | None
    #: The agent who may have been given this fan unseen.
    doubt: str | None
    #: Why it last waited, and how often in a row it, or who tried before it, waited for that.
    reason: record.Reason | None
    strikes: int
    #: Transient and unsure attempts so far, in this generation.
    attempt_count: int
    #: Create calls so far.
    api_calls: int
    #: Failures of our own code in a row.
    crashes: int
    is_cancelled: bool
    #: To the deadline, when it was claimed; negative once it passed.
    seconds_left: float
    #: When the lease ends, on this process's monotonic clock, in seconds.
    lease_ends: float
    #: Why nobody can be asked now; None when somebody can, or when every target is wrong.
    held_for: record.Reason | None = None
    #: Whether its deadline passed before a next target was found.
    is_over: bool = False
    #: Whether reading who is online would help.
    needs_reading: bool = False

    @classmethod
    def parse(cls, row: Sequence[Any], *, lease_ends: float) -> Claim:
        """Read what `claiming.lua` answers."""
        return cls(
            id=row[0],
            fence=int(row[1]),
            appid=row[2],
            openid=row[3],
            targets=tuple(row[4].split("|")),
            out=frozenset(filter(None, row[5].split("|"))),
            calling=row[6] or None,
            doubt=row[7] or None,
            reason=record.reason_of(row[8]),
            attempt_count=int(row[9]),
            api_calls=int(row[10]),
            strikes=int(row[11]),
            crashes=int(row[12]),
            is_cancelled=bool(int(row[13])),
            seconds_left=int(row[14]) / 1000,
            lease_ends=lease_ends,
        )

    @property
    def unknown_code(self) -> int | None:
        """A code nobody knows that an earlier delivery was told."""
        marks = (each for each in self.out if each.startswith(_UNKNOWN_CODE))
        return min((int(each.removeprefix(_UNKNOWN_CODE)) for each in marks), default=None)

    def lease_left_seconds(self) -> float:
        """Seconds until another worker may take this request."""
        return self.lease_ends - time.monotonic()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one step came to: perhaps a claim."""

    claim: Claim | None
    #: Ids of the doorbell that no record stands behind.
    unknown: tuple[str, ...] = ()
    #: Whether nobody was claimed though more may be queued.
    has_more: bool = False
    #: Whether somebody was held who waits for a reading of who is online.
    needs_reading: bool = False
    #: Whether others may leave their rooms, or one is to be rung for other machines, because of it.
    has_stirred: bool = False
    #: The doorbell's ids that are to be rung for other machines.
    passed_on: tuple[str, ...] = ()
    #: The status that was written for the claim; None when it was not ours any more.
    became: str | None = None
    #: False when the claim to settle was not ours any more, so that nothing was written.
    settled: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What a delivery learned about the fan, to be written with its next step."""

    #: As the script reads it: empty keeps what is there, `-` clears, else the agent in doubt.
    mark: str = ""

    @classmethod
    def about(cls, kf_account: str) -> Doubt:
        """The fan may have been given to `kf_account`."""
        return cls(mark=kf_account)

    @classmethod
    def cleared(cls) -> Doubt:
        """It is known who serves the fan."""
        return cls(mark="-")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A delivery's calls and what they taught; absolute numbers, so that writing twice is safe."""

    attempt_count: int
    api_calls: int
    #: New attempts, oldest first; the last one is call number `api_calls`.
    attempts: tuple[record.Attempt, ...] = ()
    doubt: Doubt = Doubt()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a claim: a final status, or `waiting` for `wait_seconds`."""

    status: record.Status
    progress: Progress
    reason: record.Reason | None = None
    wait_seconds: float = 0.0
    #: What waits with it; `strikes` belongs to that.
    holds: Holds = Holds.REQUEST
    served_by: str | None = None
    strikes: int = 0
    crashes: int = 0
    out: frozenset[str] = frozenset()
    #: "errcode errmsg" of what it rests on, where no attempt tells.
    because: str = ""
    #: How long the account is held when this call was one more that hung; None when it did not.
    hanging_seconds: float | None = None
    #: How long that call took, in ms.
    hung_ms: int = 0
    #: With which this worker steps back, see `scripts/machines.lua`; empty where it does not.
    mark: str = ""

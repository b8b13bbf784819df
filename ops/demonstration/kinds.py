"""Names the kinds of fans that a demo shows, and what must become of each."""

from __future__ import annotations

import dataclasses
import enum

from worker.contract import record


class Kind(enum.Enum):
    """What a fan is there to show."""

    ONLINE = "agent online"
    ANY = "any agent will do"
    FALLBACK = "first choice never comes"
    LADDER = "first choice wrong, second offline"
    BREAK = "agent takes a break"
    LATE = "agent comes late"
    FULL = "agent takes two at a time"
    PAUSED = "agent paused by an operator"
    NEVER = "agent never comes"
    SERVED = "served by another agent"
    WRONG_FAN = "unknown openid"
    WRONG_AGENT = "no such agent"
    QUEUE = "waiting in WeChat's queue"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request must end as."""

    status: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.status} ({self.reason})" if self.reason else str(self.status)


#: Every kind that is not named here ends with a session.
_OTHERS = {
    Kind.NEVER: Outcome(status=record.Status.EXPIRED, reason=record.Reason.AGENT_OFFLINE),
    Kind.SERVED: Outcome(status=record.Status.ALREADY_SERVED),
    Kind.WRONG_FAN: Outcome(status=record.Status.FAILED, reason=record.Reason.INVALID_OPENID),
    Kind.WRONG_AGENT: Outcome(status=record.Status.FAILED, reason=record.Reason.INVALID_AGENT),
}
EXPECTED = {kind: _OTHERS.get(kind, Outcome(status=record.Status.CREATED)) for kind in Kind}

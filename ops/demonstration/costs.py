"""Takes the calls of WeChat's book and says what its create calls went to."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ops.simulator import scenario

#: What create says of an agent who is away.
_OFFLINE = 65415


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Create calls: those that opened a session, and what the others went to."""

    sessions: int
    #: Calls that went wrong by a fault, and those that asked again after a lost reply.
    faults: int
    #: Calls for an agent who was away.
    away: int
    #: Calls that WeChat refused for good: a wrong fan or agent, a fan whom another agent serves.
    refused: int

    @property
    def creates(self) -> int:
        """All of them."""
        return self.sessions + self.faults + self.away + self.refused

    @property
    def a_session(self) -> float:
        """Create calls for each session they opened."""
        return self.creates / max(1, self.sessions)


def count(calls: Iterable[Mapping[str, Any]]) -> Costs:
    """What the create calls among `calls` went to."""
    creates = (call for call in calls if call["path"] == scenario.CREATE_PATH)
    went_to = collections.Counter(map(_went_to, creates))
    return Costs(**{each.name: went_to[each.name] for each in dataclasses.fields(Costs)})


def _went_to(call: Mapping[str, Any]) -> str:
    if call["opened"]:
        return "sessions"
    if call["fault"] or call["errcode"] == 0:
        return "faults"
    return "away" if call["errcode"] == _OFFLINE else "refused"

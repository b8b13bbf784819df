"""Receives the name of a fan or an agent and hands on how WeChat treats them.

Steering without a scenario: FANS and AGENTS are the whole table; the first row that matches counts,
everything else is ordinary. N is a number; in a fan's name it may be left out and is 1 then. Each
fault has its fans: N stands behind the first word of its name.
GET /_simulator/names serves the same table.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass

from ops.simulator import bends

#: An openid as WeChat writes it; anything else answers 40003.
OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")
KF_ACCOUNT = re.compile(r"[^@\s]{1,64}@[^@\s]{1,64}")
#: More often than a test would ask.
ALWAYS = 10**9


class Presence(enum.Enum):
    """When an agent is online."""

    #: From the start to the end.
    ALWAYS = "always"
    #: Never.
    NEVER = "never"
    #: From `seconds` after the start.
    LATE = "late"
    #: `seconds` online, `seconds` offline, by turns.
    FLIP = "flip"


@dataclass(frozen=True, slots=True, kw_only=True)
class FanPlan:
    """How one fan's create calls go: `fault` for the first `times` of them."""

    fault: bends.Fault | None = None
    times: int = 0
    #: Answered in place of asking the world; 0 is none.
    errcode: int = 0
    #: The prefix of the agent who serves this fan from the start.
    served_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    """How one agent behaves."""

    presence: Presence = Presence.ALWAYS
    seconds: float = 0.0
    #: What create answers for this agent; 0 is none.
    errcode: int = 0
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: what to write, an example, what it does."""

    name: str
    pattern: re.Pattern[str]
    example: str
    does: str
    fault: bends.Fault | None = None


def _row(name: str, pattern: str, example: str, does: str) -> Row:
    return Row(name, re.compile(pattern), example, does)


def _fault_row(fault: bends.Fault) -> Row:
    first, *rest = fault.name.split("_")
    name, pattern = ("_".join([first + n, *rest, ""]) for n in ("N", r"(\d{0,4})"))
    does = f"{fault.does}, N times"
    return Row(f"{name}…", re.compile(pattern), f"{fault.name}_1", does, fault)


def _fault_rows() -> list[Row]:
    """One a fault; drip_head before drip, whose pattern matches it too."""
    first = sorted(bends.TABLE.values(), key=lambda fault: "_" not in fault.name)
    return [_fault_row(fault) for fault in first]


FANS = (
    _row("wrong_…", r"wrong_", "wrong_1", "40003 always"),
    _row("unknown_…", r"unknown_", "unknown_1", "errcode 99999 always"),
    _row("codeN_…", r"code(\d{1,6})_", "code43004_1", "errcode N always"),
    Row(
        "e502_… e502xN_…",
        re.compile(r"e502(?:x(\d{1,4}))?_"),
        "e502x2_1",
        "HTTP 502, N times",
        bends.TABLE["html_502"],
    ),
    *_fault_rows(),
    _row(
        "served_PREFIX_…",
        r"served_([A-Za-z0-9-]+)_",
        "served_bob_1",
        "agent PREFIX@… serves this fan from the start (the suffix is the asked agent's)",
    ),
)
AGENTS = (
    _row("offline…", r"offline", "offline@shop", "never online: 65415"),
    _row("lateN…", r"late(\d{1,6})", "late30@shop", "online N seconds after the start"),
    _row("liar…", r"liar", "liar1@shop", "in the list of who is online, and 65415 when asked"),
    _row("flipN…", r"flip(\d{1,6})", "flip10@shop", "online N s, offline N s, by turns"),
    _row("wrong…", r"wrong", "wrong@shop", "no such agent: 65401"),
    _row("unbound…", r"unbound", "unbound@shop", "not bound to a WeChat user: 65402"),
    _row("capN…", r"cap(\d{1,6})", "cap3@shop", "lists auto_accept N; create does not care"),
)


@functools.lru_cache(maxsize=4096)
def fan(openid: str) -> FanPlan:
    """How the fan of this openid is treated."""
    for row in FANS:
        if match := row.pattern.match(openid):
            return _fan_plan(row, match.group(1) if row.pattern.groups else "")
    return FanPlan()


def _fan_plan(row: Row, argument: str | None) -> FanPlan:
    if row.fault is not None:
        return FanPlan(fault=row.fault, times=int(argument or 1))
    if row.name.startswith("served_"):
        return FanPlan(served_by=argument or "")
    fixed = {"wrong_…": 40003, "unknown_…": 99999}
    return FanPlan(errcode=fixed.get(row.name) or int(argument or 0))


def agent(kf_account: str) -> AgentPlan:
    """How the agent of this name behaves."""
    for row in AGENTS:
        if match := row.pattern.match(kf_account):
            return _agent_plan(row.name, int(match.group(1)) if row.pattern.groups else 0)
    return AgentPlan()


def _agent_plan(name: str, number: int) -> AgentPlan:
    match name:
        case "offline…":
            return AgentPlan(presence=Presence.NEVER)
        case "lateN…":
            return AgentPlan(presence=Presence.LATE, seconds=number)
        case "flipN…":
            return AgentPlan(presence=Presence.FLIP, seconds=number)
        case "liar…":
            return AgentPlan(errcode=65415)
        case "wrong…":
            return AgentPlan(presence=Presence.NEVER, errcode=65401)
        case "unbound…":
            return AgentPlan(presence=Presence.NEVER, errcode=65402)
        case _:
            return AgentPlan(capacity=number)


def table() -> dict[str, list[dict[str, str]]]:
    """The whole table, as GET /_simulator/names serves it."""
    return {
        kind: [{"name": row.name, "example": row.example, "does": row.does} for row in rows]
        for kind, rows in (("fans", FANS), ("agents", AGENTS))
    }

"""Takes a number of fans and a seed, and hands on who comes when, and what must become of each.

Everything follows from the seed. The faults strike at random too, but WeChat's simulator draws them
from seed, fan and call alone, so that fans can be picked whose outcome no fault can change.
"""

from __future__ import annotations

import dataclasses
import enum
import random

from ops.simulator import faults, scenario
from worker.contract import record, request

#: Fewer fans than this cannot be of every kind.
LEAST_FANS = 12
MOST_FANS = 1000

#: The fans arrive within so many seconds.
ARRIVAL_SECONDS = 10.0
#: When the late agent signs in, and from when to when another one is away.
LATE_SECONDS = 12.0
BREAK_SECONDS = (3.0, 14.0)
#: The life of a request whose agent never comes.
SHORT_TTL_SECONDS = 10.0
#: More faults in a row than this no fan gets: waiting for them would take the demo too long.
MOST_FAULTS_IN_A_ROW = 2

_ANNA, _BERT, _CARL = "anna@demo", "bert@demo", "carl@demo"
_DORA, _LATE, _NEVER = "dora@demo", "emil@demo", "fred@demo"
_WRONG = "wrong@demo"

#: Chances for a call to go wrong, as a scenario writes them.
_FAULTS = {
    "busy": 0.06,
    "html_502": 0.02,
    "cut_before": 0.02,
    "cut_after": 0.04,
    "lied": 0.02,
    "hang": 0.01,
    "garbage": 0.01,
}
#: So many of a fan's calls are looked at for faults; none makes more.
_DRAWS = 16


class Kind(enum.Enum):
    """What a fan is there to show."""

    ONLINE = "agent online"
    ANY = "any agent will do"
    FALLBACK = "first choice never comes"
    BREAK = "agent takes a break"
    LATE = "agent comes late"
    NEVER = "agent never comes"
    SERVED = "served by another agent"
    WRONG_FAN = "unknown openid"
    WRONG_AGENT = "no such agent"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request must end as."""

    status: record.Status
    reason: record.Reason | None = None

    def __str__(self) -> str:
        return f"{self.status} ({self.reason})" if self.reason else str(self.status)


_CREATED = Outcome(status=record.Status.CREATED)
EXPECTED = {
    Kind.ONLINE: _CREATED,
    Kind.ANY: _CREATED,
    Kind.FALLBACK: _CREATED,
    Kind.BREAK: _CREATED,
    Kind.LATE: _CREATED,
    Kind.NEVER: Outcome(status=record.Status.EXPIRED, reason=record.Reason.AGENT_OFFLINE),
    Kind.SERVED: Outcome(status=record.Status.ALREADY_SERVED),
    Kind.WRONG_FAN: Outcome(status=record.Status.FAILED, reason=record.Reason.INVALID_OPENID),
    Kind.WRONG_AGENT: Outcome(status=record.Status.FAILED, reason=record.Reason.INVALID_AGENT),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """One fan: when they come, what they ask for, and which kind they are."""

    kind: Kind
    openid: str
    kf_account: str
    arrives_at: float
    lane: request.Lane
    fallbacks: tuple[str, ...] = ()
    ttl_seconds: float | None = None

    def wish(self) -> request.SessionRequest:
        """The request for this fan."""
        return request.SessionRequest(
            openid=self.openid,
            kf_account=self.kf_account,
            fallbacks=self.fallbacks,
            lane=self.lane,
            ttl_seconds=self.ttl_seconds,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An agent signs in or out."""

    at: float
    kf_account: str
    online: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole course of a demo; times in seconds since the doors opened."""

    seed: int
    fans: tuple[Fan, ...]
    switches: tuple[Switch, ...]
    #: The simulator's scenario, as TOML.
    scenario: str


def make(fans: int, seed: int) -> Plan:
    """The plan of this seed."""
    text = _scenario(seed)
    chances = faults.chances(scenario.parse(text).faults)
    # Not for secrets: the same seed must give the same plan.
    chance = random.Random(seed)  # noqa: S311
    return Plan(
        seed=seed,
        fans=tuple(
            sorted(
                (_fan(kind, number, seed, chance, chances) for number, kind in _kinds(fans)),
                key=lambda fan: fan.arrives_at,
            )
        ),
        switches=(
            Switch(at=BREAK_SECONDS[0], kf_account=_DORA, online=False),
            Switch(at=LATE_SECONDS, kf_account=_LATE, online=True),
            Switch(at=BREAK_SECONDS[1], kf_account=_DORA, online=True),
        ),
        scenario=text,
    )


def _kinds(fans: int) -> list[tuple[int, Kind]]:
    """One of each odd kind, shares of some others, the rest ordinary; numbered."""
    shares = {
        Kind.SERVED: 1,
        Kind.WRONG_FAN: 1,
        Kind.WRONG_AGENT: 1,
        Kind.ANY: max(1, fans // 10),
        Kind.FALLBACK: max(1, fans // 12),
        Kind.NEVER: max(1, fans // 10),
        Kind.BREAK: max(1, fans // 8),
        Kind.LATE: max(1, fans // 8),
    }
    shares[Kind.ONLINE] = fans - sum(shares.values())
    return list(enumerate((kind for kind, share in shares.items() for _ in range(share)), start=1))


def _fan(kind: Kind, number: int, seed: int, chance: random.Random, chances: faults.Chances) -> Fan:
    return Fan(
        kind=kind,
        openid=_openid(kind, number, seed, chance, chances),
        kf_account=_first_choice(kind, chance),
        fallbacks=(chance.choice((_ANNA, _BERT, _CARL)),) if kind is Kind.FALLBACK else (),
        arrives_at=chance.uniform(0, ARRIVAL_SECONDS),
        lane=request.Lane.BATCH if chance.random() < 1 / 3 else request.Lane.ESCALATION,
        ttl_seconds=SHORT_TTL_SECONDS if kind is Kind.NEVER else None,
    )


def _first_choice(kind: Kind, chance: random.Random) -> str:
    match kind:
        case Kind.ANY:
            return request.ANY
        case Kind.FALLBACK | Kind.NEVER:
            return _NEVER
        case Kind.BREAK:
            return _DORA
        case Kind.LATE:
            return _LATE
        case Kind.WRONG_AGENT:
            return _WRONG
        case Kind.SERVED:
            return _ANNA
        case _:
            return chance.choice((_ANNA, _BERT, _CARL))


def _openid(
    kind: Kind, number: int, seed: int, chance: random.Random, chances: faults.Chances
) -> str:
    """A name that the simulator treats as this kind, and that no long row of faults strikes."""
    prefix = {Kind.SERVED: "served_bert", Kind.WRONG_FAN: "wrong"}.get(kind, "fan")
    # A fault in the last moments of a short life would be what the request waited for at its end.
    most = 0 if kind is Kind.NEVER else MOST_FAULTS_IN_A_ROW
    while True:
        openid = f"{prefix}_{number:03d}_{chance.getrandbits(32):08x}"
        if faults_in_a_row(openid, seed, chances) <= most:
            return openid


def faults_in_a_row(openid: str, seed: int, chances: faults.Chances) -> int:
    """The longest row of a fan's calls that go wrong one after the other."""
    longest = row = 0
    for number in range(_DRAWS):
        row = row + 1 if faults.draw(chances, seed, openid, number) else 0
        longest = max(longest, row)
    return longest


def _scenario(seed: int) -> str:
    agents = {_ANNA: True, _BERT: True, _CARL: True, _DORA: True, _LATE: False, _NEVER: False}
    rows = [
        f'[[agents]]\nkf_account = "{name}"\nonline = {str(online).lower()}\n'
        for name, online in agents.items()
    ]
    chances = "".join(f"{fault} = {chance}\n" for fault, chance in _FAULTS.items())
    return (
        "# Written by `kfsession demo`; `kfsession simulate --scenario` reads it too.\n"
        f"seed = {seed}\nlatency_ms = [20, 120]\npresence_lag_seconds = 1\n\n"
        f'[[accounts]]\nappid = "{scenario.DEFAULT_APPID}"\nsuffix = "demo"\n\n'
        + "\n".join(rows)
        + f"\n[faults]\n{chances}"
    )

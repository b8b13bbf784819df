"""Takes a number of fans and a seed, and hands on who comes when, and what must become of each.

Everything follows from the seed. The faults strike at random too, but WeChat's simulator draws them
from seed, fan and call alone, so that fans can be picked whose outcome no fault can change.
"""

from __future__ import annotations

import dataclasses
import enum
import random

from ops.demonstration import cast, kinds
from ops.simulator import faults, scenario
from worker.contract import request

#: Fewer fans than this cannot be of every kind.
LEAST_FANS = 16
MOST_FANS = 1000

#: The fans arrive within so many seconds.
ARRIVAL_SECONDS = 10.0
#: Those who wait for room, or for a pause to end, come early; those in the queue are there.
_ARRIVE_WITHIN = {kinds.Kind.FULL: 3.0, kinds.Kind.PAUSED: 6.0, kinds.Kind.QUEUE: 0.0}
#: When the late agent signs in, and from when to when one is away, another one paused.
LATE_SECONDS = 12.0
BREAK_SECONDS = (3.0, 14.0)
PAUSE_SECONDS = (0.0, 9.0)
#: The life of a request whose agent never comes.
SHORT_TTL_SECONDS = 8.0
#: A fan of the agent who takes few at a time leaves again after so long.
SESSION_SECONDS = 2.0
#: More faults in a row than this no fan gets: waiting for them would take the demo too long.
MOST_FAULTS_IN_A_ROW = 2

#: So many of a fan's calls are looked at for faults; none makes more.
_DRAWS = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """One fan: when they come, what they ask for, and which kind they are."""

    kind: kinds.Kind
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


class Turn(enum.Enum):
    """What happens to an agent."""

    #: Signs in at WeChat.
    COMES = "comes"
    #: Signs out.
    LEAVES = "leaves"
    #: An operator holds what is meant for the agent.
    PAUSED = "paused"
    #: The operator lets it go.
    RESUMED = "resumed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An agent's turn, and when."""

    at: float
    kf_account: str
    turn: Turn


#: What happens to agents, in its order.
SWITCHES = (
    Switch(at=PAUSE_SECONDS[0], kf_account=cast.HUGO, turn=Turn.PAUSED),
    Switch(at=BREAK_SECONDS[0], kf_account=cast.DORA, turn=Turn.LEAVES),
    Switch(at=PAUSE_SECONDS[1], kf_account=cast.HUGO, turn=Turn.RESUMED),
    Switch(at=LATE_SECONDS, kf_account=cast.EMIL, turn=Turn.COMES),
    Switch(at=BREAK_SECONDS[1], kf_account=cast.DORA, turn=Turn.COMES),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole course of a demo; times in seconds since the doors opened."""

    seed: int
    #: Those for whom somebody submits a request, in the order of their arrival.
    fans: tuple[Fan, ...]
    #: Those who wait in WeChat's own queue until `kfsession route` finds them.
    queue: tuple[Fan, ...]
    #: The simulator's scenario, as TOML.
    scenario: str


def make(fans: int, seed: int) -> Plan:
    """The plan of this seed."""
    chances = faults.chances(scenario.parse(cast.simulator_toml(seed)).faults)
    # Not for secrets: the same seed must give the same plan.
    chance = random.Random(seed)  # noqa: S311
    everybody = [_fan(kind, number, seed, chance, chances) for number, kind in _kinds(fans)]
    queue = tuple(fan for fan in everybody if fan.kind is kinds.Kind.QUEUE)
    coming = (fan for fan in everybody if fan.kind is not kinds.Kind.QUEUE)
    return Plan(
        seed=seed,
        fans=tuple(sorted(coming, key=lambda fan: fan.arrives_at)),
        queue=queue,
        scenario=cast.simulator_toml(seed, [fan.openid for fan in queue]),
    )


def _kinds(fans: int) -> list[tuple[int, kinds.Kind]]:
    """One of each odd kind, shares of some others, the rest ordinary; then the queue; numbered."""
    shares = {
        kinds.Kind.SERVED: 1,
        kinds.Kind.WRONG_FAN: 1,
        kinds.Kind.WRONG_AGENT: 1,
        # More than fit at once, but not so many that all others wait for the last of them.
        kinds.Kind.FULL: min(6, max(4, fans // 10)),
        kinds.Kind.ANY: max(1, fans // 10),
        kinds.Kind.FALLBACK: max(1, fans // 15),
        kinds.Kind.LADDER: max(1, fans // 15),
        kinds.Kind.NEVER: max(1, fans // 10),
        kinds.Kind.BREAK: max(1, fans // 10),
        kinds.Kind.LATE: max(1, fans // 10),
        kinds.Kind.PAUSED: max(1, fans // 12),
    }
    shares[kinds.Kind.ONLINE] = fans - sum(shares.values())
    shares[kinds.Kind.QUEUE] = fans // 3
    return list(enumerate((kind for kind, share in shares.items() for _ in range(share)), start=1))


def _fan(
    kind: kinds.Kind, number: int, seed: int, chance: random.Random, chances: faults.Chances
) -> Fan:
    first, *fallbacks = _targets(kind, chance)
    return Fan(
        kind=kind,
        openid=_openid(kind, number, seed, chance, chances),
        kf_account=first,
        fallbacks=tuple(fallbacks),
        arrives_at=chance.uniform(0, _ARRIVE_WITHIN.get(kind, ARRIVAL_SECONDS)),
        lane=request.Lane.BATCH if chance.random() < 1 / 3 else request.Lane.ESCALATION,
        ttl_seconds=SHORT_TTL_SECONDS if kind is kinds.Kind.NEVER else None,
    )


def _targets(kind: kinds.Kind, chance: random.Random) -> tuple[str, ...]:
    match kind:
        case kinds.Kind.ANY | kinds.Kind.QUEUE:
            return (request.ANY,)
        case kinds.Kind.FALLBACK:
            return (cast.FRED, chance.choice(cast.ALWAYS))
        case kinds.Kind.LADDER:
            return (cast.WRONG, cast.FRED, chance.choice(cast.ALWAYS))
        case kinds.Kind.BREAK:
            return (cast.DORA,)
        case kinds.Kind.LATE:
            return (cast.EMIL,)
        case kinds.Kind.FULL:
            return (cast.GINA,)
        case kinds.Kind.PAUSED:
            return (cast.HUGO,)
        case kinds.Kind.NEVER:
            return (cast.FRED,)
        case kinds.Kind.WRONG_AGENT:
            return (cast.WRONG,)
        case kinds.Kind.SERVED:
            return (cast.ANNA,)
        case _:
            return (chance.choice(cast.ALWAYS),)


#: Begins of openids, by which the simulator knows what to make of a fan.
_PREFIXES = {
    kinds.Kind.SERVED: "served_bert",
    kinds.Kind.WRONG_FAN: "wrong",
    kinds.Kind.QUEUE: "queue",
}


def _openid(
    kind: kinds.Kind, number: int, seed: int, chance: random.Random, chances: faults.Chances
) -> str:
    """A name that the simulator treats as this kind, and that no long row of faults strikes."""
    # A fault in the last moments of a short life would be what the request waited for at its end.
    most = 0 if kind is kinds.Kind.NEVER else MOST_FAULTS_IN_A_ROW
    while True:
        openid = f"{_PREFIXES.get(kind, 'fan')}_{number:03d}_{chance.getrandbits(16):04x}"
        if faults_in_a_row(openid, seed, chances) <= most:
            return openid


def faults_in_a_row(openid: str, seed: int, chances: faults.Chances) -> int:
    """The longest row of a fan's calls that go wrong one after the other."""
    longest = row = 0
    for number in range(_DRAWS):
        row = row + 1 if faults.draw(chances, seed, openid, number) else 0
        longest = max(longest, row)
    return longest

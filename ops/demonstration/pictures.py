"""Takes a running system and hands on a picture of it: agents, states, and who waits for whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ops.demonstration import plan, system
from ops.simulator import scenario
from worker.contract import record
from worker.ledger import agents


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one fan's request; `at` in seconds since the doors opened."""

    at: float
    fan: plan.Fan
    status: str
    reason: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent: online and serving as WeChat sees it, the rest as the workers do."""

    kf_account: str
    is_online: bool
    is_paused: bool
    serving: int
    #: How many fans more may go to this agent now; None is no limit.
    room: int | None
    #: How many requests in rooms would do with this agent.
    waiting: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The whole at one moment; `elapsed` in seconds since the doors opened."""

    elapsed: float
    #: The fans who come, how many have come, and all, those of WeChat's own queue too.
    fans: int
    arrived: int
    everybody: int
    #: How many wait in WeChat's own queue.
    queue: int
    #: Requests by state, and there by lane or reason.
    counts: Mapping[record.Status, Mapping[str, int]]
    agents: tuple[Agent, ...]
    newest: tuple[Event, ...]

    @property
    def over(self) -> int:
        """How many have their outcome."""
        return sum(self.of(status) for status in record.FINAL)

    def of(self, status: record.Status) -> int:
        """How many requests are in this state."""
        return sum(self.counts[status].values())


def take(
    running: system.System,
    chosen: plan.Plan,
    *,
    elapsed: float,
    arrived: int,
    newest: tuple[Event, ...],
) -> Picture:
    """The system as it stands."""
    with running.producer.reading() as reads:
        counts = reads.counts()
        account, rooms = reads.account(scenario.DEFAULT_APPID), reads.rooms(scenario.DEFAULT_APPID)
    known = {agent.kf_account: agent for agent in account.agents}
    return Picture(
        elapsed=elapsed,
        fans=len(chosen.fans),
        arrived=arrived,
        everybody=len(chosen.fans) + len(chosen.queue),
        queue=running.wechat.queue(),
        counts=counts,
        agents=tuple(
            Agent(
                kf_account=seen.kf_account,
                is_online=seen.online,
                is_paused=seen.kf_account in account.paused,
                serving=seen.serving,
                room=_room(known.get(seen.kf_account), seen.serving),
                waiting=sum(size for names, size in rooms.items() if seen.kf_account in names),
            )
            for seen in running.wechat.agents()
        ),
        newest=newest,
    )


def _room(known: agents.Agent | None, serving: int) -> int | None:
    """Capacity less serving, as the workers count it: WeChat's list lags behind the truth.

    They read the list only while somebody waits; `serving` is the truth.
    """
    if known is None or known.capacity is None:
        return None
    return max(0, known.capacity - (serving if known.serving is None else known.serving))

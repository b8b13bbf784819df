"""Takes a plan and a running system, lets fans arrive and agents come and go, and looks on."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterator

from ops.demonstration import plan, simulated, system
from worker.contract import record

#: The demo ends by itself after so many seconds, whatever happened.
MOST_SECONDS = 55.0
#: Time between two looks at the whole, in seconds.
LOOK_SECONDS = 0.25
#: How many events a picture shows.
NEWEST = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one fan's request."""

    at: float
    fan: plan.Fan
    status: record.Status
    reason: record.Reason | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The whole at one moment; `elapsed` in seconds since the doors opened."""

    elapsed: float
    fans: int
    arrived: int
    counts: dict[record.Status, int]
    agents: tuple[simulated.Agent, ...]
    newest: tuple[Event, ...]

    @property
    def over(self) -> int:
        """How many fans have their outcome."""
        return sum(size for status, size in self.counts.items() if status.is_final)


class Course:
    """One demo under way; `ids` are the requests of the fans who have arrived."""

    def __init__(self, chosen: plan.Plan, running: system.System) -> None:
        self.ids: dict[str, plan.Fan] = {}
        self._plan = chosen
        self._running = running
        self._waiting = collections.deque(chosen.fans)
        self._switches = collections.deque(chosen.switches)
        self._newest: collections.deque[Event] = collections.deque(maxlen=NEWEST)
        self._position = "0"

    def run(self) -> Iterator[Picture]:
        """A picture every now and then, the last one when all is over or the time is up.

        Raises PartFailed when a part ended by itself.
        """
        opened, opened_at = time.monotonic(), time.time()
        while True:
            elapsed = time.monotonic() - opened
            self._running.check()
            self._let_in(elapsed)
            self._switch(elapsed)
            seen = self._look(elapsed, opened_at)
            yield seen
            if seen.over == seen.fans or elapsed > MOST_SECONDS:
                return
            time.sleep(LOOK_SECONDS)

    def _let_in(self, elapsed: float) -> None:
        while self._waiting and self._waiting[0].arrives_at <= elapsed:
            fan = self._waiting.popleft()
            self.ids[self._running.producer.submit(fan.wish()).id] = fan

    def _switch(self, elapsed: float) -> None:
        while self._switches and self._switches[0].at <= elapsed:
            due = self._switches.popleft()
            self._running.wechat.switch(due.kf_account, online=due.online)

    def _look(self, elapsed: float, opened_at: float) -> Picture:
        for event in self._running.producer.events(self._position):
            self._position = event.position
            at = event.at.timestamp() - opened_at
            self._newest.append(
                Event(at=at, fan=self.ids[event.id], status=event.status, reason=event.reason)
            )
        with self._running.producer.reading() as reads:
            counts = reads.counts()
        return Picture(
            elapsed=elapsed,
            fans=len(self._plan.fans),
            arrived=len(self.ids),
            counts={status: sum(sizes.values()) for status, sizes in counts.items()},
            agents=tuple(self._running.wechat.agents()),
            newest=tuple(self._newest),
        )

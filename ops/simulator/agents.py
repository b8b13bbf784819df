"""Receives an agent's name, switches and fans; hands on how it is at a moment: online, serving."""

from __future__ import annotations

import math
from collections import deque

from ops.simulator import names, scenario


class Agent:
    """One customer-service account, as one Official Account knows it."""

    def __init__(self, kf_account: str, kf_id: str | int, chosen: scenario.Agent | None) -> None:
        self.kf_account = kf_account
        self.plan = names.agent(kf_account)
        self.kf_id = chosen.kf_id if chosen and chosen.kf_id else kf_id
        self.capacity = chosen.capacity if chosen and chosen.capacity else self.plan.capacity
        self.fans: set[str] = set()
        self.max_serving = 0
        self._schedule = chosen.schedule if chosen else ()
        self._online = chosen.online if chosen else None
        self._switches: list[tuple[float, bool]] = []
        #: From which moment on it served how many; of what is past, only what may be asked for.
        self._loads: deque[tuple[float, int]] = deque([(-math.inf, 0)])

    def switch(self, at: float, is_online: bool) -> None:
        """From now on, by hand: online or offline; the schedule is over."""
        self._switches.append((at, is_online))

    def is_online(self, at: float, started_at: float) -> bool:
        """Whether the agent is online at the moment `at`; before the start counts as the start."""
        for since, is_online in reversed(self._switches):
            if since <= at:
                return is_online
        elapsed = max(0.0, at - started_at)
        if self._schedule:
            return any(first <= elapsed < last for first, last in self._schedule)
        if self._online is not None:
            return self._online
        return _by_name(self.plan, elapsed)

    def take(self, at: float, openid: str) -> None:
        """Serve one more fan."""
        self.fans.add(openid)
        self.max_serving = max(self.max_serving, len(self.fans))
        self._loads.append((at, len(self.fans)))

    def leave(self, at: float, openid: str) -> None:
        """Serve one fan less."""
        self.fans.discard(openid)
        self._loads.append((at, len(self.fans)))

    def serving(self, at: float) -> int:
        """How many fans it served at the moment `at`; whoever asks again asks for a later one."""
        while len(self._loads) > 1 and self._loads[1][0] <= at:
            self._loads.popleft()
        return self._loads[0][1]


def _by_name(plan: names.AgentPlan, elapsed: float) -> bool:
    match plan.presence:
        case names.Presence.ALWAYS:
            return True
        case names.Presence.NEVER:
            return False
        case names.Presence.LATE:
            return elapsed >= plan.seconds
        case names.Presence.FLIP:
            return plan.seconds <= 0 or int(elapsed // plan.seconds) % 2 == 0

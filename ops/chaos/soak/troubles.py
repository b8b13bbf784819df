"""Takes a running system and breaks something of it all the time, each thing at its own interval.

Workers are killed, Valkey freezes, connections are cut, tokens expire, the main agent leaves.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable

from ops.chaos import stack, trial

#: How long Valkey answers nothing, in seconds.
FROZEN_SECONDS = 2.0
#: Which part of the time between two leaves the agent is away.
AWAY_SHARE = 1 / 6
#: Chances that a call goes wrong, and which calls.
_FAULTS = {
    "busy": 0.02,
    "html_502": 0.005,
    "cut_before": 0.005,
    "cut_after": 0.005,
    "lied": 0.005,
    "hang": 0.002,
    "garbage": 0.005,
}
_PATHS = ("/customservice/kfsession/create", "/customservice/kfsession/getsession")

SCENARIO = (
    "[faults]\n"
    + "".join(f"{name} = {chance}\n" for name, chance in _FAULTS.items())
    + f"paths = {json.dumps(_PATHS)}\n"
)


class Workers:
    """One worker that lives all the time, and one that is killed again and again."""

    def __init__(self, running: stack.Stack) -> None:
        self.kept = running.start_worker()
        self.killed = running.start_worker()
        self._running = running

    def kill_one(self) -> None:
        """SIGKILL, and another in its place."""
        self.killed.child.kill()
        self.killed = self._running.start_worker()


@dataclasses.dataclass(slots=True)
class _Action:
    name: str
    #: Seconds since the trouble began.
    next_at: float
    every: float
    act: Callable[[], None]


class Trouble:
    """What happens to `running` while its time is not over."""

    def __init__(
        self,
        running: stack.Stack,
        workers: Workers,
        *,
        kill_every: float,
        freeze_every: float,
        leave_every: float,
        tokens_every: float,
    ) -> None:
        #: How often each thing happened.
        self.counts: Counter[str] = Counter()
        #: When each happened, in seconds since the trouble began, and what.
        self.moments: list[tuple[float, str]] = []
        self._running = running
        self._valkey = valkey_pid(running)
        self._actions = [
            _Action("kills", kill_every, kill_every, workers.kill_one),
            _Action("freezes", freeze_every, freeze_every, self._freeze),
            _Action("cuts", freeze_every / 2, freeze_every, self._cut),
            _Action("tokens_expired", tokens_every, tokens_every, self._expire_tokens),
            _Action("leaves", leave_every / 2, leave_every, self._leave),
            _Action("returns", leave_every * (1 / 2 + AWAY_SHARE), leave_every, self._return),
        ]

    def run(self, is_over: threading.Event) -> None:
        """Do each thing when its time has come; at the end the agent is there."""
        started = time.monotonic()
        while True:
            action = min(self._actions, key=lambda each: each.next_at)
            if is_over.wait(max(0.0, started + action.next_at - time.monotonic())):
                self._return()
                return
            self.moments.append((round(time.monotonic() - started, 1), action.name))
            action.act()
            self.counts[action.name] += 1
            action.next_at += action.every

    def _freeze(self) -> None:
        os.kill(self._valkey, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_SECONDS)
        finally:
            os.kill(self._valkey, signal.SIGCONT)

    def _cut(self) -> None:
        """Cut all connections but the one that says so."""
        for kind in ("normal", "pubsub"):
            self._running.client.client_kill_filter(_type=kind, skipme=True)

    def _leave(self) -> None:
        self._running.simulator.switch(trial.AGENT, online=False)

    def _return(self) -> None:
        self._running.simulator.switch(trial.AGENT, online=True)

    def _expire_tokens(self) -> None:
        url = f"{self._running.simulator.url}/_simulator/tokens/expire"
        urllib.request.urlopen(url, b"{}", timeout=30).close()  # noqa: S310 - ours, on this machine


def valkey_pid(running: stack.Stack) -> int:
    """Which process the system's Valkey is."""
    return int(running.client.info("server")["process_id"])

"""Takes fans and an agent who is away, brings the agent back, and hands on what WeChat's book says.

Shared by the benchmarks in which everybody waits for one agent.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

from ops.bench import figures
from ops.chaos import stack, trial
from ops.simulator import scenario
from worker.contract import record

PRESENCE_PATH = "/cgi-bin/customservice/getonlinekflist"
#: Most create calls a session, offline spells included.
MOST_CALLS_A_SESSION = 1.15
#: Who polls a busy simulator does so with care, in seconds.
_LOOK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What WeChat's book says of the whole run; `first` and `last` session in seconds after the
    agent was back.
    """

    sessions: int
    create_calls: int
    presence_reads: int
    max_serving: int
    first_seconds: float
    last_seconds: float
    #: From the first request until the book was read.
    elapsed_seconds: float

    @property
    def calls_a_session(self) -> float:
        """Create calls for each session that was opened."""
        return self.create_calls / self.sessions

    def judge(self, given: argparse.Namespace) -> figures.Figures:
        """Print what every run is measured by."""
        judged = figures.Figures()
        most_reads = self.elapsed_seconds / given.presence_seconds + 2
        judged.at_least("sessions", self.sessions, given.fans)
        judged.at_most("create_calls_a_session", self.calls_a_session, MOST_CALLS_A_SESSION)
        judged.at_most("presence_reads", self.presence_reads, round(most_reads, 1))
        return judged


@contextlib.contextmanager
def away(
    given: argparse.Namespace, *, keys: str = "", agent_capacity: int = 0
) -> Iterator[stack.Stack]:
    """Everything but workers, with the agent away; `keys` are the simulator's, besides."""
    agent = f'[[agents]]\nkf_account = "{trial.AGENT}"\nonline = false\ncapacity = {agent_capacity}'
    with stack.Stack(
        latency_ms=given.latency_ms,
        scenario=f"{keys}\n{agent}",
        concurrency=given.slots,
        presence_seconds=given.presence_seconds,
        agent_capacity=agent_capacity,
    ) as running:
        yield running


def play(running: stack.Stack, given: argparse.Namespace) -> Story:
    """The whole run with our workers."""
    for _ in range(given.workers):
        running.start_worker()
    return tell(
        running,
        given,
        send=lambda: running.send_batch(given.fans, seconds=given.patience),
        is_over=lambda: running.count(record.Status.CREATED) >= given.fans,
    )


def tell(
    running: stack.Stack,
    given: argparse.Namespace,
    *,
    send: Callable[[], None],
    is_over: Callable[[], bool],
) -> Story:
    """Send the fans, bring the agent back after `given.away` seconds, wait until it is over."""
    began_at = time.time()
    send()
    time.sleep(max(0.0, began_at + given.away - time.time()))
    returned_at = time.time()
    running.simulator.switch(trial.AGENT, online=True)
    what = "all sessions are open"
    trial.poll(is_over, seconds=given.patience, what=what, every=_LOOK_SECONDS)
    return _read(running.simulator, began_at, returned_at)


def _read(simulator: stack.Simulator, began_at: float, returned_at: float) -> Story:
    counts = simulator.summary()
    until = time.time()
    opened = [each["opened_at"] / 1000 for each in simulator.book(scenario.CREATE_PATH)["sessions"]]
    return Story(
        sessions=counts["sessions_opened"],
        create_calls=counts["calls_by_path"].get(scenario.CREATE_PATH, 0),
        presence_reads=counts["calls_by_path"].get(PRESENCE_PATH, 0),
        max_serving=max(agent["max_serving"] for agent in counts["agents"]),
        first_seconds=round(min(opened) - returned_at, 3),
        last_seconds=round(max(opened) - returned_at, 3),
        elapsed_seconds=round(until - began_at, 1),
    )


def parser(name: str) -> argparse.ArgumentParser:
    """The options that every run has."""
    made = argparse.ArgumentParser(prog=f"python -m ops.bench.{name}")
    made.add_argument("--fans", type=int, default=1000)
    made.add_argument("--away", type=float, default=60.0, help="seconds until the agent is back")
    made.add_argument("--presence-seconds", type=float, default=5.0, help="between two readings")
    made.add_argument("--workers", type=int, default=1, help="processes")
    made.add_argument("--slots", type=int, default=64, help="calls at the same time, of a process")
    made.add_argument("--latency-ms", type=float, default=50.0)
    made.add_argument("--patience", type=float, default=600.0, help="seconds")
    made.add_argument(
        "--slack", type=float, default=0.0, help="seconds that a busy machine may be late"
    )
    return made

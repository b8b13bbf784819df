"""Counts what a session takes in round trips to Redis: `python -m ops.bench.round_trips`.

For sessions that are created at once, that take one retry, and that wait for an agent who comes
online. Expected: at most 2 round trips for the first. All that a worker asks for is counted,
Celery's part and the waiting room's too, less what it asks for when nothing is queued; `asked`
tells how. The requests are written before it is counted, while the worker is frozen.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time

from ops.bench import asked, figures, rates
from ops.chaos import stack, trial
from worker.contract import record

#: The simulator answers -1 once to a fan who is called so.
_BUSY_ONCE = "busy1_"
#: After the last reply its session is settled within so many seconds.
_AFTER_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a session that is created at once takes more than it may."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    judged = figures.Figures()
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=given.latency_ms,
            concurrency=given.slots,
            presence_seconds=given.presence_seconds,
        ) as running,
    ):
        worker = running.start_worker()
        _count(running, worker, given)  # what is asked only once
        idle = _count_idle(running, given)
        at_once = _count(running, worker, given)
        retried = _count(running, worker, given, steer=_BUSY_ONCE)
        waited = _count(running, worker, given, away=given.away)
        judged.at_least("sessions", running.count(record.Status.CREATED), 4 * given.fans)
    round_trips = _tell("at_once", at_once, idle, given)
    _tell("one_retry", retried, idle, given)
    _tell("waited", waited, idle, given)
    judged.at_most("round_trips_at_once", round(round_trips, 2), given.most_round_trips)
    return judged.exit_status


def _count_idle(running: stack.Stack, given: argparse.Namespace) -> asked.Asked:
    watch = asked.Watch(running.client)
    time.sleep(given.idle)
    idle = watch.end()
    trial.show(
        idle_round_trips=f"{idle.round_trips / idle.seconds:.1f} a second",
        idle_commands=_listed(idle.scripts + idle.commands, each=idle.seconds),
    )
    return idle


def _count(
    running: stack.Stack,
    worker: stack.Worker,
    given: argparse.Namespace,
    *,
    steer: str = "",
    away: float = 0.0,
) -> asked.Asked:
    """Open sessions for fans whom nobody has met; the agent comes after `away` seconds."""
    opened = running.simulator.summary()["sessions_opened"]
    running.simulator.switch(trial.AGENT, online=not away)
    worker.child.freeze()
    rates.submit(running, range(opened, opened + given.fans), steer=steer)
    watch = asked.Watch(running.client)
    worker.child.thaw()
    if away:
        time.sleep(away)
        running.simulator.switch(trial.AGENT, online=True)
    trial.poll(
        lambda: running.simulator.summary()["sessions_opened"] >= opened + given.fans,
        seconds=given.patience,
        what="all sessions are open",
        every=0.2,
    )
    time.sleep(_AFTER_SECONDS)
    return watch.end()


def _tell(name: str, seen: asked.Asked, idle: asked.Asked, given: argparse.Namespace) -> float:
    """Print what a session took; its round trips."""
    sessions: int = given.fans
    share = seen.seconds / idle.seconds

    def beyond(
        numbers: collections.Counter[str], of_idle: collections.Counter[str]
    ) -> collections.Counter[str]:
        return collections.Counter(
            {each: round(number - share * of_idle[each]) for each, number in numbers.items()}
        )

    round_trips = (seen.round_trips - share * idle.round_trips) / sessions
    in_scripts = (seen.in_scripts - share * idle.in_scripts) / sessions
    trial.show(
        **{
            name: f"{round_trips:.2f} round trips a session",
            f"{name}_scripts": _listed(beyond(seen.scripts, idle.scripts), each=sessions),
            f"{name}_other": _listed(beyond(seen.commands, idle.commands), each=sessions),
            f"{name}_in_scripts": f"{in_scripts:.1f} commands a session",
        }
    )
    return round_trips


def _listed(numbers: collections.Counter[str], *, each: float) -> str:
    shares = ((name, number / each) for name, number in numbers.most_common())
    return " ".join(f"{name} {share:.2f}" for name, share in shares if share >= 0.005)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.round_trips")
    parser.add_argument("--fans", type=int, default=500, help="of each kind")
    parser.add_argument(
        "--most-round-trips", type=float, default=2.0, help="for one that is created at once"
    )
    parser.add_argument("--idle", type=float, default=10.0, help="seconds, for what is taken off")
    parser.add_argument("--away", type=float, default=3.0, help="seconds until the agent comes")
    parser.add_argument("--presence-seconds", type=float, default=5.0, help="between two readings")
    parser.add_argument(
        "--slots", type=int, default=64, help="calls at the same time, of a process"
    )
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

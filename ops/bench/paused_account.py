"""Pauses and resumes an account for which many wait: `python -m ops.bench.paused_account`.

Expected: each takes at most 10 ms of Redis (of its script, by `INFO commandstats`, the slowest of a
few), no create call is made while it is paused, and once resumed they drain at the rate of a plain
batch, which is measured beside it with as many fans as are drained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import redis

from ops.bench import figures, rates, waiting
from ops.chaos import stack, trial
from ops.simulator import scenario
from worker.contract import record

#: Longest that pausing or resuming may take, in ms of Redis.
MOST_MS = 10.0
#: How long a worker has the chance to ignore a pause, in seconds.
_PAUSED_SECONDS = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    judged = figures.Figures()
    with trial.ended_by_signals():
        with _running(given) as running:
            _turn(running, given, judged)
            drained_a_second = _drain(running, given, judged)
        with _running(given) as running:
            workers = [running.start_worker() for _ in range(given.workers)]
            batch_a_second = rates.of_batch(
                running, workers, range(given.drained), patience=given.patience
            )
    trial.show(batch_a_second=round(batch_a_second))
    least = round(given.least_share * batch_a_second)
    judged.at_least("drained_a_second", round(drained_a_second), least)
    return judged.exit_status


def _running(given: argparse.Namespace) -> stack.Stack:
    return stack.Stack(latency_ms=given.latency_ms, concurrency=given.slots)


def _turn(running: stack.Stack, given: argparse.Namespace, judged: figures.Figures) -> None:
    """Let all wait, then pause and resume a few times."""
    book = waiting.book_of(running)
    waiting.let_wait(book, waiting.submit(book, range(given.fans)))
    trial.show(waiting=running.count(record.Status.WAITING))
    book.accounts.resume(trial.APPID)  # the first time Redis has to read the script
    spent: dict[str, list[tuple[float, float]]] = {"pause": [], "resume": []}
    for _ in range(given.rounds):
        spent["pause"].append(_spent_ms(running.client, lambda: book.accounts.pause(trial.APPID)))
        spent["resume"].append(_spent_ms(running.client, lambda: book.accounts.resume(trial.APPID)))
    for name, rounds in spent.items():
        judged.at_most(f"{name}_redis_ms", max(ms for ms, _ in rounds), MOST_MS)
        trial.show(**{f"{name}_round_trip_ms": f"{max(ms for _, ms in rounds):.3f}"})


def _drain(running: stack.Stack, given: argparse.Namespace, judged: figures.Figures) -> float:
    """Pause, start workers, resume; sessions a second."""
    book = waiting.book_of(running)
    book.accounts.pause(trial.APPID)
    for _ in range(given.workers):
        running.start_worker()
    time.sleep(_PAUSED_SECONDS)
    calls = running.simulator.summary()["calls_by_path"]
    judged.at_most("calls_while_paused", calls.get(scenario.CREATE_PATH, 0), 0)
    resumed_at = time.time()
    book.accounts.resume(trial.APPID)
    drained_a_second = rates.of_next(running, given.drained, patience=given.patience)
    sessions = running.simulator.book("none")["sessions"]
    first_at = min(each["opened_at"] / 1000 for each in sessions)
    trial.show(first_session_after_s=round(first_at - resumed_at, 3))
    return drained_a_second


def _spent_ms(client: redis.Redis, step: Callable[[], object]) -> tuple[float, float]:
    """What a step of the ledger takes of Redis, and from here; nobody else runs scripts."""
    before, started = _script_ms(client), time.perf_counter()
    step()
    took = (time.perf_counter() - started) * 1000
    return _script_ms(client) - before, took


def _script_ms(client: redis.Redis) -> float:
    counted = client.info("commandstats")
    return sum(float(each["usec"]) for name, each in counted.items() if "eval" in name) / 1000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.paused_account")
    parser.add_argument("--fans", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5, help="of pausing and resuming")
    parser.add_argument("--drained", type=int, default=5000, help="of the fans, for the rate")
    parser.add_argument("--least-share", type=float, default=0.8, help="of the batch's rate")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--slots", type=int, default=64, help="calls at the same time, of a process"
    )
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Kills the worker again and again under a batch: `python -m ops.chaos.killed_workers`.

Expected: every request ends `created`, and WeChat's book shows one session a fan.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from ops.chaos import stack, trial
from worker.contract import record


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a request ended otherwise, or a fan was given away twice."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=given.latency_ms,
            seed=given.seed,
            call_timeout_seconds=given.call_timeout,
            concurrency=given.slots,
        ) as running,
    ):
        started = time.monotonic()
        kills = _kill_under_load(running, given)
        trial.poll(
            lambda: not running.count_live(), seconds=given.patience, what="all requests end"
        )
        created, book = running.count(record.Status.CREATED), running.simulator.summary()
        twice = len(book["fans_given_to_two_agents"])
        trial.show(
            requests=given.requests,
            kills=kills,
            seconds=round(time.monotonic() - started, 1),
            outcomes=running.outcomes(),
            sessions_a_fan=round(book["sessions_opened"] / given.requests, 3),
            fans_given_away_twice=twice,
            create_calls=sum(book["creates_by_errcode"].values()),
            token_fetches=book["token_fetches"],
        )
        is_right = created == given.requests == book["sessions_opened"] and not twice
        return 0 if is_right else 1


def _kill_under_load(running: stack.Stack, given: argparse.Namespace) -> int:
    """Send the batch, and kill and restart the worker each time some more were created."""
    chance = random.Random(given.seed)  # noqa: S311 - the same seed kills at the same moments
    moments = sorted(chance.sample(range(given.requests * 9 // 10), given.kills))
    worker = running.start_worker()
    file = trial.write_csv(running.directory / "fans.csv", given.requests)
    batch = running.start_command("batch", str(file))
    for moment in moments:
        trial.poll(
            lambda moment=moment: running.count(record.Status.CREATED) >= moment,  # type: ignore[misc]
            seconds=given.patience,
            what=f"{moment} requests are created",
        )
        time.sleep(chance.uniform(0, 0.1))
        worker.child.kill()
        worker = running.start_worker()
    if batch.wait(given.patience):
        raise SystemExit(f"kfsession batch failed:\n{batch.output()}")
    return len(moments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos.killed_workers")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--slots", type=int, default=16, help="calls at the same time")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--call-timeout", type=float, default=1.0, help="leases derive from it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

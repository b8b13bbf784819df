"""Throws every doorbell away, again and again: `python -m ops.chaos.lost_doorbells`.

The requests are sent while no worker takes doorbells, and the lists are deleted before one does; so
each request is found by the waiting room alone. Expected: every one ends `created`.
"""

from __future__ import annotations

import argparse
import sys
import time

import redis

from ops.chaos import stack, trial
from worker.contract import broker, record, request


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a request ended otherwise, or a fan was given away twice."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with (
        trial.ended_by_signals(),
        stack.Stack(latency_ms=given.latency_ms, concurrency=given.slots) as running,
    ):
        lost = _send(running, given)
        started = time.monotonic()
        worker = running.start_worker()
        ready = time.monotonic()
        while running.count_live():
            if time.monotonic() - started > given.patience:
                raise trial.TooLate(f"all requests end: not within {given.patience:g} s")
            lost += throw_away(running.client, "kf")
            time.sleep(given.every)
        worker.child.stop()
        created, book = running.count(record.Status.CREATED), running.simulator.summary()
        twice = len(book["fans_given_to_two_agents"])
        trial.show(
            requests=given.requests,
            doorbells_thrown_away=lost,
            seconds=round(time.monotonic() - ready, 1),
            outcomes=running.outcomes(),
            sessions_opened=book["sessions_opened"],
            fans_given_away_twice=twice,
        )
        return 0 if created == given.requests == book["sessions_opened"] and not twice else 1


def throw_away(client: redis.Redis, prefix: str) -> int:
    """Delete the lists of both lanes; how many messages were in them."""
    with client.pipeline() as pipe:
        for lane in request.Lane:
            pipe.llen(broker.queue_name(prefix, lane))
            pipe.delete(broker.queue_name(prefix, lane))
        return sum(pipe.execute()[::2])


def _send(running: stack.Stack, given: argparse.Namespace) -> int:
    file = trial.write_csv(running.directory / "fans.csv", given.requests)
    batch = running.start_command("batch", str(file), "--lane", given.lane)
    if batch.wait(given.patience):
        raise SystemExit(f"kfsession batch failed:\n{batch.output()}")
    return throw_away(running.client, "kf")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos.lost_doorbells")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two deletions")
    parser.add_argument("--lane", choices=[*request.Lane], default=request.Lane.BATCH)
    parser.add_argument("--slots", type=int, default=4, help="calls at the same time")
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

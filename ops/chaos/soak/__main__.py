"""Loads the system for an hour while everything breaks: `python -m ops.chaos.soak`.

Records are kept for five minutes only. Expected: the memory of the worker that is never killed and
of Valkey is flat after the warm-up, every accepted request has exactly one outcome, no fan has two
sessions, and retention empties Redis in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import producers
from ops.bench import figures
from ops.chaos import stack, trial
from ops.chaos.soak import pictures, sampling, sending, troubles, verdicts
from worker.contract import settings

#: At most so many seconds lie between two samples.
_SAMPLE_SECONDS = 10.0
_FEWEST_SAMPLES = 60

#: What runs in a thread until it is over.
Loop = Callable[[threading.Event], None]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when memory grew, or a request was lost or left behind."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=given.latency_ms,
            seed=given.seed,
            scenario=troubles.SCENARIO,
            call_timeout_seconds=given.call_timeout,
            concurrency=given.slots,
            retention_hours=given.retention / 3600,
            log_level="WARNING",
        ) as running,
    ):
        config = settings.load(_env_file=None, redis_url=running.environment["KF_REDIS_URL"])
        with producers.SessionProducer(config) as producer:
            return _soak(running, producer, given)


def _soak(
    running: stack.Stack, producer: producers.SessionProducer, given: argparse.Namespace
) -> int:
    workers = troubles.Workers(running)
    load = sending.Load(producer, rate=given.rate, seed=given.seed)
    outcomes = sampling.Outcomes(producer)
    trouble = troubles.Trouble(
        running,
        workers,
        kill_every=given.kill_every,
        freeze_every=given.freeze_every,
        leave_every=given.leave_every,
        tokens_every=given.tokens_every,
    )
    sampler = sampling.Sampler(running, workers, load, outcomes)
    judged = figures.Figures()
    every = min(_SAMPLE_SECONDS, given.minutes * 60 / _FEWEST_SAMPLES)
    try:
        with _in_threads(outcomes.follow) as following:
            with _in_threads(
                load.run, trouble.run, lambda is_over: sampler.run(is_over, every)
            ) as under_way:
                _wait(under_way, given, sampler, trouble)
            verdicts.wait_until_all_ended(running, outcomes, following, given.patience)
    finally:
        if given.output and sampler.samples:
            pictures.write(
                given.output,
                vars(given),
                sampler.samples,
                trouble.moments,
                warm_up=given.warm_up * 60,
            )
    trial.show(**trouble.counts)
    verdicts.judge_outcomes(running, load, outcomes, judged)
    verdicts.judge_growth(
        sampler.samples, judged, warm_up=given.warm_up * 60, most=given.most_growth
    )
    if given.drain:
        verdicts.judge_drained(running, outcomes, judged, patience=given.retention + 60)
    verdicts.show_errors(running)
    return judged.exit_status


@contextlib.contextmanager
def _in_threads(*loops: Loop) -> Iterator[list[futures.Future[None]]]:
    """Run each until this ends; a failure of one is raised then."""
    is_over = threading.Event()
    with futures.ThreadPoolExecutor(len(loops)) as pool:
        begun = [pool.submit(loop, is_over) for loop in loops]
        try:
            yield begun
        finally:
            is_over.set()
    for each in begun:
        each.result()


def _wait(
    under_way: list[futures.Future[None]],
    given: argparse.Namespace,
    sampler: sampling.Sampler,
    trouble: troubles.Trouble,
) -> None:
    """Until the time is over, or something failed; says each minute that it is alive."""
    started = time.monotonic()
    minute = 0
    while (elapsed := time.monotonic() - started) < given.minutes * 60:
        if elapsed // 60 > minute and sampler.samples:
            minute = int(elapsed // 60)
            one = sampler.samples[-1]
            print(
                f"{minute} min: {one.accepted} accepted, {sum(one.outcomes.values())} ended,"
                f" {one.live} live, {one.doorbells} doorbells; worker {one.kept_worker:.0f} MiB,"
                f" Valkey {one.valkey_used:.0f} MiB used, {one.keys} keys; {dict(trouble.counts)}",
                file=sys.stderr,
                flush=True,
            )
        left = given.minutes * 60 - elapsed
        if futures.wait(under_way, min(1.0, left), futures.FIRST_COMPLETED).done:
            return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--retention", type=float, default=300.0, help="seconds")
    parser.add_argument("--warm-up", type=float, default=10.0, help="minutes that do not count")
    parser.add_argument(
        "--most-growth", type=float, default=0.05, help="of memory after the warm-up, 0.05 is 5 %%"
    )
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds, of one worker")
    parser.add_argument("--freeze-every", type=float, default=180.0, help="seconds; cuts between")
    parser.add_argument("--leave-every", type=float, default=60.0, help="seconds, of the agent")
    parser.add_argument("--tokens-every", type=float, default=300.0, help="seconds, they expire")
    parser.add_argument(
        "--drain",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until retention has emptied Redis",
    )
    parser.add_argument("--output", type=Path, help="a directory, for the picture and all samples")
    parser.add_argument("--slots", type=int, default=16, help="calls at the same time, of a worker")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--call-timeout", type=float, default=2.0, help="leases derive from it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds, for the last ones")
    return parser


if __name__ == "__main__":
    sys.exit(main())

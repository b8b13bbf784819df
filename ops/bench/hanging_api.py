"""Lets WeChat hang under 100,000 queued requests: `python -m ops.bench.hanging_api`.

Each second the broker's lanes, Redis and the workers are looked at, then WeChat answers again.
Expected: a few doorbells a slot, a few hundred bytes of Redis a request and a few MiB a worker more
than when it began, then at least 0.9 of a plain batch's rate, which is measured before with the
same workers, and one session for each fan.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence

from ops.bench import figures, memory, processes, rates, serving
from ops.chaos import stack, trial
from worker.contract import broker, record, request
from worker.ledger import keys

#: Most doorbells that come to those of the batch, for each slot of all workers.
MOST_NEW_MESSAGES_A_SLOT = 4
#: Most that Redis grows while WeChat hangs, in bytes a queued request, events apart. A call that
#: hung leaves an attempt and a doubt, and in ten minutes one request in six has such a call.
MOST_GROWTH_BYTES = 256
#: Most that a worker grows meanwhile, in MiB.
MOST_GROWTH_MIB = 16
#: Whom a request asks next; unless it is known who has the fan, that would be a second session.
_FALLBACK = "bert@hbshop"
_SAMPLE_SECONDS = 1.0
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen in one second."""

    batch_messages: int
    escalation_messages: int
    redis_bytes: int
    events_bytes: int
    #: Of the largest worker.
    worker_mib: float


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    judged = figures.Figures()
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=0, concurrency=given.slots, call_timeout_seconds=given.call_timeout
        ) as running,
    ):
        server = serving.Server(running.children, latency_ms=given.latency_ms)
        running.environment["KF_API_BASE_URL"] = server.url
        workers = [running.start_worker() for _ in range(given.workers)]
        batch_a_second = rates.of_batch(
            running,
            workers,
            range(given.requests, given.requests + given.drained),
            patience=given.patience,
            fallbacks=[_FALLBACK],
        )
        server.hang()
        _judge_hang(_hang(running, workers, given), given, judged)
        hung = server.counts()
        server.answer_after(given.latency_ms)
        drained_a_second = rates.of_next(running, given.drained, patience=given.patience)
        _finish(running, given)
        _judge_end(running, server, given, judged)
    trial.show(calls_that_hung=hung.creates - given.drained, batch_a_second=round(batch_a_second))
    least = round(given.least_share * batch_a_second)
    judged.at_least("drained_a_second", round(drained_a_second), least)
    return judged.exit_status


def _hang(
    running: stack.Stack, workers: Sequence[stack.Worker], given: argparse.Namespace
) -> list[Sample]:
    """Queue the requests and watch for as long as WeChat hangs."""
    ends = time.monotonic() + given.hang
    before = memory.data_bytes(running.client)
    rates.submit(running, range(given.requests), fallbacks=[_FALLBACK])
    samples = [_look(running, workers)]
    trial.show(bytes_a_request=round((samples[0].redis_bytes - before) / given.requests))
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(_SAMPLE_SECONDS, left))
        samples.append(_look(running, workers))
    return samples


def _look(running: stack.Stack, workers: Sequence[stack.Worker]) -> Sample:
    lengths = {lane: running.client.llen(broker.queue_name("kf", lane)) for lane in request.Lane}
    return Sample(
        batch_messages=lengths[request.Lane.BATCH],
        escalation_messages=lengths[request.Lane.ESCALATION],
        redis_bytes=memory.data_bytes(running.client),
        events_bytes=memory.events_bytes(running.client, keys.Keys("kf").events),
        worker_mib=max(processes.Tree(each.child.pid).rss_bytes() for each in workers) / _MIB,
    )


def _judge_hang(
    samples: Sequence[Sample], given: argparse.Namespace, judged: figures.Figures
) -> None:
    def growth(data: Callable[[Sample], float]) -> float:
        return max(map(data, samples)) - data(samples[0])

    def told(value: Callable[[Sample], float]) -> str:
        most = max(map(value, samples))
        return (
            f"{value(samples[0]):.0f} at first, {most:.0f} at most, {value(samples[-1]):.0f} last"
        )

    trial.show(
        samples=len(samples),
        batch_messages=told(lambda one: one.batch_messages),
        escalation_messages=told(lambda one: one.escalation_messages),
        redis_mib=told(lambda one: one.redis_bytes / _MIB),
        events_mib=told(lambda one: one.events_bytes / _MIB),
        worker_mib=told(lambda one: one.worker_mib),
    )
    slots = given.workers * given.slots
    new = growth(lambda one: one.batch_messages + one.escalation_messages) / slots
    judged.at_most("new_messages_a_slot", round(new, 2), MOST_NEW_MESSAGES_A_SLOT)
    grown = growth(lambda one: one.redis_bytes - one.events_bytes) / given.requests
    judged.at_most("growth_bytes_a_request", round(grown, 1), given.most_growth)
    judged.at_most("worker_growth_mib", round(growth(lambda one: one.worker_mib)), MOST_GROWTH_MIB)


def _finish(running: stack.Stack, given: argparse.Namespace) -> None:
    trial.poll(
        lambda: running.count_live() == 0,
        seconds=given.patience,
        what="every request has its outcome",
        every=0.2,
    )


def _judge_end(
    running: stack.Stack, server: serving.Server, given: argparse.Namespace, judged: figures.Figures
) -> None:
    counts, fans = server.counts(), given.requests + given.drained
    trial.show(outcomes=running.outcomes(), create_calls=counts.creates, reads=counts.reads)
    judged.at_least("sessions", running.count(record.Status.CREATED), fans)
    judged.at_least("fans_with_one", counts.fans, fans)
    judged.at_most("fans_with_two", counts.doubled, 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.hanging_api")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--hang", type=float, default=600.0, help="seconds, from the first request")
    parser.add_argument("--drained", type=int, default=20_000, help="of the requests, for the rate")
    parser.add_argument("--most-growth", type=float, default=MOST_GROWTH_BYTES, help="bytes")
    parser.add_argument("--least-share", type=float, default=0.9, help="of the batch's rate")
    parser.add_argument("--workers", type=int, default=4, help="processes")
    parser.add_argument(
        "--slots", type=int, default=64, help="calls at the same time, of a process"
    )
    parser.add_argument("--latency-ms", type=float, default=50.0, help="when WeChat answers")
    parser.add_argument("--call-timeout", type=float, default=10.0, help="seconds")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

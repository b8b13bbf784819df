"""Takes a running system and hands on how much memory it takes, and how each request ended.

`Outcomes` follows the events stream while it is written, since records and events vanish.
"""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil
import redis

import producers
from ops.chaos import stack
from ops.chaos.soak import sending, troubles
from worker.contract import broker, record, request
from worker.ledger import keys

_T = TypeVar("_T")

#: From when to when, in seconds since the load began.
Span = tuple[float, float]

_MIB = 1 << 20
#: How long a look at the events waits for the first.
_BLOCK_MS = 500
_PAGE = 1000
#: How often a look is taken again that a cut connection spoilt.
_TRIES = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen at one moment; memory in MiB."""

    #: Since the load began.
    seconds: float
    #: Resident, of the worker that is never killed.
    kept_worker: float
    #: Resident, of the one that is killed again and again; None while there is none.
    killed_worker: float | None
    killed_worker_pid: int
    valkey_rss: float
    valkey_used: float
    keys: int
    events: int
    live: int
    #: Messages in both lanes, and those that Celery noted as taken.
    doorbells: int
    unacked: int
    accepted: int
    outcomes: dict[str, int]


class Outcomes:
    """Every final event so far: how each request ended, and which ended more than once."""

    def __init__(self, producer: producers.SessionProducer) -> None:
        #: The outcome of each id: status, and reason if any.
        self.of: dict[str, str] = {}
        #: Ids with a second final event.
        self.doubled: set[str] = set()
        self.counts: Counter[str] = Counter()
        #: How far the stream was read.
        self.position = "0"
        self._producer = producer

    def follow(self, is_over: threading.Event) -> None:
        """Read until `is_over`, from where it stopped whenever the ledger was away."""
        while not is_over.is_set():
            try:
                with self._producer.reading() as reads:
                    page = reads.events(self.position, block_ms=_BLOCK_MS, count=_PAGE)
            except producers.LedgerUnavailable:
                is_over.wait(0.1)
                continue
            for event in page:
                if event.status in record.FINAL:
                    self._write(event.id, event.status, event.reason)
                self.position = event.position

    def _write(self, request_id: str, status: str, reason: str | None) -> None:
        outcome = f"{status} {reason or ''}".strip()
        if request_id in self.of:
            self.doubled.add(request_id)
        self.of[request_id] = outcome
        self.counts[outcome] += 1


class Sampler:
    """Looks at a running system every so many seconds."""

    def __init__(
        self,
        running: stack.Stack,
        workers: troubles.Workers,
        load: sending.Load,
        outcomes: Outcomes,
    ) -> None:
        self.samples: list[Sample] = []
        self._running = running
        self._workers = workers
        self._load = load
        self._outcomes = outcomes
        self._valkey = troubles.valkey_pid(running)
        self._started = time.monotonic()

    def run(self, is_over: threading.Event, every_seconds: float) -> None:
        """Take samples until `is_over`."""
        next_at = self._started
        while not is_over.wait(max(0.0, next_at - time.monotonic())):
            self.samples.append(self._look())
            next_at = max(next_at + every_seconds, time.monotonic())

    def _look(self) -> Sample:
        kept, killed = self._workers.kept.child.pid, self._workers.killed.child.pid
        client = self._running.client
        info = ask_again(lambda: client.info("memory"))
        return Sample(
            seconds=round(time.monotonic() - self._started, 1),
            kept_worker=_rss(kept) or 0.0,
            killed_worker=_rss(killed),
            killed_worker_pid=killed,
            valkey_rss=_rss(self._valkey) or 0.0,
            valkey_used=round(int(info["used_memory"]) / _MIB, 2),
            keys=ask_again(lambda: int(client.dbsize())),
            events=ask_again(lambda: int(client.xlen(keys.Keys("kf").events))),
            live=ask_again(self._running.count_live),
            doorbells=sum(ask_again(lambda: _lengths(client))),
            unacked=ask_again(lambda: int(client.hlen("kf.unacked"))),
            accepted=len(self._load.accepted),
            outcomes=dict(self._outcomes.counts),
        )


def ask_again(look: Callable[[], _T]) -> _T:
    """What `look` sees, although its connection may just be cut."""
    for _ in range(_TRIES - 1):
        try:
            return look()
        except redis.exceptions.ConnectionError:
            time.sleep(0.1)
    return look()


def compared(samples: Sequence[Sample], warm_up: float) -> tuple[Span, Span]:
    """The first and the last five minutes after `warm_up` seconds.

    Of a run too short for both, the first and the last half.
    """
    ends = samples[-1].seconds
    length = min(300.0, (ends - warm_up) / 2)
    return (warm_up, warm_up + length), (ends - length, ends)


def median(samples: Sequence[Sample], data: Callable[[Sample], float], span: Span) -> float:
    """What was seen between two moments."""
    first, last = span
    return statistics.median(data(one) for one in samples if first <= one.seconds <= last)


def _lengths(client: redis.Redis) -> list[int]:
    return [int(client.llen(broker.queue_name("kf", lane))) for lane in request.Lane]


def _rss(pid: int) -> float | None:
    try:
        return round(psutil.Process(pid).memory_info().rss / _MIB, 2)
    except psutil.NoSuchProcess:
        return None

"""Measures what a waiting request costs: `python -m ops.bench.waiting_memory`.

Bytes of Redis for each of 100,000 requests with one target and three attempts, the time of a pass
of the waiting room over so full a ledger, and how many a second it buries when their deadlines
fall together. Expected: at most 1,024 bytes a request, and 5,000 buried a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import redis

from ops.bench import waiting
from ops.chaos import children, stack, trial
from worker.contract import record, request, settings
from worker.ledger import ledger

#: What one pass takes, as the waiting room does it.
PASS_IDS = 500
#: Most memory a waiting request may take, in bytes.
MOST_BYTES = 1024

_NOBODY_RUNG = dict.fromkeys(request.Lane, False)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a request takes more than it may, or burying is too slow."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with (
        trial.ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="kfsession-bench-") as folder,
        children.Children(Path(folder)) as some,
    ):
        valkey = stack.Valkey(Path(folder), some)
        client = valkey.client()
        try:
            return _measure(
                client, ledger.Ledger(client, settings.load(redis_url=valkey.url)), given
            )
        finally:
            client.close()
            valkey.stop()


def _measure(client: redis.Redis, book: ledger.Ledger, given: argparse.Namespace) -> int:
    first = waiting.submit(book, range(given.requests, given.requests + 1))
    waiting.let_wait(book, first, attempts=given.attempts)  # what scripts and structures take once
    before = _used_bytes(client)
    events_before = client.memory_usage(book.keys.events, samples=0) or 0
    ids = waiting.submit(book, range(given.requests))
    waiting.let_wait(book, ids, attempts=given.attempts)
    events = (client.memory_usage(book.keys.events, samples=0) or 0) - events_before
    bytes_each = (_used_bytes(client) - before - events) / given.requests
    idle_ms = statistics.median(_pass_ms(book) for _ in range(20))
    trial.show(
        waiting_requests=client.zcard(
            book.keys.index(record.Status.WAITING, record.Reason.AGENT_OFFLINE)
        ),
        bytes_a_request=round(bytes_each, 1),
        events_bytes=events,
        empty_pass_ms=round(idle_ms, 2),
    )
    buried_a_second = _bury(client, book, given)
    return 0 if bytes_each <= MOST_BYTES and buried_a_second >= given.fewest_buried else 1


def _pass_ms(book: ledger.Ledger) -> float:
    """One pass of the waiting room over the ledger: what is due, then what may be removed."""
    started = time.perf_counter()
    book.waiting.wake(PASS_IDS, _NOBODY_RUNG)
    book.waiting.purge(PASS_IDS)
    return (time.perf_counter() - started) * 1000


def _bury(client: redis.Redis, book: ledger.Ledger, given: argparse.Namespace) -> float:
    """Let many deadlines pass, then bury all of them; how many a second that was."""
    after = given.requests + 1
    fans = range(after, after + given.expiring)
    ids = waiting.submit(book, fans, ttl_seconds=given.expiring_ttl)
    deadline_at = int(client.hget(book.keys.request(ids[-1]), "deadline_at") or 0)
    trial.poll(
        lambda: client.time()[0] * 1000 > deadline_at,
        seconds=given.expiring_ttl + 5,
        what="the last deadline passes",
    )
    passes, buried, started = [], 0, time.perf_counter()
    while buried < len(ids):
        begun = time.perf_counter()
        buried += book.waiting.wake(PASS_IDS, _NOBODY_RUNG).expired
        passes.append((time.perf_counter() - begun) * 1000)
    rate = buried / (time.perf_counter() - started)
    trial.show(
        buried=buried,
        buried_a_second=round(rate),
        pass_of_500_ms=f"{statistics.median(passes):.1f} (slowest {max(passes):.1f})",
    )
    return rate


def _used_bytes(client: redis.Redis) -> int:
    """What the server's data take: not its buffers for clients and for the append-only file."""
    memory = client.info("memory")
    buffers = ("mem_clients_normal", "mem_aof_buffer")
    return int(memory["used_memory"]) - sum(int(memory[name]) for name in buffers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.waiting_memory")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--attempts", type=int, default=3, help="on record, for each")
    parser.add_argument("--expiring", type=int, default=20_000, help="deadlines that fall together")
    parser.add_argument("--fewest-buried", type=int, default=5000, help="a second")
    parser.add_argument("--expiring-ttl", type=float, default=10.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

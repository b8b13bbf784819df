"""Measures what waiting requests cost: `python -m ops.bench.waiting_memory`.

Bytes of Redis for each of 100,000 requests with one target and three attempts, what a tick of the
waiting room takes with so full a ledger and, by turns, with one of 1,000 in a Redis beside it, and
how many a second a worker buries when their deadlines fall together. Expected: at most 1,024 bytes
a request, a tick that takes no longer (a half more may be chance), and 5,000 buried a second.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from concurrent import futures

from ops.bench import figures, memory, waiting
from ops.chaos import servers, stack, trial
from worker.contract import record, settings
from worker.ledger import ledger

#: Most memory a waiting request may take, in bytes.
MOST_BYTES = 1024
#: How many one script takes, as the waiting room has it.
PASS_IDS = 500
#: How many wait beside, and how often both ledgers tick.
_FEW, _TICKS = 1000, 500
#: Fans that one thread brings into the ledger at a time, and how many threads do.
_CHUNK, _THREADS = 1000, 4


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    judged = figures.Figures()
    agent = f'[[agents]]\nkf_account = "{trial.AGENT}"\nonline = false'
    with (
        trial.ended_by_signals(),
        stack.Stack(latency_ms=0, scenario=agent, presence_seconds=3600) as running,
    ):
        book = waiting.book_of(running)
        _fill_and_judge(running, book, given, judged)
        _tick_and_judge(running, book, given, judged)
        _bury_and_judge(running, book, given, judged)
    return judged.exit_status


def _fill_and_judge(
    running: stack.Stack, book: ledger.Ledger, given: argparse.Namespace, judged: figures.Figures
) -> None:
    _fill(book, range(given.requests, given.requests + 1), given)  # what structures take once
    events_before, before = _bytes(running, book)
    started = time.monotonic()
    _fill(book, range(given.requests), given)
    events, after = _bytes(running, book)
    trial.show(
        filled_in_s=round(time.monotonic() - started),
        waiting=running.count(record.Status.WAITING),
        events_bytes=events - events_before,
    )
    judged.at_most("bytes_a_request", round((after - before) / given.requests, 1), MOST_BYTES)


def _bytes(running: stack.Stack, book: ledger.Ledger) -> tuple[int, int]:
    """What the events take, and what all else does."""
    events = memory.events_bytes(running.client, book.keys.events)
    return events, memory.data_bytes(running.client) - events


def _fill(
    book: ledger.Ledger, fans: range, given: argparse.Namespace, *, deadline_at: float = 0.0
) -> None:
    """Let these fans wait; until a moment of Unix time, or for hours."""

    def fill(chunk: range) -> None:
        ttl_seconds = deadline_at - time.time() if deadline_at else 36_000
        ids = waiting.submit(book, chunk, ttl_seconds=ttl_seconds)
        waiting.let_wait(book, ids, attempts=given.attempts)

    chunks = [fans[at : at + _CHUNK] for at in range(0, len(fans), _CHUNK)]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(fill, chunks))


def _tick_and_judge(
    running: stack.Stack, book: ledger.Ledger, given: argparse.Namespace, judged: figures.Figures
) -> None:
    """Let both ledgers tick by turns, so that what slows the machine down slows both."""
    beside = servers.valkey(running.directory / "beside", running.children)
    try:
        with contextlib.closing(beside.client()) as client:
            config = settings.load(_env_file=None, redis_url=beside.url)
            little = ledger.Ledger(client, config)
            _fill(little, range(_FEW), given)
            pairs = [(_tick_ms(little), _tick_ms(book)) for _ in range(_TICKS)]
    finally:
        beside.kill()
    few_ms, full_ms = (statistics.median(each) for each in zip(*pairs, strict=True))
    trial.show(tick_ms_with_few=round(few_ms, 3))
    judged.at_most("tick_ms", round(full_ms, 3), given.most_tick_ratio * few_ms)


def _tick_ms(book: ledger.Ledger) -> float:
    """What the waiting room does to a ledger again and again, when nothing is due."""
    started = time.perf_counter()
    book.waiting.wake(PASS_IDS)
    book.waiting.open_rooms(PASS_IDS, rest_seconds=5.0)
    book.waiting.left_queued(PASS_IDS)
    book.waiting.purge(PASS_IDS)
    return (time.perf_counter() - started) * 1000


def _bury_and_judge(
    running: stack.Stack, book: ledger.Ledger, given: argparse.Namespace, judged: figures.Figures
) -> None:
    """Let many deadlines pass at once, half of them of requests that wait, then start a worker."""
    first = given.requests + 1
    half = first + given.expiring // 2
    deadline_at = time.time() + given.expiring_ttl
    _fill(book, range(first, half), given, deadline_at=deadline_at)
    fans = range(half, first + given.expiring)
    waiting.submit(book, fans, ttl_seconds=deadline_at - time.time())
    trial.show(seconds_to_spare=round(deadline_at - time.time(), 1))
    time.sleep(max(0.0, deadline_at + 1 - time.time()))
    expired_early = running.count(record.Status.EXPIRED)
    position = running.reader.newest_position()
    running.start_worker()
    trial.poll(
        lambda: running.count(record.Status.EXPIRED) >= given.expiring,
        seconds=given.patience,
        what="all are buried",
        every=0.2,
    )
    (first_event,) = running.reader.events(position, count=1)
    seconds = (_ms(running.reader.newest_position()) - _ms(first_event.position)) / 1000
    buried = given.expiring - expired_early
    rate = buried / max(seconds, 0.001)  # a few are buried within the same ms
    judged.at_least("buried", buried, given.expiring)
    judged.at_least("buried_a_second", round(rate), given.fewest_buried)


def _ms(position: str) -> int:
    """When the event at this position happened, in ms of the server's clock."""
    return int(position.partition("-")[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.waiting_memory")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--attempts", type=int, default=3, help="on record, for each")
    parser.add_argument(
        "--expiring", type=int, default=100_000, help="deadlines that fall together"
    )
    parser.add_argument(
        "--most-tick-ratio", type=float, default=1.5, help="of a tick to one with few"
    )
    parser.add_argument("--fewest-buried", type=int, default=5000, help="a second")
    parser.add_argument(
        "--expiring-ttl", type=float, default=90.0, help="seconds, while they are brought in"
    )
    parser.add_argument("--patience", type=float, default=120.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Measures a claim where many accounts take turns: `python -m ops.bench.many_accounts`.

So many requests are queued for one account, then for 1,000, by turns; a worker of many slots
settles each and takes the next in the same step. What Redis spends on a step, Redis says itself.
Expected: at most 1.05 times as much with 1,000 accounts as with one.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
from collections.abc import Sequence

from ops.bench import figures, waiting
from ops.chaos import stack, trial
from worker.contract import record
from worker.ledger import claims, ledger

#: Most that a step may cost among many accounts, of what it costs with one.
MOST_RATIO = 1.05


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when it costs more than it may."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    spent: dict[int, list[float]] = {1: [], given.accounts: []}
    with trial.ended_by_signals(), stack.Stack(latency_ms=0) as running:
        for round_ in range(given.rounds):
            order = list(spent) if round_ % 2 else list(reversed(spent))
            for count in order:
                running.client.flushdb()
                micros = _micros_a_step(running, count, given)
                spent[count].append(micros)
                trial.show(**{f"{round_ + 1}: {count} accounts": f"{micros:.1f} µs a step"})
    alone, many = (statistics.median(each) for each in spent.values())
    judged = figures.Figures()
    judged.at_most("step_ratio", round(many / alone, 3), MOST_RATIO)
    return judged.exit_status


def _micros_a_step(running: stack.Stack, accounts: int, given: argparse.Namespace) -> float:
    """What Redis spends on settling one request and claiming the next."""
    book = waiting.book_of(running)
    for at in range(accounts):
        each = given.requests // accounts
        waiting.submit(book, range(at * each, (at + 1) * each), appid=f"wx{at:016x}")
    taker = claims.Taker(worker="bench:1:abc", slots=given.slots)
    held = [
        claim
        for turn in range(given.slots)
        if (claim := book.claim([], taker.holder(str(turn)), taker=taker).claim) is not None
    ]
    running.client.config_resetstat()
    _work(book, held, given.requests // 2, taker)
    return _micros_of_settle(running)


def _work(
    book: ledger.Ledger, held: Sequence[claims.Claim], steps: int, taker: claims.Taker
) -> None:
    slots: list[claims.Claim | None] = list(held)
    for step in range(steps):
        place = step % len(slots)
        if (claim := slots[place]) is not None:
            holder = taker.holder(str(place))
            slots[place] = book.settle(claim, _served(claim), holder, taker=taker).claim


def _served(claim: claims.Claim) -> claims.Settlement:
    assert claim.calling is not None  # noqa: S101 - nobody is in doubt here
    attempt = record.Attempt(
        at=datetime.datetime.now(datetime.UTC),
        kf_account=claim.calling,
        errcode=0,
        errmsg="ok",
        rid=None,
        error=None,
        elapsed_ms=50,
    )
    progress = claims.Progress(attempt_count=0, api_calls=1, attempts=(attempt,))
    return claims.Settlement(
        status=record.Status.CREATED, served_by=claim.calling, progress=progress
    )


def _micros_of_settle(running: stack.Stack) -> float:
    told = running.client.info("commandstats")
    return float(told["cmdstat_evalsha"]["usec_per_call"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.many_accounts")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    return parser


if __name__ == "__main__":
    sys.exit(main())

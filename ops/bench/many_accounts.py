"""Measures a claim where many accounts take turns: `python -m ops.bench.many_accounts`.

The same number of requests is queued for one account, and in another ledger of the same Redis for
1,000 by turns. Workers of both take them, some steps of the one and some of the other by turns, so
that a machine that is slow for a while is slow for both. What a step costs, Redis says itself.
Expected: a claim costs at most 1.05 times as much with 1,000 accounts as with one. A step that
settles and claims costs more beside: the account it settles for is another than the next one's, so
that it reads two.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import statistics
import sys

from ops.bench import figures, waiting
from ops.chaos import stack, trial
from worker.contract import record, settings
from worker.ledger import claims, ledger

#: Most that a claim may cost among many accounts, of what it costs with one.
MOST_RATIO = 1.05
#: Steps of one ledger before it is the other one's turn.
_STEPS_A_TURN = 250


@dataclasses.dataclass(slots=True)
class _Side:
    """A ledger with requests of so many accounts, and a worker at work on it."""

    running: stack.Stack
    accounts: int
    given: argparse.Namespace
    #: What a step cost Redis, in us: once for each turn.
    claim: list[float] = dataclasses.field(default_factory=list)
    settle_and_claim: list[float] = dataclasses.field(default_factory=list)
    _held: list[claims.Claim] = dataclasses.field(default_factory=list)
    _book: ledger.Ledger = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        url = self.running.environment["KF_REDIS_URL"]
        config = settings.load(_env_file=None, redis_url=url, key_prefix=f"kf{self.accounts:04}")
        self._book = ledger.Ledger(self.running.client, config)
        each = self.given.requests // self.accounts
        for at in range(self.accounts):
            waiting.submit(self._book, range(at * each, (at + 1) * each), appid=f"wx{at:016x}")

    def take_claims(self) -> None:
        """A turn of claims alone."""
        taker = claims.Taker(worker="bench:1:abc", slots=self.given.requests)
        self.running.client.config_resetstat()
        for _ in range(_STEPS_A_TURN):
            holder = taker.holder(str(len(self._held)))
            taken = self._book.claim([], holder, taker=taker).claim
            assert taken is not None  # noqa: S101 - more are queued than are ever claimed
            self._held.append(taken)
        self.claim.append(_micros_of_scripts(self.running))

    def settle_and_take(self) -> None:
        """A turn of steps that settle a claim and take the next."""
        taker = claims.Taker(worker="bench:1:abc", slots=self.given.requests)
        self.running.client.config_resetstat()
        for at in range(_STEPS_A_TURN):
            holder = taker.holder(str(at))
            held = self._held[at]
            taken = self._book.settle(held, _served(held), holder, taker=taker).claim
            assert taken is not None  # noqa: S101 - more are queued than are ever claimed
            self._held[at] = taken
        self.settle_and_claim.append(_micros_of_scripts(self.running))


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a claim costs more than it may."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with trial.ended_by_signals(), stack.Stack(latency_ms=0) as running:
        sides = [_Side(running, accounts, given) for accounts in (1, given.accounts)]
        turns = given.requests // 2 // _STEPS_A_TURN // 2
        for _, side in itertools.product(range(turns), sides):
            side.take_claims()
        for _, side in itertools.product(range(turns), sides):
            side.settle_and_take()
    alone, many = sides
    judged = figures.Figures()
    ratio = _show("claim", alone.claim, many.claim)
    judged.at_most("claim_ratio", ratio, MOST_RATIO)
    _show("settle and claim", alone.settle_and_claim, many.settle_and_claim)
    return judged.exit_status


def _show(step: str, alone: list[float], many: list[float]) -> float:
    """Print what a step costs; how much more it is among many, of each pair of turns."""
    ratio = statistics.median(two / one for one, two in zip(alone, many, strict=True))
    one, two = statistics.median(alone), statistics.median(many)
    trial.show(**{step: f"{one:.1f} µs with one account, {two:.1f} with many: {ratio:.3f}"})
    return round(ratio, 3)


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


def _micros_of_scripts(running: stack.Stack) -> float:
    told = running.client.info("commandstats")
    return float(told["cmdstat_evalsha"]["usec_per_call"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.many_accounts")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=40_000)
    return parser


if __name__ == "__main__":
    sys.exit(main())

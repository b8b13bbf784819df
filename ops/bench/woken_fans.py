"""Lets 10,000 fans wait for one agent who comes online: `python -m ops.bench.woken_fans`.

Expected: from the first tenth to the last they get their sessions at no less than 0.9 of the rate
of a plain batch, which is measured beside it with as many fans and the same number of workers.
"""

from __future__ import annotations

import argparse
import sys
import time

from ops.bench import coming_back, figures, rates, waiting
from ops.chaos import trial
from ops.simulator import scenario
from worker.contract import record


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    judged = figures.Figures()
    with trial.ended_by_signals():
        woken_a_second = _wake(given, judged)
        batch_a_second = _send_batch(given)
    trial.show(batch_a_second=round(batch_a_second))
    least = round(given.least_share * batch_a_second)
    judged.at_least("woken_a_second", round(woken_a_second), least)
    return judged.exit_status


def _wake(given: argparse.Namespace, judged: figures.Figures) -> float:
    """Let all wait under running workers, bring the agent back; sessions a second."""
    with coming_back.away(given) as running:
        book = waiting.book_of(running)
        waiting.let_wait(book, waiting.submit(book, range(given.fans)))
        for _ in range(given.workers):
            running.start_worker()
        time.sleep(given.away)
        trial.show(waiting=running.count(record.Status.WAITING))
        began_at = time.monotonic()
        running.simulator.switch(trial.AGENT, online=True)
        woken_a_second = rates.of_next(running, given.fans, patience=given.patience)
        trial.show(all_open_after_s=round(time.monotonic() - began_at, 1))
        counts = running.simulator.summary()
    calls = counts["calls_by_path"].get(scenario.CREATE_PATH, 0)
    judged.at_least("sessions", counts["sessions_opened"], given.fans)
    judged.at_most("create_calls_a_session", calls / given.fans, coming_back.MOST_CALLS_A_SESSION)
    return woken_a_second


def _send_batch(given: argparse.Namespace) -> float:
    with coming_back.away(given) as running:
        running.simulator.switch(trial.AGENT, online=True)
        workers = [running.start_worker() for _ in range(given.workers)]
        return rates.of_batch(running, workers, range(given.fans), patience=given.patience)


def _parser() -> argparse.ArgumentParser:
    parser = coming_back.parser("woken_fans")
    parser.add_argument("--least-share", type=float, default=0.9, help="of the batch's rate")
    parser.set_defaults(fans=10_000, away=6.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())

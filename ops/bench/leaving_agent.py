"""Sends an agent offline in mid-run: `python -m ops.bench.leaving_agent`.

Expected: no more wasted create calls (65415) than slots, each of which may have had a call under
way, and one for each reading that still showed the agent online; once the agent is back, all are
created.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from ops.bench import coming_back, figures
from ops.chaos import stack, trial
from ops.simulator import scenario
from worker.contract import record

#: The agent is not online.
_OFFLINE = 65415


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when too many calls were wasted, or a fan got no session."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=given.latency_ms,
            scenario=f"presence_lag_seconds = {given.lag_seconds}",
            concurrency=given.slots,
            presence_seconds=given.presence_seconds,
        ) as running,
    ):
        left_at, returned_at = _play(running, given)
        return _judge(running, given, left_at, returned_at).exit_status


def _play(running: stack.Stack, given: argparse.Namespace) -> tuple[float, float]:
    """When the agent left, and when it was back."""
    for _ in range(given.workers):
        running.start_worker()
    running.start_command("batch", str(trial.write_csv(running.directory / "fans.csv", given.fans)))
    trial.poll(
        lambda: running.count(record.Status.CREATED) >= given.fans // 3,
        seconds=given.patience,
        what="a third is created",
    )
    calls_under_way = running.count(record.Status.CALLING)
    left_at = time.time()
    running.simulator.switch(trial.AGENT, online=False)
    time.sleep(given.away)
    trial.show(
        calls_under_way=calls_under_way,
        created_before=running.count(record.Status.CREATED),
        waiting=running.count(record.Status.WAITING),
    )
    returned_at = time.time()
    running.simulator.switch(trial.AGENT, online=True)
    trial.poll(
        lambda: running.count(record.Status.CREATED) >= given.fans,
        seconds=given.patience,
        what="all are created",
    )
    return left_at, returned_at


def _judge(
    running: stack.Stack, given: argparse.Namespace, left_at: float, returned_at: float
) -> figures.Figures:
    wasted = [
        call["at"] / 1000
        for call in _calls(running.simulator, scenario.CREATE_PATH)
        if call["errcode"] == _OFFLINE
    ]
    reads = [call["at"] / 1000 for call in _calls(running.simulator, coming_back.PRESENCE_PATH)]
    # A list says what was true so long ago, so these may each have woken somebody in vain.
    late = sum(left_at <= at <= left_at + given.lag_seconds + 0.1 for at in reads)
    counts = running.simulator.summary()
    judged = figures.Figures()
    judged.at_most("wasted_calls", len(wasted), given.workers * given.slots + late)
    late_calls = sum(at > left_at + 1 + given.slack for at in wasted)
    judged.at_most("wasted_after_a_second", late_calls, late)
    judged.at_least("sessions", counts["sessions_opened"], given.fans)
    judged.at_most("fans_given_away_twice", len(counts["fans_given_to_two_agents"]), 0)
    trial.show(
        reads_while_away=sum(left_at <= at <= returned_at for at in reads),
        reads_still_online=late,
    )
    return judged


def _calls(simulator: stack.Simulator, path: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = simulator.book(path)["calls"]
    return calls


def _parser() -> argparse.ArgumentParser:
    parser = coming_back.parser("leaving_agent")
    parser.set_defaults(fans=5000, away=30.0, workers=2)
    parser.add_argument("--lag-seconds", type=float, default=2.0, help="of the online list")
    return parser


if __name__ == "__main__":
    sys.exit(main())

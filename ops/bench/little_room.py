"""Lets fans wait for one agent with little room: `python -m ops.bench.little_room`.

The agent comes back, can take a few at a time, and ends each session after a while; the online list
lags behind. Expected: at most 1.15 create calls a session, and never more fans than there is room.
"""

from __future__ import annotations

import argparse
import sys

from ops.bench import coming_back
from ops.chaos import trial


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    keys = (
        f"session_seconds = {given.session_seconds}\npresence_lag_seconds = {given.lag_seconds}\n"
    )
    with (
        trial.ended_by_signals(),
        coming_back.away(given, keys=keys, agent_capacity=given.capacity) as running,
    ):
        seen = coming_back.play(running, given)
    judged = seen.judge(given)
    judged.at_most("served_at_a_time", seen.max_serving, given.capacity)
    trial.show(
        first_session_after_s=seen.first_seconds,
        last_session_after_s=seen.last_seconds,
        seconds=seen.elapsed_seconds,
    )
    return judged.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = coming_back.parser("little_room")
    parser.add_argument("--capacity", type=int, default=50, help="fans at a time")
    parser.add_argument("--session-seconds", type=float, default=2.0, help="until one closes")
    parser.add_argument("--lag-seconds", type=float, default=2.0, help="of the online list")
    return parser


if __name__ == "__main__":
    sys.exit(main())

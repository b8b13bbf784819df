"""Lets fans wait for one agent who comes back: `python -m ops.bench.returning_agent`.

Expected: at most 1.15 create calls a session, presence read no more often than the interval allows,
the first session within that interval and a second, the last one 5 s later. The usual Celery task
with exponential back-off is measured beside it, with a broker and a WeChat of its own.
"""

from __future__ import annotations

import argparse
import sys

from ops.bench import coming_back
from ops.bench.peers import celery_app
from ops.chaos import children, stack, trial
from ops.simulator import scenario

#: Time between the agent's return and the first session, beyond one presence interval, in seconds.
FIRST_SECONDS = 1.0
#: Time between the first session and the last one, in seconds.
SPREAD_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a figure is missed; the usual Celery task has none to reach."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with trial.ended_by_signals():
        with coming_back.away(given) as running:
            ours = coming_back.play(running, given)
        judged = ours.judge(given)
        most_seconds = given.presence_seconds + FIRST_SECONDS + given.slack
        judged.at_most("first_session_after_s", ours.first_seconds, most_seconds)
        spread_seconds = round(ours.last_seconds - ours.first_seconds, 3)
        judged.at_most("last_one_later_by_s", spread_seconds, SPREAD_SECONDS + given.slack)
        if given.usual:
            with coming_back.away(given) as running:
                _show_usual(_play_usual(running, given))
    return judged.exit_status


def _play_usual(running: stack.Stack, given: argparse.Namespace) -> coming_back.Story:
    broker = running.environment["KF_REDIS_URL"]
    command = [sys.executable, "-m", "celery", "-A", "ops.bench.peers.celery_app", "worker"]
    command += ["--pool", "threads", "--concurrency", str(given.slots)]
    environment = children.environment(CELERY_BROKER_URL=broker)
    for _ in range(given.workers):
        running.children.start("usual", command, environment)
    token = f"access_token={scenario.FIXED_TOKEN}"
    url = f"{running.simulator.url}{scenario.CREATE_PATH}?{token}"

    def send() -> None:
        with celery_app.connected(broker) as app:
            for number in range(given.fans):
                app.tasks[celery_app.TASK].delay(url, trial.AGENT, trial.openid(number))

    return coming_back.tell(
        running,
        given,
        send=send,
        is_over=lambda: running.simulator.summary()["sessions_opened"] >= given.fans,
    )


def _show_usual(usual: coming_back.Story) -> None:
    trial.show(
        usual_sessions=usual.sessions,
        usual_calls_a_session=round(usual.calls_a_session, 2),
        usual_first_session_s=usual.first_seconds,
        usual_last_session_s=usual.last_seconds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = coming_back.parser("returning_agent")
    parser.add_argument(
        "--usual", action=argparse.BooleanOptionalAction, default=True, help="measure it too"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

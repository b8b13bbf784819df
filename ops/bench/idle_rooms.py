"""Measures what a full waiting room costs when nothing is due: `python -m ops.bench.idle_rooms`.

100,000 fans of 1,000 accounts wait for agents who are away. One worker reads who is online once an
account, then its threads are watched: all but the main one, which is Celery's. Expected: at most
5 % of a core. Linux only, since /proc tells it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ops.bench import coming_back, figures, waiting
from ops.chaos import stack, trial
from worker.contract import record

#: Most of a core that the waiting room may take, in percent.
MOST_PERCENT = 5.0
#: The readings are over when there was none for so long, in seconds.
_QUIET_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when it takes more than it may."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    appids = [f"wx{number:016x}" for number in range(given.accounts)]
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=0, scenario=_scenario(appids), presence_seconds=given.presence_seconds
        ) as running,
    ):
        _fill(running, appids, given)
        return _measure(running, _start_worker(running, appids), given).exit_status


def _scenario(appids: list[str]) -> str:
    """These accounts, each with the agent away."""
    return "".join(
        f'[[accounts]]\nappid = "{each}"\ntoken = "{_token(each)}"\n'
        f'[[agents]]\nappid = "{each}"\nkf_account = "{trial.AGENT}"\nonline = false\n'
        for each in appids
    )


def _token(appid: str) -> str:
    return f"token-of-{appid}"


def _fill(running: stack.Stack, appids: list[str], given: argparse.Namespace) -> None:
    book = waiting.book_of(running)
    each = given.fans // given.accounts
    for at, appid in enumerate(appids):
        ids = waiting.submit(book, range(at * each, (at + 1) * each), appid=appid)
        waiting.let_wait(book, ids, wait_seconds=given.wait_seconds)
    trial.show(waiting=running.count(record.Status.WAITING))


def _start_worker(running: stack.Stack, appids: list[str]) -> int:
    """The process id of a worker that has these accounts and no other."""
    file = running.directory / "accounts.toml"
    tables = (
        f'[[account]]\nappid = "{each}"\naccess_token = "{_token(each)}"\n' for each in appids
    )
    file.write_text("".join(tables))
    worker = running.start_worker(KF_APPID="", KF_APPSECRET="", KF_ACCOUNTS_FILE=str(file))
    return worker.child.pid


def _measure(running: stack.Stack, pid: int, given: argparse.Namespace) -> figures.Figures:
    reads = _let_read(running)
    before, redis_before = _cpu_seconds(pid), _redis_cpu_seconds(running)
    calls_before = running.simulator.summary()["calls_by_path"]
    time.sleep(given.seconds)
    after, redis_after = _cpu_seconds(pid), _redis_cpu_seconds(running)
    calls = sum(running.simulator.summary()["calls_by_path"].values()) - sum(calls_before.values())
    share = {
        thread: 100 * (spent - before.get(thread, 0.0)) / given.seconds
        for thread, spent in after.items()
    }
    main_percent = share.pop(pid)
    trial.show(
        readings_at_first=reads,
        calls_meanwhile=calls,
        redis_percent=f"{100 * (redis_after - redis_before) / given.seconds:.2f}",
        celery_percent=f"{main_percent:.2f}",
    )
    judged = figures.Figures()
    judged.at_least("waiting_still", running.count(record.Status.WAITING), given.fans)
    judged.at_most("waiting_room_percent", round(sum(share.values()), 2), MOST_PERCENT)
    return judged


def _let_read(running: stack.Stack) -> int:
    """Wait until nobody reads who is online any more; how many readings there were."""
    before, reads = -1, 0
    while reads > before:
        time.sleep(_QUIET_SECONDS)
        calls = running.simulator.summary()["calls_by_path"]
        before, reads = reads, calls.get(coming_back.PRESENCE_PATH, 0)
    return reads


def _cpu_seconds(pid: int) -> dict[int, float]:
    """What each thread of a process has spent; the main one has the number of the process."""
    spent = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        fields = (thread / "stat").read_text().rpartition(") ")[2].split()
        spent[int(thread.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def _redis_cpu_seconds(running: stack.Stack) -> float:
    spent = running.client.info("cpu")
    return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.idle_rooms")
    parser.add_argument("--fans", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it is watched")
    parser.add_argument(
        "--wait-seconds", type=float, default=7200.0, help="between two looks into a room"
    )
    parser.add_argument(
        "--presence-seconds", type=float, default=3600.0, help="so long that no reading falls due"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Drains WeChat's queue under faults and kills: `python -m ops.chaos.routed_fans`.

`kfsession route` sees 100 fans at a time, and agents whose rooms differ; what the list of agents
shows lags behind. Expected: every fan one session, none two, no agent above its capacity, and a
summary that says what WeChat's book says.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

from ops.chaos import children, stack, trial
from worker.contract import record

#: Which calls the faults strike.
_PATHS = (
    "/customservice/kfsession/create",
    "/customservice/kfsession/getsession",
    "/customservice/kfsession/getwaitcase",
    "/cgi-bin/customservice/getonlinekflist",
)
#: How often each call goes wrong; `--faults` multiplies it.
_FAULTS = {"busy": 0.05, "html_502": 0.01, "cut_before": 0.01, "cut_after": 0.02, "lied": 0.02}


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a fan, an agent or the summary is not as expected."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    capacities = _capacities(given)
    with (
        trial.ended_by_signals(),
        stack.Stack(
            latency_ms=given.latency_ms,
            seed=given.seed,
            scenario=_scenario(given, capacities),
            call_timeout_seconds=given.call_timeout,
            concurrency=given.slots,
            presence_seconds=given.presence_seconds,
        ) as running,
    ):
        if given.kept:
            _keep(running, capacities)
        started = time.monotonic()
        summaries = _route(running, given)
        trial.poll(
            lambda: not running.count_live(), seconds=given.patience, what="all requests end"
        )
        seconds = round(time.monotonic() - started, 1)
        return _judge(running, given, capacities, summaries, seconds)


def _capacities(given: argparse.Namespace) -> dict[str, int]:
    """Room for a tenth more fans than there are; the same for all where only `route` knows it."""
    names = [f"agent{number:02d}@hbshop" for number in range(1, given.agents + 1)]
    most = -(-given.fans * 11 // 10)
    if not given.kept:
        return dict.fromkeys(names, -(-most // given.agents))
    chance = random.Random(given.seed)  # noqa: S311 - the same seed, the same rooms
    shares = [chance.uniform(1, 5) for _ in names]
    return {
        name: 1 + int(most * share / sum(shares)) for name, share in zip(names, shares, strict=True)
    }


def _scenario(given: argparse.Namespace, capacities: Mapping[str, int]) -> str:
    agents = "".join(
        f'[[agents]]\nkf_account = "{name}"\ncapacity = {size}\n'
        for name, size in capacities.items()
    )
    faults = "".join(f"{name} = {chance * given.faults}\n" for name, chance in _FAULTS.items())
    return (
        f"odd_rows = true\npresence_lag_seconds = {given.lag_seconds}\n{agents}"
        f"[waiting]\ncount = {given.fans}\n"
        f"[faults]\n{faults}paths = {json.dumps(_PATHS)}\n"
    )


def _keep(running: stack.Stack, capacities: Mapping[str, int]) -> None:
    """Have the deployment know each agent's capacity, in place of `route` alone."""
    own = ", ".join(f'"{name}" = {size}' for name, size in capacities.items())
    file = running.directory / "accounts.toml"
    file.write_text(
        f'[[account]]\nappid = "{trial.APPID}"\nappsecret = "{trial.APPSECRET}"\n'
        f"agent_capacity = 1\ncapacities = {{ {own} }}\n"
    )
    for name in ("KF_APPID", "KF_APPSECRET"):
        del running.environment[name]
    running.environment["KF_ACCOUNTS_FILE"] = str(file)


def _route(running: stack.Stack, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Route, and each time some more have their sessions kill the worker, or end `route` itself."""
    chance = random.Random(given.seed)  # noqa: S311 - the same seed ends them at the same moments
    ends = [*["worker"] * given.kills, *["route"] * given.stops]
    moments = sorted(chance.sample(range(given.fans // 10, given.fans * 8 // 10), len(ends)))
    chance.shuffle(ends)
    worker, runs = running.start_worker(), [_start(running, given)]
    for moment, what in zip(moments, ends, strict=True):
        trial.poll(
            lambda moment=moment: running.count(record.Status.CREATED) >= moment,  # type: ignore[misc]
            seconds=given.patience,
            what=f"{moment} fans have a session",
        )
        time.sleep(chance.uniform(0, 0.1))
        if what == "worker":
            worker.child.kill()
            worker = running.start_worker()
        else:
            runs[-1].stop()
            runs.append(_start(running, given))
    if runs[-1].wait(given.patience):
        raise SystemExit(f"kfsession route failed:\n{runs[-1].output()}")
    return [_summary(each) for each in runs]


def _start(running: stack.Stack, given: argparse.Namespace) -> children.Child:
    if given.kept:
        return running.start_command("route")
    return running.start_command("route", "--capacity", str(max(_capacities(given).values())))


def _summary(run: children.Child) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run.output().splitlines()[-1])
    return said


def _judge(
    running: stack.Stack,
    given: argparse.Namespace,
    capacities: Mapping[str, int],
    summaries: list[dict[str, Any]],
    seconds: float,
) -> int:
    created, book = running.count(record.Status.CREATED), running.simulator.summary()
    twice = len(book["fans_given_to_two_agents"])
    most = {each["kf_account"]: each["max_serving"] for each in book["agents"]}
    above = {name: size for name, size in most.items() if size > capacities.get(name, 0)}
    said, last = sum(each["routed"] for each in summaries), summaries[-1]
    routed = {name: each["routed"] for name, each in last["agents"].items() if each["routed"]}
    served = {each["kf_account"]: each["serving"] for each in book["agents"] if each["serving"]}
    trial.show(
        fans=given.fans,
        seconds=seconds,
        outcomes=running.outcomes(),
        sessions_opened=book["sessions_opened"],
        fans_given_away_twice=twice,
        agents_above_capacity=above or "none",
        create_calls=sum(book["creates_by_errcode"].values()),
        queue_reads=book["calls_by_path"]["/customservice/kfsession/getwaitcase"],
        summary=f"{last['ended']}: {said} routed, {last['left']} left, {last['open']} open",
    )
    is_right = created == given.fans == book["sessions_opened"] and not twice and not above
    is_right &= last["ended"] == "nobody_waits" and last["left"] == last["open"] == 0
    if not given.stops:  # what goes on in the workers once a run is ended is in no summary
        is_right &= said == given.fans and routed == served
    return 0 if is_right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos.routed_fans")
    parser.add_argument("--fans", type=int, default=2500)
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--kills", type=int, default=2, help="of the worker")
    parser.add_argument("--stops", type=int, default=0, help="of `route`, by SIGTERM")
    parser.add_argument("--faults", type=float, default=1.0, help="1: every ninth call goes wrong")
    parser.add_argument(
        "--kept",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="workers keep capacities, each agent its own; else only route knows one, for all",
    )
    parser.add_argument("--lag-seconds", type=float, default=2.0, help="of the list of agents")
    parser.add_argument("--slots", type=int, default=16, help="calls at the same time")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--call-timeout", type=float, default=1.0, help="leases derive from it")
    parser.add_argument("--presence-seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`kfsession route` as a process, on a WeChat with fans who wait and workers that open sessions."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.chaos import children, servers, trial
from tests.acceptance import conftest, processes
from worker.contract import record, settings
from worker.ledger import ledger

OTHER = "bert@hbshop"


@pytest.fixture
def of(deploy: conftest.Deploy, valkey: servers.Server) -> processes.Deployment:
    """Two agents who may serve three fans each, and a worker."""
    made = deploy(valkey, agent_capacity=3, presence_seconds=1)
    made.wechat.tell("agents", kf_account=OTHER, online=True)
    return made


def let_wait(of: processes.Deployment, *numbers: int) -> None:
    of.wechat.tell("waiting", openids=[trial.openid(number) for number in numbers])


def said(run: children.Child, exit_status: int = 0) -> dict[str, Any]:
    """What it printed, once it has ended with this status."""
    assert run.wait(processes.PATIENCE_SECONDS) == exit_status, run.output()
    found: dict[str, Any] = json.loads(run.output().splitlines()[-1])
    return found


def test_who_waits_goes_to_whoever_has_room_and_the_rest_stays(
    of: processes.Deployment,
) -> None:
    """Six places, eight fans: the summary is what WeChat's book says."""
    of.start_worker()
    let_wait(of, *range(8))
    plan = said(of.start_command("route", "--dry-run"))
    assert len(plan["assignments"]) == 6
    assert [each["why"] for each in plan["skipped"]] == ["no_room"] * 2
    assert of.creates() == []
    told = said(of.start_command("route"))
    assert (told["ended"], told["routed"], told["left"]) == ("no_room", 6, 2)
    book = of.wechat.summary()
    assert book["sessions_opened"] == 6
    assert {each["max_serving"] for each in book["agents"]} == {3}
    assert [told["agents"][name]["routed"] for name in (trial.AGENT, OTHER)] == [3, 3]


def test_a_watch_goes_on_until_it_is_ended_and_sums_up(of: processes.Deployment) -> None:
    """As sessions close and fans arrive; SIGTERM ends it with 143."""
    of.start_worker()
    let_wait(of, *range(7))
    run = of.start_command("route", "--watch")
    trial.poll(
        lambda: "1 fan waits, and nobody has room; watching" in run.output(),
        seconds=processes.PATIENCE_SECONDS,
        what="six are routed",
    )
    of.wechat.tell("close", openid=trial.openid(0))
    of.wechat.tell("close", openid=trial.openid(1))
    trial.poll(
        lambda: of.count(record.Status.CREATED) == 7,
        seconds=processes.PATIENCE_SECONDS,
        what="the seventh takes a place that got free",
    )
    let_wait(of, 7)
    trial.poll(
        lambda: of.count(record.Status.CREATED) == 8,
        seconds=processes.PATIENCE_SECONDS,
        what="who arrives is routed",
    )
    run.ask_to_end()
    told = said(run, 143)
    assert (told["ended"], told["routed"], told["open"]) == ("interrupted", 8, 0)
    assert of.wechat.summary()["fans_given_to_two_agents"] == []


def test_a_paused_agent_gets_nobody_and_a_paused_account_ends_it(
    of: processes.Deployment,
) -> None:
    """Before anything is submitted."""
    of.start_worker()
    let_wait(of, *range(5))
    desk = ledger.Ledger(of.client, settings.load(key_prefix=of.prefix)).accounts
    desk.pause(trial.APPID, OTHER)
    told = said(of.start_command("route"))
    assert (told["routed"], told["left"]) == (3, 2)
    assert told["agents"][OTHER]["is_paused"]
    desk.pause(trial.APPID)
    run = of.start_command("route")
    assert run.wait(processes.PATIENCE_SECONDS) == 1
    assert run.output() == (
        f"kfsession: account {trial.APPID} is paused;"
        f" kfsession resume --appid {trial.APPID} ends that\n"
    )


def test_what_wechat_refuses_is_one_line_and_no_session(of: processes.Deployment) -> None:
    """48001: the account may not use this API."""
    of.wechat.tell("accounts", errcode=48001)
    run = of.start_command("route")
    assert run.wait(processes.PATIENCE_SECONDS) == 1
    nobody_works, refused = run.output().splitlines()
    assert nobody_works.startswith("no worker is alive")
    assert re.fullmatch(r"kfsession: WeChat, account \S+: errcode 48001: .+", refused)


def test_a_wechat_out_of_reach_is_status_3(of: processes.Deployment) -> None:
    """After some tries; nothing of the credentials is in the line."""
    of.environment["KF_API_BASE_URL"] = "http://127.0.0.1:1"
    run = of.start_command("route")
    assert run.wait(processes.PATIENCE_SECONDS) == 3
    assert len(run.output().splitlines()) == 2  # and that no worker is alive
    assert "Connection refused" in run.output()
    assert trial.APPSECRET not in run.output()


def test_a_queue_is_drained_under_faults_kills_and_stops(tmp_path: Path) -> None:
    """Every fan one session, no agent above its capacity, the summary as the book."""
    arguments = ("--fans", "240", "--agents", "4", "--kills", "1", "--stops", "1", "--slots", "8")
    arguments += ("--presence-seconds", "1", "--lag-seconds", "1", "--call-timeout", "0.5")
    with children.Children(tmp_path) as some:
        environment = children.environment(TMPDIR=str(tmp_path))
        command = [sys.executable, "-m", "ops.chaos.routed_fans", *arguments]
        child = some.start("trial", command, environment)
        assert child.wait(100) == 0, child.output()

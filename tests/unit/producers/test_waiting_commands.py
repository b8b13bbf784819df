"""pause, resume and agents in this process, over a fake Redis."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from producers import producer
from producers.commands import agents
from tests.unit.producers import conftest
from tests.unit.producers.test_commands import Run, kfsession
from worker.contract import settings
from worker.ledger import accounts, ledger

__all__ = ["kfsession"]


@pytest.fixture
def desk(config: settings.Settings) -> accounts.Accounts:
    """A worker serves wx1, whose agents may serve ten fans each; anna is online, ben is not."""
    client = conftest.connection.connect("", timeout_seconds=1, max_connections=1)
    made = ledger.Ledger(client, config).accounts
    made.announce("host/1", {"version": "1", "slots": 4}, {"wx1": {"": 10}})
    read(made, {"anna@x": 4, "ben@x": 1})
    read(made, {"anna@x": 4})
    return made


@pytest.fixture(autouse=True)
def _no_worker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "READING_SECONDS", 0.0)


def read(desk: accounts.Accounts, sessions: dict[str, int]) -> None:
    reading = accounts.Reading(appid="wx1", began_ms=round(time.time() * 1000))
    desk.observe(reading, sessions, interval_seconds=5, trusted_seconds=20)


def row(kf_account: str, **told: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("online", "serving", "capacity", "room"))
    known = {"appid": "wx1", "kf_account": kf_account, "paused": False, "waiting": 0}
    return {**known, **nothing, **told}


@pytest.mark.usefixtures("desk")
def test_agents_tells_who_can_take_how_many_and_who_is_waited_for(
    kfsession: Run, producing: producer.SessionProducer, config: settings.Settings
) -> None:
    """Also as a fallback; `any` has a row of its own."""
    client = conftest.connection.connect("", timeout_seconds=1, max_connections=1)
    wish = {"openid": "o1", "kf_account": "ben@x", "fallbacks": ["cleo@x"], "appid": "wx1"}
    waits = producing.submit(wish).id
    book = ledger.Ledger(client, config)
    assert book.claim([waits], "w").claim is not None  # whether cleo exists only a call can tell
    producing.submit(openid="o2", kf_account="ben@x", appid="wx1")
    assert book.claim([], "w").claim is None
    exit_status, rows, _ = kfsession("agents")
    assert exit_status == 0
    assert rows == [
        row("anna@x", online=True, serving=4, capacity=10, room=6),
        row("ben@x", online=False, capacity=10, room=0, waiting=1),
    ]


def test_a_paused_agent_has_no_room(kfsession: Run, desk: accounts.Accounts) -> None:
    """And a paused account none at all; stderr says how to end that."""
    exit_status, [said], _ = kfsession("pause", "anna@x")
    assert exit_status == 0
    assert said == {"appid": "wx1", "kf_account": "anna@x", "paused": True, "changed": True}
    assert kfsession("agents")[1][0] == row(
        "anna@x", online=True, serving=4, capacity=10, room=0, paused=True
    )
    assert not kfsession("pause", "anna@x")[1][0]["changed"]
    assert kfsession("resume", "anna@x")[1][0]["changed"]
    kfsession("pause")
    _, rows, talk = kfsession("agents")
    assert {each["room"] for each in rows} == {0}
    assert "wx1 is paused (kfsession resume --appid wx1)" in talk
    assert kfsession("status")[1][0]["gates"][0]["paused"]


@pytest.mark.usefixtures("desk")
def test_a_pause_of_a_name_that_nobody_met_is_questioned(kfsession: Run) -> None:
    """It holds nobody, and the operator believes otherwise."""
    _, _, talk = kfsession("pause", "amna@x")
    assert talk == "amna@x has never been met in wx1, which knows anna@x, ben@x\n"


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("pause", "any"), "`any` is no single agent"),
        (("pause", "anna"), "prefix@account"),
        (("resume", "--appid", "wx9"), "no worker serves it; known are wx1"),
        (("agents", "--appid", "wx9"), "no worker serves it; known are wx1"),
    ],
)
def test_what_cannot_be_meant_is_status_2(
    kfsession: Run, arguments: tuple[str, ...], why: str
) -> None:
    """One line that names it."""
    exit_status, rows, talk = kfsession(*arguments)
    assert (exit_status, rows) == (2, [])
    assert why in talk
    assert len(talk.splitlines()) == 1


def test_who_cannot_be_seen_is_said_on_stderr(kfsession: Run, desk: accounts.Accounts) -> None:
    """What a reading failed for, and what WeChat holds the account for."""
    client = conftest.connection.connect("", timeout_seconds=1, max_connections=1)
    ends = round(time.time() * 1000) + 60_000
    client.hset("{kf}:account:wx1", mapping={"fresh": 0, "hold": f"{ends} quota 1 -"})
    late = accounts.Reading(appid="wx1", began_ms=round(time.time() * 1000))
    desk.cannot_tell(late, "48001 api unauthorized", interval_seconds=60)
    _, rows, talk = kfsession("agents")
    assert [each["online"] for each in rows] == [None, None]
    assert "nobody can tell who is online: 48001 api unauthorized" in talk
    assert "wx1 is held: quota, until" in talk
    exit_status, [seen], _ = kfsession("status", "--check")
    assert exit_status == 1
    assert seen["gates"][0]["presence_blind"] == "48001 api unauthorized"
    assert any("who is online in wx1" in each for each in seen["needs_person"])


@pytest.mark.usefixtures("desk")
def test_a_person_gets_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: settings.Settings
) -> None:
    """What has no limit says so."""
    from ops import cli

    monkeypatch.setattr(settings, "load", lambda: config)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert cli._run(["agents"]) == 0
    shown = capsys.readouterr().out.split()
    assert shown[:6] == ["kf_account", "online", "serving", "capacity", "room", "waiting"]
    assert cli._run(["pause"]) == 0
    assert capsys.readouterr().out == "all agents of wx1: paused\n"
    assert cli._run(["status"]) == 0
    assert "wx1 paused" in capsys.readouterr().out

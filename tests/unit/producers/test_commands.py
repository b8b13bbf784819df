"""The commands in this process, over a fake Redis: what they accept, print and exit with."""

from __future__ import annotations

import datetime
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import redis

from ops import cli, status
from producers import chunks, moments, producer, terminal
from tests.unit.producers import conftest
from worker import errors
from worker.contract import record, request, settings
from worker.ledger import dead_list, ledger, reader

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def kfsession(
    config: settings.Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command: its exit status, its JSON, its talk."""
    monkeypatch.setattr(settings, "load", lambda: config)

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        exit_status = cli._run(arguments)
        out, err = capsys.readouterr()
        return exit_status, [json.loads(line) for line in out.splitlines()], err

    return run


@pytest.fixture
def three(producing: producer.SessionProducer) -> list[str]:
    """Three queued requests: two escalations and a batch one."""
    lanes = ["escalation", "batch", "escalation"]
    return [
        producing.submit(openid=f"o{n}", kf_account="a@b", appid="wx1", lane=lane).id
        for n, lane in enumerate(lanes)
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("enqueue", "o1", "a@b"), "did you swap KF_ACCOUNT and OPENID?"),
        (("enqueue", "a@b"), "OPENID"),
        (("enqueue", "a@b", "o1", "--ttl", "10x"), "no duration"),
        (("enqueue", "a@b", "o1", "--metadata", "{"), "metadata"),
        (("enqueue", "a@b", "o1", "--lane", "fast"), "fast"),
        (("enqueue", "a@b", "o1", "--nonsense"), "nonsense"),
        (("nonsense",), "nonsense"),
        (("list", "--since", "soon"), "neither a duration ago"),
        (("show",), "one of them"),
        (("show", "x", "--key", "y"), "one of them"),
        (("show", "nobody"), "nobody: no such request"),
        (("cancel",), "give ids, or filters"),
        (("cancel", "x", "--lane", "batch"), "one of the two"),
        (("cancel", "nobody"), "nobody: no such request"),
        (("batch", "missing.csv"), "cannot read 'missing.csv'"),
        (("batch", "."), "cannot read '.'"),
    ],
)
def test_wrong_input_is_status_2_and_one_line(
    kfsession: Run, arguments: tuple[str, ...], why: str
) -> None:
    exit_status, _, talk = kfsession(*arguments)
    assert exit_status == 2
    assert why in talk
    assert len(talk.splitlines()) == 1


def test_a_wrong_setting_is_status_2_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KF_REDIS_URL", "http://planted-secret@h")
    assert cli._run(["list"]) == 2
    talk = capsys.readouterr().err
    assert talk.startswith("kfsession: KF_REDIS_URL: ")
    assert "planted-secret" not in talk


def test_enqueue_passes_every_option_on(
    kfsession: Run, producing: producer.SessionProducer
) -> None:
    exit_status, [receipt], _ = kfsession(
        *("enqueue", "a@b", "o1", "--appid", "wx1", "--fallback", "c@d", "--fallback", "any"),
        *("--ttl", "10m", "--key", "k1", "--metadata", '{"x": []}', "--lane", "batch"),
    )
    one = producing.get(receipt["id"])
    assert exit_status == 0
    assert one is not None
    assert one.targets == ("a@b", "c@d", "any")
    assert (one.deadline_at - one.submitted_at).total_seconds() == 600
    assert (one.key, one.metadata, one.lane) == ("k1", {"x": []}, "batch")


def test_list_filters_and_says_when_it_was_cut(kfsession: Run, three: list[str]) -> None:
    assert [each["id"] for each in kfsession("list")[1]] == sorted(three, reverse=True)
    assert [each["id"] for each in kfsession("list", "--lane", "batch")[1]] == [three[1]]
    assert kfsession("list", "--status", "failed")[1] == []
    _, found, talk = kfsession("list", "--limit", "2")
    assert len(found) == 2
    assert talk == "only the newest 2 are listed; --limit N lists more\n"


def test_a_change_by_filters_needs_an_answer_or_yes(kfsession: Run, three: list[str]) -> None:
    exit_status, changed, talk = kfsession("cancel", "--lane", "escalation")
    assert (exit_status, changed) == (2, [])
    assert talk == "kfsession: Cancel 2 requests? Nobody can answer here: give --yes\n"
    exit_status, changed, _ = kfsession("cancel", "--lane", "escalation", "--yes")
    assert exit_status == 0
    assert {each["id"] for each in changed} == {three[0], three[2]}


def test_retry_by_filters_leaves_what_somebody_took_back_alone(
    kfsession: Run, three: list[str]
) -> None:
    kfsession("cancel", *three)
    assert kfsession("retry", "--appid", "wx1", "--yes") == (0, [], "no such request\n")
    assert len(kfsession("retry", "--status", "cancelled", "--yes")[1]) == 3


def test_a_change_that_some_refuse_is_status_1(kfsession: Run, three: list[str]) -> None:
    exit_status, changed, _ = kfsession("retry", three[0], "nobody")
    assert exit_status == 1
    assert [each["result"] for each in changed] == ["live", "unknown"]


def test_batch_tells_bad_rows_by_line_and_sums_up(kfsession: Run) -> None:
    rows = b"openid,kf_account,appid\no1,a@b,wx1\nb ad,a@b,wx1\no1,a@b,wx1\no2,a@b,wx1,\no3,a@b,wx1"
    exit_status, [summary], talk = kfsession("batch", "-", stdin=rows)
    assert exit_status == 1
    assert summary == {"rows": 5, "new": 2, "joined": 1, "repeated": 0, "bad": 2}
    assert sorted(line[:7] for line in talk.splitlines()) == ["line 3:", "line 5:"]


def test_a_batch_that_loses_its_ledger_is_status_3_and_names_the_line_to_go_on_at(
    kfsession: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "SIZE", 1)
    write = ledger.Ledger.submit_many

    def lose_o3(self: ledger.Ledger, wishes: list[tuple[request.SessionRequest, str]]) -> object:
        if wishes[0][0].openid == "o3":
            raise errors.LedgerUnavailable("redis://fake", "gone", maybe_written=True)
        return write(self, wishes)

    monkeypatch.setattr(ledger.Ledger, "submit_many", lose_o3)
    rows = b"openid,appid\no1,wx1\n\no2,wx1\no3,wx1\no4,wx1\n"
    exit_status, printed, talk = kfsession("batch", "-", "--to", "a@b", stdin=rows)
    assert (exit_status, printed) == (3, [])
    assert talk.startswith("kfsession: Redis at redis://fake: gone; send the rows from line 5 on")
    assert len(talk.splitlines()) == 1


def test_a_read_that_fails_is_status_3(kfsession: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise redis.exceptions.TimeoutError("Timeout reading from socket")

    monkeypatch.setattr(reader.Reader, "select", fail)
    exit_status, printed, talk = kfsession("list")
    assert (exit_status, printed) == (3, [])
    assert talk.startswith("kfsession: Redis at redis://fake: TimeoutError")


def test_batch_puts_rows_that_name_no_lane_into_the_batch_lane(
    kfsession: Run, producing: producer.SessionProducer
) -> None:
    rows = (
        b'{"openid": "o1", "appid": "wx1"}\n{"openid": "o2", "appid": "wx1", "lane": "escalation"}'
    )
    assert kfsession("batch", "-", "--to", "any", stdin=rows)[0] == 0
    with producing.reading() as reads:
        assert reads.counts()[record.Status.QUEUED] == {"batch": 1, "escalation": 1}


def test_events_come_as_json_lines(kfsession: Run, three: list[str]) -> None:
    _, found, _ = kfsession("events")
    assert [each["id"] for each in found] == three
    assert [
        each["id"] for each in kfsession("events", "--since", found[1]["position"])[1]
    ] == three[2:]
    assert len(kfsession("events", "--since", "1h")[1]) == 3


def test_status_counts_and_check_says_what_needs_a_person(kfsession: Run, three: list[str]) -> None:
    exit_status, [seen], _ = kfsession("status")
    assert exit_status == 0
    assert seen["states"]["queued"]["count"] == 3
    assert seen["states"]["queued"]["by"] == {"escalation": 2, "batch": 1}
    assert seen["states"]["queued"]["oldest_age_seconds"] >= 0
    exit_status, [seen], talk = kfsession("status", "--check")
    assert exit_status == 1
    assert seen["needs_person"] == ["no worker is alive, and 3 requests need one"]
    assert "no worker is alive" in talk


def test_status_tells_living_workers_from_silent_ones(
    kfsession: Run, config: settings.Settings, three: list[str]
) -> None:
    desk = ledger.Ledger(
        conftest.connection.connect("", timeout_seconds=1, max_connections=1), config
    )
    desk.accounts.announce("host/1", {"version": "9.9", "slots": 4}, {"wx1": {"": 0}})
    exit_status, [seen], _ = kfsession("status", "--check")
    assert exit_status == 0
    assert seen["accounts"] == ["wx1"]
    [worker] = seen["workers"]
    assert (worker["name"], worker["is_alive"], worker["version"]) == ("host/1", True, "9.9")
    desk.dead_list.bury([dead_list.Refused(1, "kf.batch", "no JSON", "garbage")])
    exit_status, [seen], _ = kfsession("status", "--check")
    assert exit_status == 1
    assert seen["dead"] == 1
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=120)
    with producer.SessionProducer(config).reading() as reads:
        assert not status.look(reads, later)["workers"][0]["is_alive"]


def test_status_names_the_machine_that_stepped_back(
    kfsession: Run, config: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since when, why, and the mend; a person is needed unless it was a blip of the line."""
    desk = ledger.Ledger(
        conftest.connection.connect("", timeout_seconds=1, max_connections=1), config
    )
    refused = "wx1 0 60000 1 account_blocked 40164 invalid ip"
    desk.accounts.announce("host:7:abc", {}, {"wx1": {"": 0}}, [refused])
    exit_status, [seen], talk = kfsession("status", "--check")
    assert exit_status == 1
    [mark] = seen["workers"][0]["stepped_back"]
    assert (mark["appid"], mark["errcode"], mark["reason"]) == ("wx1", 40164, "account_blocked")
    said = "machine host:7:abc stepped back from wx1 since "
    assert said in talk
    assert "40164 invalid ip; add this machine's public address to the IP whitelist" in talk
    monkeypatch.setattr(terminal, "is_json", lambda _asked: False)
    monkeypatch.setenv("COLUMNS", "300")
    page = io.StringIO()
    monkeypatch.setattr(sys, "stdout", page)
    assert cli._run(("status",)) == 0
    assert said in page.getvalue()
    desk.accounts.announce("host:7:abc", {}, {"wx1": {"": 0}}, ["* 0 300 1 transient - no name"])
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli._run(("status", "--check")) == 0


#: Markup, C1, what turns the direction of writing, an escape, an ideographic space.
STEERING = "[/b]\x9b31m\u202e\x1b\u3000"


@pytest.mark.parametrize("is_json", [True, False])
def test_what_would_steer_a_terminal_is_shown_and_not_sent(
    kfsession: Run, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever command it comes through; nothing of it is read as markup."""
    name = f"{STEERING.replace(chr(0x3000), '')}@b"
    monkeypatch.setattr(terminal, "is_json", lambda _asked: is_json)
    written = io.BytesIO()
    page = io.TextIOWrapper(written, encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", page)
    terminal.line(STEERING)
    terminal.emit({"name": STEERING})
    terminal.show(terminal.table("a", rows=[(STEERING,)], title=STEERING))
    assert cli._run(("pause", name, "--appid", "wx1")) in (0, 2)
    text = written.getvalue().decode()
    assert not {"\x9b", "\u202e"} & set(text)
    assert "[/b]" in text
    assert "\u3000" in text, "a space of Chinese texts stays"
    assert json.loads(text.splitlines()[1]) == {"name": STEERING}


@pytest.mark.parametrize("kf_account", ["[/b]@shop", "[bold]anna[/bold]@shop", "客服[/]@shop"])
def test_an_agent_s_name_is_no_markup(
    kfsession: Run, kf_account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is written before it is told, so to tell it must not fail."""
    monkeypatch.setattr(terminal, "is_json", lambda _asked: False)
    page = io.StringIO()
    monkeypatch.setattr(sys, "stdout", page)
    assert cli._run(("pause", kf_account, "--appid", "wx1")) == 0
    assert page.getvalue() == f"{kf_account} of wx1: paused\n"


@pytest.mark.parametrize("command", [("list",), ("status",), ("show",), ("events",)])
def test_a_person_at_a_narrow_ascii_terminal_gets_whole_values(
    kfsession: Run,
    producing: producer.SessionProducer,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    openid = "o" + "x" * 100
    request_id = producing.submit(
        openid=openid, kf_account="客服@b", appid="wx1", metadata={"note": "[bold]\x1b[31m"}
    ).id
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(terminal, "is_json", lambda _asked: False)
    written = io.BytesIO()
    page = io.TextIOWrapper(written, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", page)
    arguments = (*command, request_id) if command == ("show",) else command
    assert cli._run(arguments) == 0
    text = written.getvalue().decode()
    assert max(len(line) for line in text.replace("\\u5ba2\\u670d", "").splitlines()) <= 80
    if command in (("list",), ("show",)):
        assert "".join(text.split()).count("x") >= 100
        assert "\x1b[31m" not in text


def test_help_of_every_command_fits_and_needs_no_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_REDIS_URL", "nonsense")
    for command in cli.app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        assert cli._run([name, "--help"]) == 0
        assert f"Usage: kfsession {name}" in capsys.readouterr().out


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run([]) == 2
    assert "Usage: kfsession" in capsys.readouterr().err


def test_ages_are_told_in_both_directions() -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert terminal.ago(now - datetime.timedelta(minutes=5)) == "5m ago"
    assert terminal.ago(now + datetime.timedelta(seconds=90.5)) == "in 2m"
    assert moments.spoken(90) == "2m"

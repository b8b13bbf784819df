"""`kfsession route` in this process: what it takes, prints and exits with."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from ops import cli
from producers import link, producer
from producers.route import run, view
from tests.unit.producers.route import queue_world
from tests.unit.producers.route.queue_world import World
from worker import errors

Run = Callable[..., tuple[int, Any, str]]


class Seeing:
    """The world, closed as the real one is."""

    def __init__(self, world: World) -> None:
        self.look = world.look

    def __enter__(self) -> Seeing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def world() -> World:
    return World([f"o{number}" for number in range(5)], {"a@x": 0, "b@x": 2})


@pytest.fixture
def route(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs `kfsession route` over the world: its exit status, its JSON, its talk."""
    for name, value in {
        "APPID": "wx1",
        "ACCESS_TOKEN": "PLANTED",
        "REDIS_URL": "redis://h",
    }.items():
        monkeypatch.setenv(f"KF_{name}", value)
    monkeypatch.setattr(link, "Link", lambda _: world)
    monkeypatch.setattr(
        producer.SessionProducer, "submit_many", lambda _, wishes: world.submit_many(wishes)
    )
    monkeypatch.setattr(World, "close", lambda _: None, raising=False)
    monkeypatch.setattr(view, "WeChat", lambda *_: Seeing(world))
    monkeypatch.setattr(run, "time", world)

    def made(*arguments: str) -> tuple[int, Any, str]:
        exit_status = cli._run(["route", *arguments])
        out, err = capsys.readouterr()
        assert len(out.splitlines()) <= 1
        return exit_status, json.loads(out) if out else None, err

    yield made
    structlog.reset_defaults()


def test_the_summary_is_one_object(route: Run) -> None:
    """Who was routed, skipped and left, and what each agent got."""
    exit_status, said, talk = route("--capacity", "3")
    assert (exit_status, talk) == (0, "1 fan waits, and nobody has room\n")
    assert said == {
        "appid": "wx1",
        "ended": "no_room",
        "seen": 5,
        "routed": 4,
        "failed": 0,
        "expired": 0,
        "cancelled": 0,
        "open": 0,
        "skipped": {"no_room": 1},
        "left": 1,
        "agents": {
            "a@x": {
                "routed": 3,
                "is_online": True,
                "capacity": 3,
                "serving": 3,
                "room": 0,
                "is_paused": False,
            },
            "b@x": {
                "routed": 1,
                "is_online": True,
                "capacity": 3,
                "serving": 3,
                "room": 0,
                "is_paused": False,
            },
        },
    }


def test_a_dry_run_shows_who_would_go_to_whom_and_submits_nothing(route: Run, world: World) -> None:
    world.know(queue_world.a_record("o1", status="waiting", reason="paused", targets=("z@x",)))
    exit_status, said, _ = route("--capacity", "3", "--dry-run")
    assert exit_status == 0
    assert said["assignments"] == [
        {"openid": "o0", "kf_account": "a@x"},
        {"openid": "o2", "kf_account": "a@x"},
        {"openid": "o3", "kf_account": "a@x"},
        {"openid": "o4", "kf_account": "b@x"},
    ]
    assert said["skipped"] == [{"openid": "o1", "why": "live_request"}]
    assert said["left"] == 1
    assert said["agents"]["b@x"] == {
        "capacity": 3,
        "serving": 2,
        "room": 1,
        "is_paused": False,
    }
    assert world.wishes == []


def test_an_empty_queue_is_a_summary_too(route: Run, world: World) -> None:
    world.waiting.clear()
    exit_status, said, talk = route("--capacity", "3")
    assert (exit_status, talk) == (0, "nobody waits\n")
    assert (said["ended"], said["seen"], said["left"]) == ("nobody_waits", 0, 0)


def test_without_a_capacity_it_asks_for_one(route: Run, world: World) -> None:
    """In one line that names both ways to give it; WeChat is not asked."""
    exit_status, said, talk = route()
    assert (exit_status, said, world.looks) == (2, None, 0)
    assert len(talk.splitlines()) == 1
    assert "--capacity N" in talk
    assert "KF_AGENT_CAPACITY" in talk


def test_a_capacity_of_the_settings_will_do(
    route: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_AGENT_CAPACITY", "3")
    assert route()[1]["routed"] == 4
    assert world.wishes[0]["fallbacks"] == ("any",)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--capacity", "0"), "greater than or equal to 1"),
        (("--capacity", "3", "--dry-run", "--watch"), "leave --watch out"),
        (("--capacity", "3", "--appid", "wx9"), "no credentials for 'wx9'; there are some for wx1"),
    ],
)
def test_wrong_input_is_status_2_and_one_line(
    route: Run, arguments: tuple[str, ...], why: str
) -> None:
    exit_status, said, talk = route(*arguments)
    assert (exit_status, said) == (2, None)
    assert why in talk
    assert len(talk.splitlines()) == 1


def test_several_accounts_need_a_name(
    route: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(
        '[[account]]\nappid = "wx1"\naccess_token = "t"\nagent_capacity = 3\n'
        '[[account]]\nappid = "wx2"\naccess_token = "t"\n'
    )
    monkeypatch.delenv("KF_APPID")
    monkeypatch.delenv("KF_ACCESS_TOKEN")
    monkeypatch.setenv("KF_ACCOUNTS_FILE", str(file))
    exit_status, _, talk = route("--capacity", "3")
    assert exit_status == 2
    assert "there are several accounts: wx1, wx2" in talk
    assert route("--appid", "wx1")[1]["routed"] == 4


def test_a_paused_account_is_status_1_and_said(route: Run, world: World) -> None:
    world.gates.is_paused = True
    exit_status, said, talk = route("--capacity", "3")
    assert (exit_status, said) == (1, None)
    assert talk == "kfsession: account wx1 is paused; kfsession resume --appid wx1 ends that\n"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            errors.from_errcode(48001, "api unauthorized rid: 1-2-3"),
            1,
            "errcode 48001: the account may not use this API (rid 1-2-3); enable the new",
        ),
        (errors.from_errcode(99999, None), 1, "errcode 99999"),
        (errors.from_errcode(-1, "system error"), 3, "WeChat is busy"),
        (errors.NeverLeft("h/p: not sent: Connection refused"), 3, "Connection refused"),
        (errors.UnreadableReply("HTTP 502"), 3, "HTTP 502"),
        (errors.TokenUnavailable("no token", hint="write one"), 3, "no token; write one"),
        (
            errors.TokenUnavailable(
                "no token", hint="h", cause_error=errors.from_errcode(40125, None)
            ),
            1,
            "no token; h",
        ),
    ],
)
def test_what_wechat_does_not_let_us_do_is_one_line_and_a_status(
    route: Run, world: World, error: Exception, status: int, told: str
) -> None:
    def fail() -> None:
        raise error

    world.on_look = fail
    exit_status, said, talk = route("--capacity", "3")
    assert (exit_status, said) == (status, None)
    assert told in talk
    assert len(talk.splitlines()) == 1


def test_what_breaks_a_run_off_still_leaves_its_summary(route: Run, world: World) -> None:
    def fail() -> None:
        if world.looks == 2:
            raise errors.from_errcode(48001, None)

    world.on_look = fail
    exit_status, said, talk = route("--capacity", "3")
    assert (exit_status, said["ended"], said["routed"]) == (1, "error", 4)
    assert "48001" in talk


def test_a_request_that_failed_is_status_1(route: Run, world: World) -> None:
    world.deliver = lambda one, _: (
        ("failed", "invalid_openid") if one.openid == "o1" else ("created", None)
    )
    exit_status, said, _ = route("--capacity", "9")
    assert (exit_status, said["failed"], said["routed"], said["left"]) == (1, 1, 4, 1)


def test_requests_that_nobody_takes_are_status_1_and_a_word(route: Run, world: World) -> None:
    world.deliver = lambda *_: None
    exit_status, said, talk = route("--capacity", "9")
    assert (exit_status, said["ended"], said["open"]) == (1, "not_moving", 5)
    assert "does a worker run?" in talk


def test_all_that_are_shown_are_skipped_and_it_says_what_that_means(
    route: Run, world: World
) -> None:
    for number in range(130):
        world.waiting[f"o{number}"] = 1
        world.know(queue_world.a_record(f"o{number}", status="failed"))
    exit_status, said, talk = route("--capacity", "9")
    assert (exit_status, said["ended"], said["left"]) == (0, "all_skipped", 130)
    assert talk == (
        "all 100 fans whom WeChat shows are left alone (100 failed_recently); it shows only the"
        " oldest, and hides 30 more until these get a session or leave\n"
    )


def test_one_fan_is_not_called_fans(route: Run, world: World) -> None:
    world.waiting = {"o1": 1}
    world.know(queue_world.a_record("o1", status="failed"))
    _, _, talk = route("--capacity", "9")
    assert talk == "the only fan whom WeChat shows is left alone (1 failed_recently)\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_watch_ends_with_a_summary_when_it_is_told_to(
    route: Run, world: World, number: signal.Signals, status: int
) -> None:
    def stop() -> None:
        if world.looks == 4:
            signal.raise_signal(number)

    world.on_look = stop
    exit_status, said, talk = route("--capacity", "3", "--watch")
    assert (exit_status, said["ended"], said["routed"]) == (status, "interrupted", 4)
    assert talk == "1 fan waits, and nobody has room; watching\n"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_person_at_a_terminal_gets_tables_and_a_bar(
    route: Run, world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    out, err = Terminal(), Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    world.know(queue_world.a_record("o1", status="failed"))
    world.waiting["o0"] = 10**18  # no such year
    assert cli._run(["route", "--capacity", "3", *arguments]) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert "a@x" in text
    assert "failed_recently" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert ("under way" in err.getvalue()) is not bool(arguments)


def test_help_says_what_is_needed(route: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["route", "--help"]) == 0
    assert "--capacity" in capsys.readouterr().out


def test_imports_nothing_of_wechat_before_it_runs() -> None:
    """requests takes a tenth of a second that no other command should pay for."""
    code = "import sys, ops.cli; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_worker_that_is_said_at_once(route: Run, world: World) -> None:
    """Requests would stand in their lane, and nobody would know why."""
    world.has_workers = False
    _, _, talk = route("--capacity", "5", "--dry-run")
    assert "no worker is alive" in talk
    world.has_workers = True
    _, _, talk = route("--capacity", "5", "--dry-run")
    assert "no worker" not in talk

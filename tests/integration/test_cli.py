"""`kfsession` as a process: what it prints where, and the status it exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import producers
from tests.integration import settling
from worker.contract import settings

COMMAND = [sys.executable, "-c", "from ops.cli import main; main()"]


def environment(config: settings.Settings, **more: str) -> dict[str, str]:
    return {
        "KF_REDIS_URL": config.ledger_url,
        "KF_KEY_PREFIX": config.key_prefix,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.environ["PATH"],
        **more,
    }


def kfsession(
    arguments: Sequence[str], with_environment: dict[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=with_environment,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def test_a_request_is_made_and_shown(config: settings.Settings) -> None:
    mine = environment(config)
    made = kfsession(["enqueue", "a@b", "o1", "--appid", "wx1", "--ttl", "10m"], mine)
    receipt = json.loads(made.stdout)
    assert (made.returncode, made.stderr) == (0, "")
    assert set(receipt) == {"id", "status", "how"}

    shown = json.loads(kfsession(["show", receipt["id"]], mine).stdout)
    assert (shown["openid"], shown["status"], shown["schema"]) == ("o1", "queued", 1)


def test_redis_out_of_reach_is_status_3_and_one_line_without_the_password(
    config: settings.Settings, dead_url: str
) -> None:
    ended = kfsession(["list"], environment(config) | {"KF_REDIS_URL": dead_url})
    assert (ended.returncode, ended.stdout) == (3, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "127.0.0.1" in ended.stderr
    assert "planted-secret" not in ended.stderr


def test_a_frozen_redis_is_status_3_in_time(config: settings.Settings, frozen_url: str) -> None:
    mine = environment(config, KF_SUBMIT_TIMEOUT_SECONDS="0.5") | {"KF_REDIS_URL": frozen_url}
    ended = kfsession(["enqueue", "a@b", "o1"], mine)
    assert ended.returncode == 3
    assert "may have been accepted" in ended.stderr


def test_without_a_chosen_ledger_stderr_names_the_one_in_use(config: settings.Settings) -> None:
    mine = environment(config)
    del mine["KF_REDIS_URL"]
    ended = kfsession(["show", "nobody"], mine)
    assert ended.stderr.splitlines()[0].startswith("ledger: redis://127.0.0.1:6379/0")


def test_a_file_is_sent_and_its_bad_rows_told_by_line(
    config: settings.Settings, tmp_path: Path
) -> None:
    rows = "openid,kf_account,appid\no1,客服@b,wx1\nbad one,a@b,wx1\no2,a@b,wx1\n"
    (tmp_path / "rows.csv").write_bytes(rows.encode("gbk"))
    ended = kfsession(["batch", str(tmp_path / "rows.csv")], environment(config))
    assert ended.returncode == 1
    assert json.loads(ended.stdout) == {
        "rows": 3,
        "new": 2,
        "joined": 0,
        "repeated": 0,
        "bad": 1,
    }
    assert ended.stderr.startswith("line 3: openid:")


def test_a_reader_that_goes_away_ends_a_command_quietly(config: settings.Settings) -> None:
    mine = environment(config)
    with producers.SessionProducer(config) as producer:
        producer.submit_many(
            {"openid": f"o{n}", "kf_account": "a@b", "appid": "wx1"} for n in range(500)
        )
    listing = subprocess.Popen(
        [*COMMAND, "list", "--limit", "500"],
        env=mine,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.readline()
    listing.stdout.close()
    assert listing.stderr.read() == b""
    assert listing.wait(20) == 141
    listing.stderr.close()


def test_an_interrupt_ends_with_130_and_no_traceback(config: settings.Settings) -> None:
    following = subprocess.Popen(
        [*COMMAND, "events", "--follow", "--since", "1h"],
        env=environment(config),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert following.stdout is not None
    assert following.stderr is not None
    with producers.SessionProducer(config) as producer:
        producer.submit(openid="o1", kf_account="a@b", appid="wx1")
    assert json.loads(following.stdout.readline())["status"] == "queued"
    following.send_signal(signal.SIGINT)
    assert following.wait(10) == 130
    assert following.stderr.read() == b""
    following.stdout.close()
    following.stderr.close()


def test_a_locale_without_unicode_still_gets_json(config: settings.Settings) -> None:
    mine = environment(config, PYTHONIOENCODING="ascii")
    made = kfsession(
        [
            "enqueue",
            "a@b",
            "o1",
            "--appid",
            "wx1",
            "--metadata",
            '{"name": "客服"}',
            "--wait",
            "1ms",
        ],
        mine,
    )
    assert made.returncode == 5
    assert json.loads(made.stdout)["metadata"] == {"name": "客服"}


def test_the_simulator_says_where_it_listens_and_ends_at_a_signal() -> None:
    started = subprocess.Popen(
        [*COMMAND, "simulate", "--port", "0"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    assert "listening on http://127.0.0.1:" in started.stderr.readline()
    started.send_signal(signal.SIGTERM)
    assert started.wait(10) == 0
    started.stderr.close()


@pytest.mark.parametrize(("status", "expected"), [("created", 0), ("failed", 4), (None, 5)])
def test_waiting_exits_by_what_became_of_it(
    config: settings.Settings, status: str | None, expected: int
) -> None:
    mine = environment(config)
    waiting = subprocess.Popen(
        [
            *COMMAND,
            "enqueue",
            "a@b",
            "o1",
            "--appid",
            "wx1",
            "--wait",
            "20s" if status else "100ms",
        ],
        env=mine,
        stdout=subprocess.PIPE,
        text=True,
    )
    if status:
        settling.settle_next(config, status, time.monotonic() + 15)
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == expected
    assert json.loads(out)["status"] == (status or "queued")

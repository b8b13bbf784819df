"""`kfsession up`, with the simulator in WeChat's place."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ops.simulator import running
from tests.acceptance import family
from worker.ledger import reader

PATIENCE_SECONDS = 60.0


@pytest.fixture
def wechat() -> Iterator[running.SimulatorThread]:
    with running.SimulatorThread() as simulator:
        yield simulator


def credentials(wechat: running.SimulatorThread) -> dict[str, str]:
    return {
        "KF_API_BASE_URL": wechat.url,
        "KF_APPID": "wx0000000000000000",
        "KF_APPSECRET": "simulator-secret",
        "KF_CALL_TIMEOUT_SECONDS": "2",
    }


def kfsession(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run one command to its end; its exit status and what it wrote to stdout."""
    command = family.start(directory, *arguments)
    out, _ = command.communicate(timeout=PATIENCE_SECONDS)
    return command.returncode, out


def announced(up: subprocess.Popen[str], directory: Path) -> dict[str, object]:
    """What `up` says of its ledger, once a worker has announced itself there."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends and up.poll() is None:
        if (directory / ".kfsession/ledger.json").exists():
            _, out = kfsession(directory, "status")
            if out and json.loads(out)["workers"]:
                found: dict[str, object] = json.loads(
                    (directory / ".kfsession/ledger.json").read_text()
                )
                return found
        time.sleep(0.1)
    pytest.fail(f"up did not get ready, status {up.poll()}")


def test_up_serves_a_request_and_keeps_it_until_the_next_time(
    tmp_path: Path, wechat: running.SimulatorThread
) -> None:
    """Commands find its ledger by the announcement; the ledger outlives it, on the same port."""
    up = family.start(tmp_path, "up", **credentials(wechat))
    try:
        first = announced(up, tmp_path)
        status, out = kfsession(
            tmp_path, "enqueue", "anna@simulator", "fan_1", "--wait", "20s", "--json"
        )
        assert status == 0
        assert json.loads(out)["status"] == "created"
        assert wechat.summary()["sessions_opened"] == 1
        children = family.descendants(up.pid)
        up.send_signal(signal.SIGTERM)
        _, err = up.communicate(timeout=PATIENCE_SECONDS)
    finally:
        up.kill()
    assert up.returncode == 0, err
    assert "worker | " in err
    assert "simulator-secret" not in err
    assert not family.living_after(children, 0)
    assert not (tmp_path / ".kfsession/ledger.json").exists()

    again = family.start(tmp_path, "up", **credentials(wechat))
    try:
        second = announced(again, tmp_path)
        _, out = kfsession(tmp_path, "show", "--openid", "fan_1")
    finally:
        again.terminate()
        again.communicate(timeout=PATIENCE_SECONDS)
    assert json.loads(out)["status"] == "created"
    assert second["url"] == first["url"]


def test_a_killed_up_leaves_no_process_and_no_announcement_behind(
    tmp_path: Path, wechat: running.SimulatorThread
) -> None:
    """The worker ends first, since it needs Valkey; Valkey takes its announcement back."""
    up = family.start(tmp_path, "up", **credentials(wechat))
    try:
        announced(up, tmp_path)
        children = family.descendants(up.pid)
    finally:
        up.kill()
    assert not family.living_after(children, 10.0)
    assert not (tmp_path / ".kfsession/ledger.json").exists()
    up.communicate()


def test_a_worker_that_dies_ends_up(tmp_path: Path, wechat: running.SimulatorThread) -> None:
    """It is said, and whoever watches over `up` sees exit status 1."""
    up = family.start(tmp_path, "up", **credentials(wechat))
    try:
        told = announced(up, tmp_path)
        children = family.descendants(up.pid)
        worker = _worker_of(str(told["url"]))
        assert worker in children
        os.kill(worker, signal.SIGKILL)
        _, err = up.communicate(timeout=PATIENCE_SECONDS)
    finally:
        up.kill()
    assert up.returncode == 1
    assert err.splitlines()[-1] == "kfsession: worker ended by itself, with status 137"
    assert not family.living_after(children, 0)


def test_a_second_up_in_the_same_directory_says_so(
    tmp_path: Path, wechat: running.SimulatorThread
) -> None:
    """Two servers on the same data would ruin it."""
    first = family.start(tmp_path, "up", **credentials(wechat))
    try:
        announced(first, tmp_path)
        second = family.start(tmp_path, "up", **credentials(wechat))
        _, err = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 1
        assert f"already, process {first.pid};" in err
        assert first.poll() is None
    finally:
        first.terminate()
        first.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({}, "KF_APPSECRET"),
        ({"KF_APPSECRET": "a-secret-1"}, "KF_APPID"),
        ({"KF_ACCESS_TOKEN": "t", "KF_CONCURRENCY": "many"}, "KF_CONCURRENCY"),
    ],
)
def test_wrong_settings_stop_up_before_anything_starts(
    tmp_path: Path, wrong: dict[str, str], variable: str
) -> None:
    """One line that names the variable, exit status 2, and not a file."""
    up = family.start(tmp_path, "up", **wrong)
    _, err = up.communicate(timeout=PATIENCE_SECONDS)
    assert up.returncode == 2
    (line,) = err.splitlines()
    assert variable in line
    assert "a-secret-1" not in line
    assert list(tmp_path.iterdir()) == []


def _worker_of(url: str) -> int:
    """The process that the one worker of this ledger announced."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        (name,) = reader.Reader(client, "kf").workers()
    return int(name.split(":")[1])

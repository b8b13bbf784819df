"""`kfsession demo`, as a newcomer runs it."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance import family

#: What the brief gives every child once its owner was killed.
ENDS_WITHIN_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
#: Valkey's runner, Valkey, simulator and worker, and a guard for each of the three parts.
LEAST_CHILDREN = 7


def test_a_demo_ends_with_every_fan_as_planned(tmp_path: Path) -> None:
    """Exit status 0, a table, the calls, the seed, and three lines to paste; nothing is left."""
    demo = family.start(tmp_path, "demo", "--fans", "16", "--seed", "3")
    out, err = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 0, err
    assert out.count("all did") == 13
    assert "/customservice/kfsession/create" in out
    assert "17 sessions opened, none twice" in out
    assert "gina@demo never served more than 2 at a time" in out
    assert "kfsession route: 5 routed, 0 skipped, 0 left (nobody_waits)" in out
    assert "seed 3" in out
    assert out.rstrip().splitlines()[-4] == "Next:"
    assert "16/16 fans" in err
    assert not (tmp_path / ".kfsession/demo/ledger.json").exists()


def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL leaves no time for anything: the guards see to the children."""
    demo = family.start(tmp_path, "demo", "--fans", "16", "--seed", "3")
    try:
        children = _when_it_runs(demo, tmp_path)
    finally:
        demo.kill()
    assert len(children) >= LEAST_CHILDREN
    assert not family.living_after(children, ENDS_WITHIN_SECONDS)
    demo.communicate()


def test_ctrl_c_ends_a_demo_and_all_its_parts(tmp_path: Path) -> None:
    """In order, with the exit status of an interrupt and no traceback."""
    demo = family.start(tmp_path, "demo", "--fans", "16", "--seed", "3")
    try:
        children = _when_it_runs(demo, tmp_path)
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=PATIENCE_SECONDS)
    finally:
        demo.kill()
    assert demo.returncode == 128 + signal.SIGINT
    assert "Traceback" not in err
    assert not family.living_after(children, 0)


def test_a_second_demo_in_the_same_directory_says_so(tmp_path: Path) -> None:
    """One line, exit status 1, and the first one goes on."""
    first = family.start(tmp_path, "demo", "--fans", "16", "--seed", "3")
    try:
        children = _when_it_runs(first, tmp_path)
        second = family.start(tmp_path, "demo")
        _, err = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 1
        assert err.splitlines() == [
            f"kfsession: another demo runs in this directory already, process {first.pid};"
            " use another directory"
        ]
        assert family.living_after(children, 0) == children
    finally:
        first.terminate()
        first.communicate(timeout=PATIENCE_SECONDS)


def test_a_demo_with_too_few_fans_names_the_least(tmp_path: Path) -> None:
    """Wrong input is exit status 2, before anything starts."""
    demo = family.start(tmp_path, "demo", "--fans", "3")
    _, err = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 2
    assert "16" in err
    assert not (tmp_path / ".kfsession").exists()


def _when_it_runs(demo: subprocess.Popen[str], directory: Path) -> set[int]:
    """Its children, once the worker is ready."""
    log = directory / ".kfsession/demo/worker.log"
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends and demo.poll() is None:
        if log.exists() and "ready." in log.read_text():
            return family.descendants(demo.pid)
        time.sleep(0.1)
    pytest.fail(f"the demo did not get ready, status {demo.poll()}")

"""The parts of a stack and their guards, with commands that behave badly."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.stack import parts
from tests.acceptance import family

PATIENCE_SECONDS = 20.0
#: Deaf to SIGTERM, with a child as deaf as itself.
DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, *sys.orig_argv[1:], "child"])
print("ready", flush=True)
time.sleep(600)
"""
#: Starts one that is not stopped with it, and ends.
CARELESS = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
"""
#: Owns a part and does nothing else.
OWNER = """
import sys, time
from ops.stack import parts
tell = lambda *_: print("ready", flush=True)
part = parts.Part("deaf", sys.argv[1:], grace_seconds=0.5, on_line=tell)
time.sleep(600)
"""


def test_a_part_that_will_not_end_is_killed_with_all_it_started() -> None:
    """SIGTERM, its grace, then SIGKILL for the whole group."""
    lines: list[str] = []
    with parts.Part(
        "deaf",
        parts.python("-c", DEAF),
        grace_seconds=0.3,
        on_line=lambda _, line: lines.append(line),
    ) as part:
        part.wait_for(lambda: True if len(lines) == 2 else None, PATIENCE_SECONDS)
        deaf = family.descendants(part.pid)
        assert len(deaf) == 2
    assert not family.living_after(deaf, 0)
    assert part.status == 128 + 9


def test_a_part_that_will_not_end_does_not_outlive_a_killed_owner() -> None:
    """Its guard hears of the owner's end from the kernel."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, sys.executable, "-c", DEAF], stdout=subprocess.PIPE
    )
    try:
        assert owner.stdout is not None
        assert [owner.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
        started = family.descendants(owner.pid)
        assert len(started) == 3
    finally:
        owner.kill()
    assert not family.living_after(started, 5.0)
    owner.communicate()


def test_what_a_part_leaves_behind_is_swept() -> None:
    """A worker's or a server's own children end with it."""
    lines: list[str] = []
    part = parts.Part(
        "careless",
        parts.python("-c", CARELESS),
        grace_seconds=5,
        on_line=lambda _, line: lines.append(line),
    )
    with pytest.raises(parts.PartFailed, match="careless ended by itself, with status 0"):
        part.wait_for(lambda: None, PATIENCE_SECONDS)
    part.end()
    assert not family.living_after([int(lines[0])], 5.0)


def test_a_part_that_does_not_get_ready_is_named_with_its_log(tmp_path: Path) -> None:
    """A person has to know where to look."""
    log = tmp_path / "slow.log"
    with (
        parts.Part("slow", parts.python("-c", DEAF), grace_seconds=0.1, log=log) as part,
        pytest.raises(parts.PartFailed, match=rf"slow did not get ready within 0.2 s; .* {log}"),
    ):
        part.wait_for(lambda: None, 0.2)

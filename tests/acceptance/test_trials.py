"""The trials that are run by hand work, judge rightly, and leave no process behind."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.chaos import children, trial
from tests.acceptance import processes

TRIALS = {
    "ops.bench.waiting_memory": (
        *("--requests", "500", "--expiring", "500", "--expiring-ttl", "3"),
        *("--fewest-buried", "1", "--most-tick-ratio", "1000"),
    ),
    # Who takes long to start is left out: two processes, and whom ours is measured against.
    "ops.bench": (
        *("--rounds", "1", "--scale", "0.01", "--output", "written", "--only", "bare", "batch"),
        *("escalation", "latency", "submitting"),
    ),
    "ops.bench.hanging_api": (
        *("--requests", "400", "--drained", "50", "--hang", "3", "--call-timeout", "1"),
        *("--most-growth", "2000"),  # of so few requests the buffers of Redis are a part
        *("--workers", "1", "--slots", "4", "--latency-ms", "10", "--least-share", "0"),
    ),
    "ops.bench.round_trips": (
        *("--fans", "30", "--idle", "1", "--away", "1", "--presence-seconds", "0.5"),
        *("--slots", "16", "--latency-ms", "10", "--most-round-trips", "100"),
    ),
    "ops.bench.woken_fans": (
        *("--fans", "60", "--away", "1", "--presence-seconds", "1"),
        *("--slots", "4", "--latency-ms", "10", "--least-share", "0"),
    ),
    # Each slot may waste one first call, so there are few of them; CI judges counts, not speed.
    "ops.bench.returning_agent": (
        *("--fans", "40", "--away", "2", "--presence-seconds", "1"),
        *("--slots", "2", "--latency-ms", "10", "--no-usual", "--slack", "30"),
    ),
    "ops.bench.little_room": (
        *("--fans", "20", "--away", "2", "--presence-seconds", "1", "--slots", "2"),
        *("--latency-ms", "10", "--capacity", "10", "--session-seconds", "1"),
        *("--lag-seconds", "0.5"),
    ),
    "ops.bench.leaving_agent": (
        *("--fans", "300", "--away", "3", "--presence-seconds", "1", "--slots", "4"),
        *("--lag-seconds", "1", "--slack", "30"),
    ),
    "ops.bench.idle_rooms": ("--fans", "200", "--accounts", "10", "--seconds", "2"),
    "ops.bench.paused_account": (
        *("--fans", "300", "--drained", "200", "--slots", "4", "--least-share", "0.1"),
    ),
}
#: What each prints among other things: a count of what it was about.
_FIGURE = r"^(outcomes +\{'created': \d+\}|bytes a request +\d+|sessions +\d+|waiting +\d+)"


@pytest.fixture
def some(tmp_path: Path) -> Iterator[children.Children]:
    """What ends with the test."""
    with children.Children(tmp_path) as made:
        yield made


def start(some: children.Children, tmp_path: Path, module: str, *arguments: str) -> children.Child:
    """A trial whose traces, its children's environments, can be told from others'."""
    environment = children.environment(TMPDIR=str(tmp_path))
    return some.start("trial", [sys.executable, "-m", module, *arguments], environment)


def left_behind(tmp_path: Path) -> list[int]:
    """The processes that know this test's directory, except for ours."""
    marked = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            knows = str(tmp_path).encode() in (each / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is not ours to see
            continue
        if knows and int(each.name) != os.getpid():
            marked.append(int(each.name))
    return marked


@pytest.mark.parametrize("module", TRIALS)
def test_a_small_trial_ends_well_and_leaves_nothing(
    some: children.Children, tmp_path: Path, module: str
) -> None:
    """It prints its settings and figures, exits with 0, and its files are gone."""
    child = start(some, tmp_path, module, *TRIALS[module])
    assert child.wait(processes.PATIENCE_SECONDS) == 0, child.output()
    assert re.match(r"settings: --(requests|fans|rounds) \d+", child.output())
    assert re.search(_FIGURE, child.output(), re.M)
    assert not list(tmp_path.glob("kfsession-*"))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_trial_that_is_ended_takes_its_processes_with_it(
    some: children.Children, tmp_path: Path, how: str
) -> None:
    """However it ends, its Valkey, its WeChat and its workers end too."""
    arguments = ("worker-killed", "--requests", "5000", "--strikes", "1", "--slots", "1")
    child = start(some, tmp_path, "ops.chaos", *arguments)
    trial.poll(lambda: len(left_behind(tmp_path)) >= 5, seconds=30, what="the whole stack runs")
    if how == "SIGKILL":
        child.kill()
    else:
        assert child.stop() == 128 + 15
    trial.poll(lambda: not left_behind(tmp_path), seconds=10, what="its processes are gone")

"""Every fault of `python -m ops.chaos`, small: nothing is lost, doubled or left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.chaos import children
from ops.chaos.faults import table, together
from tests import needs

#: One takes half a minute; what a dead worker had in hand may take kombu half a minute more.
_PATIENCE_SECONDS = 110.0
#: `all-together` strikes with each of the faults that share its world once; these have their own.
_SMALL = ("--requests", "200", "--scale", "0.05", "--slots", "8", "--call-timeout", "0.5")
RUNS = {
    "all-together": ("--strikes", str(len(together.STRIKES)), "--requests", "400"),
    "worker-killed-at-step": ("--strikes", "6"),
    "worker-killed-handover": ("--strikes", "2"),
    "worker-ended": ("--strikes", "2"),
    # A machine without its token, or with a dead one, and `any` of liars go the same courses.
    "machine-refused": (),
    "machine-without-dns": (),
    "agents-lie": ("--call-timeout", "2"),  # a call takes half a second
    "account-hangs": (),
    "redis-reply-lost": ("--strikes", "10"),
    "clocks-differ": ("--strikes", "1"),
    "server-clock-ahead": ("--strikes", "1"),
    "doorbells-dropped": (),
    "wechat-certificate": ("--strikes", "2"),
    "wechat-handover": (),
    "producer-killed": ("--strikes", "1"),
    "producers-race": (),
    "broker-away": ("--strikes", "1"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_fault_loses_and_doubles_nothing(tmp_path: Path, name: str) -> None:
    """Both books agree after it."""
    if table.FAULTS[name].has_own_clock:
        needs.faketime()
    command = [sys.executable, "-m", "ops.chaos", name, *_SMALL, *RUNS[name]]
    environment = children.environment(TMPDIR=str(tmp_path))
    with children.Children(tmp_path) as some:
        trial = some.start("chaos", command, environment)
        assert trial.wait(_PATIENCE_SECONDS) == 0, trial.output()
        assert f"ok    {name} " in trial.output()
    assert not list(tmp_path.glob("kfsession-*"))


def test_every_fault_stands_in_the_readme() -> None:
    """The table's rows begin with the commands that repeat them."""
    text = (Path(table.__file__).parents[1] / "README.md").read_text()
    missing = [name for name in table.FAULTS if f"| `python -m ops.chaos {name}` |" not in text]
    assert missing == []

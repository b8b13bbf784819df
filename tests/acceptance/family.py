"""Takes a process of `kfsession` and tells which processes it started, and which of these live."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_LOOK_SECONDS = 0.05


def start(directory: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`kfsession ARGUMENTS` in a directory, with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KF_")}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("kfsession")), *arguments],
        cwd=directory,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def descendants(pid: int) -> set[int]:
    """Every living process that this one started, or that one of them did."""
    parents = {child: parent for child, (parent, _) in _table().items()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def living_after(pids: Iterable[int], seconds: float) -> set[int]:
    """Those of `pids` that still live after so long; returns at once when none does."""
    ends = time.monotonic() + seconds
    while True:
        table = _table()
        living = {pid for pid in pids if pid in table and not table[pid][1].startswith("Z")}
        if not living or time.monotonic() > ends:
            return living
        time.sleep(_LOOK_SECONDS)


def _table() -> dict[int, tuple[int, str]]:
    """Parent and state of every process."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid): (int(parent), state) for pid, parent, state in rows}

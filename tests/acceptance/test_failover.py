"""A master that dies under the work: what submit returned a receipt for ends, and ends once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ops.chaos import children

#: A trial starts nine processes before it begins, in seconds.
_PATIENCE_SECONDS = 110.0


def test_a_small_failover_loses_nothing_that_a_replica_had(tmp_path: Path) -> None:
    """One master dies, the next stands still and goes on later; and no fan has two agents."""
    arguments = ["--requests", "300", "--failovers", "2", "--stops", "1", "--replicas", "1"]
    environment = children.environment(TMPDIR=str(tmp_path))
    command = [sys.executable, "-m", "ops.chaos.failover", *arguments]
    with children.Children(tmp_path) as some:
        child = some.start("trial", command, environment)
        assert child.wait(_PATIENCE_SECONDS) == 0, child.output()
    said = child.output()
    assert re.match(r"settings: --requests 300 --failovers 2", said)
    figures = dict(re.findall(r"^(\w[\w ]*?) {2,}(.+)$", said, re.M))
    assert figures["failovers"] == "2"
    assert figures["accepted"] == "300"
    assert figures["doubled"] == figures["untrue records"] == "0"
    assert figures["lost"].startswith("0 of 300 accepted")
    assert not list(tmp_path.glob("kfsession-*"))

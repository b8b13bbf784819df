"""A server's clock steps while it runs, and nothing but its time of day changes."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from ops.chaos import children, server_clock, servers, trial
from tests import needs


def test_the_clock_of_one_server_steps_and_its_waiting_does_not(tmp_path: Path) -> None:
    """An hour ahead and an hour behind, a blocked client waits as long as it asked to."""
    needs.faketime()
    with (
        server_clock.ServerClock() as clock,
        children.Children(tmp_path) as some,
        contextlib.closing(
            servers.valkey(tmp_path / "valkey", some, environment=clock.environment()).client()
        ) as client,
    ):

        def ahead_seconds() -> int:
            seconds, _ = client.time()
            return round(seconds - time.time())

        for step, expected in ((3600, 3600), (-7200, -3600), (3600, 0)):
            clock.step(step)
            begun = time.monotonic()
            assert client.blpop("nothing", 0.2) is None
            assert 0.2 <= time.monotonic() - begun < 5
            assert abs(ahead_seconds() - expected) <= 1
        assert clock.most_behind_ms == 3_600_000


def test_a_missing_library_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(trial.Missing, match="faketime is missing: apt-get install faketime"):
        server_clock.ServerClock()

"""children: whoever is started is known to the guard, whatever becomes of us."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ops.chaos import children, trial
from tests.acceptance import family

LONG = (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")


def test_a_child_is_the_command_itself_with_nothing_to_read(tmp_path: Path) -> None:
    """A signal hits it and no shell around it; its arguments come as they are."""
    script = "import os, sys; print(os.getpid(), sys.stdin.read() == '', sys.argv[1:])"
    with children.Children(tmp_path) as some:
        one = some.start("it's", [sys.executable, "-c", script, "a b", "$HOME", ""])
        assert one.wait(20) == 0
    assert one.output().split(maxsplit=2) == [str(one.pid), "True", "['a b', '$HOME', '']\n"]


def test_who_is_still_there_at_the_end_is_killed(tmp_path: Path) -> None:
    """Frozen or not."""
    with children.Children(tmp_path) as some:
        one = some.start("long", LONG)
        one.freeze()
    assert not one.is_running


def test_a_child_that_we_end_before_we_know_of_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when SIGTERM comes between the fork and the next line."""

    class Ended(subprocess.Popen[bytes]):
        def __init__(self, command: object, **options: object) -> None:
            super().__init__(command, **options)  # type: ignore[call-overload]
            if "-IS" not in command:  # type: ignore[operator]
                trial.poll(log.read_text, seconds=10, what="it runs")
                unknown.append(self)
                raise SystemExit

    log, unknown = tmp_path / "long-0.log", list[Ended]()
    monkeypatch.setattr(children.subprocess, "Popen", Ended)
    with pytest.raises(SystemExit), children.Children(tmp_path) as some:
        some.start("long", LONG)
    (process,) = unknown
    assert process.wait(10) == -9


def test_a_killed_owner_takes_its_children_with_it(tmp_path: Path) -> None:
    """The guard hears of its end from the kernel."""
    owner = textwrap.dedent(
        """
        import pathlib, sys, time
        from ops.chaos import children
        with children.Children(pathlib.Path(sys.argv[1])) as some:
            some.start("long", sys.argv[2:])
            time.sleep(600)
        """
    )
    root = str(Path(children.__file__).parents[2])
    log = tmp_path / "long-0.log"
    with subprocess.Popen([sys.executable, "-c", owner, tmp_path, *LONG], cwd=root) as process:
        try:
            trial.poll(lambda: log.exists() and log.read_text(), seconds=20, what="it runs")
        finally:
            process.kill()
    assert not family.living_after([int(log.read_text())], 10)

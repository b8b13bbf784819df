"""Takes commands and hands on running parts, each under a guard that ends it with its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

#: The worker's line in the Procfile.
WORKER = ("celery", "-A", "worker.app", "worker")

_GUARD = Path(__file__).with_name("guard.py")
#: How often somebody who waits looks again, in seconds.
_LOOK_SECONDS = 0.05

_T = TypeVar("_T")


class PartFailed(Exception):
    """A part ended, or did not get ready; the text is one line that names it and its log."""


class Part:
    """One child process of this one.

    `log` takes its output, or `on_line` each line of it. `holds` are descriptors the guard keeps
    open as long as the part lives: a lock, the `lifeline` of each part that has to outlive it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        grace_seconds: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        on_line: Callable[[str, str], None] | None = None,
        holds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._grace_seconds = grace_seconds
        guarded, self.lifeline = os.pipe()
        output = log.open("ab") if log else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-IS", str(_GUARD), str(guarded), str(grace_seconds), *command],
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                pass_fds=(guarded, *holds),
                start_new_session=True,  # a Ctrl-C is its owner's to hear
            )
        finally:
            os.close(guarded)
            if output:
                output.close()
        self._on_line = on_line
        self._reading = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        if not log:
            self._reading.start()

    @property
    def pid(self) -> int:
        """Its guard's process id; the command is the guard's child."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Let it finish what it does, within its grace; returns when it is gone."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
        self._process.wait()
        if self._reading.is_alive():
            self._reading.join(self._grace_seconds)

    def check(self) -> None:
        """Raises PartFailed when it has ended by itself."""
        if self.status is not None:
            where = f"; its log is {self.log}" if self.log else ""
            raise PartFailed(f"{self.name} ended by itself, with status {self.status}{where}")

    def wait_for(self, look: Callable[[], _T | None], seconds: float) -> _T:
        """What `look` sees once it sees something; raises PartFailed when it does not in time."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if (seen := look()) is not None:
                return seen
            self.check()
            time.sleep(_LOOK_SECONDS)
        where = f"; its log is {self.log}" if self.log else ""
        raise PartFailed(f"{self.name} did not get ready within {seconds:g} s{where}")

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe when there is no log
        with self._process.stdout as lines:
            for line in lines:
                if self._on_line:
                    self._on_line(self.name, line.decode(errors="replace").rstrip("\n"))


def python(*arguments: str) -> list[str]:
    """A command for this interpreter: `python("-m", "celery", …)`."""
    return [sys.executable, *arguments]


def worker(*arguments: str) -> list[str]:
    """The Procfile's worker, in this interpreter's environment."""
    return python("-m", *WORKER, *arguments)

"""Takes commands and hands on processes that can be killed, stopped and frozen, and are never left.

Each process is a direct child, so that a signal hits it and no wrapper around it. One guard watches
over all: it reads a pipe that the kernel closes when we end, kill -9 included, and kills the rest.
Who is started tells the guard its own number first: we may end before we know of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

#: How long a process may take to end after SIGTERM before it is killed, in seconds.
END_SECONDS = 15.0

#: Reads "+PID" and "-PID" lines; kills what is left when they end.
_GUARD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
left = set()
for line in sys.stdin:
    (left.add if line[0] == "+" else left.discard)(int(line[1:]))
for pid in left:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""
#: Says so to the guard, whose pipe is its input, and becomes the command: $$ stays its number.
_START = 'echo "+$$" >&0 && exec "$@" </dev/null'


class Child:
    """One running process; its output goes to the file `log`."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, forget: Callable[[int], None]
    ) -> None:
        self.pid = process.pid
        self.log = log
        self._process = process
        self._forget = forget

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: it gets no chance to do anything any more."""
        self._process.kill()
        self.wait(END_SECONDS)

    def ask_to_end(self) -> None:
        """SIGTERM, without waiting."""
        self._process.terminate()

    def freeze(self) -> None:
        """SIGSTOP: alive, but doing nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Its exit status; raises subprocess.TimeoutExpired when it has not ended by then."""
        status = self._process.wait(seconds)
        self._forget(self.pid)
        return status

    def stop(self, seconds: float = END_SECONDS) -> int:
        """SIGTERM, and its exit status; raises subprocess.TimeoutExpired."""
        self.ask_to_end()
        return self.wait(seconds)


class Children:
    """Starts processes and, at its end, kills those that still run: `with Children(…) as some:`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Child] = []
        self._guard = subprocess.Popen(  # noqa: S603 - a script of our own
            [sys.executable, "-IS", "-c", _GUARD],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Child:
        """Run `command` in our directory with this environment and no other (None: with ours)."""
        if self._guard.poll() is not None:
            raise RuntimeError("the guard is gone, and nobody would watch over a child")
        log = self._directory / f"{name}-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - commands of our own making
                ("/bin/sh", "-c", _START, "sh", *command),
                stdin=self._guard.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=None if environment is None else dict(environment),
                start_new_session=True,  # a Ctrl-C is ours to hear
            )
        self._started.append(Child(process, log, self.forget))
        return self._started[-1]

    def outputs(self, name: str) -> list[str]:
        """What each process started under this name has written so far."""
        logs = self._directory.glob(f"{name}-*.log")
        return [log.read_text(errors="replace") for log in sorted(logs)]

    def watch(self, pid: int) -> None:
        """Have the guard kill this process when we end."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """It has ended: its number may be somebody else's next."""
        self._tell(f"-{pid}\n")

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for child in reversed(self._started):
            if child.is_running:
                child.kill()
            else:
                self.forget(child.pid)
        assert self._guard.stdin is not None  # noqa: S101 - it was made with a pipe
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.wait(END_SECONDS)

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - it was made with a pipe
        with contextlib.suppress(BrokenPipeError, ValueError):  # it is gone, or all is over
            self._guard.stdin.write(line.encode())
            self._guard.stdin.flush()


def environment(**variables: str) -> dict[str, str]:
    """What a child needs to run, and `variables`; none of our own KF_* or proxy settings."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    ours = {name: os.environ[name] for name in kept if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return {**ours, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", **variables}

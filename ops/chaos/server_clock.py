"""A clock that one server goes by and nobody else on this machine; it can be stepped while it runs.

libfaketime stands in front of the server's calls that ask for the time of day, and reads at each of
them how far that is to be off. Time that only measures how long something takes is left as it is.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from ops.chaos import children, trial

#: Debian's name of what is needed, and of the program in it.
PACKAGE = PROGRAM = "faketime"


class ServerClock:
    """As long as it is entered, `environment()` is what a server has to be started with."""

    def __init__(self) -> None:
        self._library = _find_library()
        self._offset_seconds = 0
        self._end = contextlib.ExitStack()
        #: How far it was behind this machine's clock, at the most.
        self.most_behind_ms = 0

    def environment(self) -> dict[str, str]:
        """What has the server go by this clock."""
        return children.environment(
            LD_PRELOAD=self._library,
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )

    def step(self, seconds: int) -> None:
        """Set it forward by so many seconds, or back."""
        self._offset_seconds += seconds
        self.most_behind_ms = max(self.most_behind_ms, -1000 * self._offset_seconds)
        self._write()

    def __enter__(self) -> ServerClock:
        folder = self._end.enter_context(tempfile.TemporaryDirectory(prefix="kfsession-clock-"))
        self._file = Path(folder) / "offset"
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    def _write(self) -> None:
        """In one piece: the server reads at any moment."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset_seconds:+d}\n")
        new.replace(self._file)


def _find_library() -> str:
    """What the program of the same package would load; raises Missing."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise trial.Missing(f"{PROGRAM} is missing: apt-get install {PACKAGE}")
    command = [program, "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return found.stdout.strip()

"""Turns the signals that end a command into exceptions, so that what it started ends in order."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def at_signals() -> None:
    """From now on SIGTERM and SIGHUP unwind the stack, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)

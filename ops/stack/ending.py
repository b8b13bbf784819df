"""Turns the signals that end a command into exceptions, so that what it started ends in order."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def at_signals(*, is_planned: bool) -> None:
    """From now on SIGTERM and SIGHUP unwind the stack, as Ctrl-C does.

    Where a signal is the planned end of a command, Ctrl-C too, its exit status is 0.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(0 if is_planned else 128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, *((signal.SIGINT,) if is_planned else ())):
        signal.signal(number, end)

"""Turns SIGINT and SIGTERM into one exception, which never comes between a step and its note.

signals = Signals()
with signals.raised():
    with signals.held():
        …  # done and noted, or neither
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Interrupted(KeyboardInterrupt):
    """Somebody wants this process to end; no `except Exception` on the way can swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        #: As shells say it: 130 for Ctrl-C, 143 for SIGTERM.
        self.exit_status = 128 + number


class Signals:
    """Whether a signal may raise now, and which one came while it might not."""

    def __init__(self) -> None:
        self._is_held = False
        self._came: int | None = None

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Until the end of this block both signals raise Interrupted; one that is ignored stays so.

        Belongs on the main thread.
        """
        before = {
            number: signal.signal(number, self._take)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal that comes meanwhile raises at the end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._came is not None:
            raise Interrupted(self._came)

    def _take(self, number: int, _frame: object) -> None:
        self._came = number
        if not self._is_held:
            raise Interrupted(number)

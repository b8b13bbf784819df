"""What every test stands on, wherever the run was started from."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A run that a script started with `&` ignores SIGINT, and so would every child of it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""What every test stands on, wherever the run was started from."""

from __future__ import annotations

import signal

import pytest


def pytest_configure() -> None:
    """A run that a script started with `&` ignores SIGINT, and so would every child of it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after hypothesis has marked its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coverage leaves out tests by example: they take the same lines again, and twice as long."""
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")

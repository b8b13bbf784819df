"""A Redis that dies, hangs, refuses or loses its replies, and hosts whose clocks differ."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

from ops.chaos import fault, load, site, stack, wire
from worker import errors

#: How long a server refuses or answers nothing, in seconds.
_REFUSES_SECONDS, _PAUSE_SECONDS = 2.0, 5.0
#: How long a server is dead, and how long it is frozen, at the most, in seconds.
_DEAD_SECONDS, _FROZEN_SECONDS = 1.0, 8.0
#: How long a step may take to be made before the next strike has its turn, in seconds.
_STEP_SECONDS = 8.0
#: How far the clocks of two hosts are apart from the server's, in seconds.
_SKEWS_SECONDS = (60, -60)

_SKEWED = """
import datetime, sys, time_machine
now = datetime.datetime.now(datetime.UTC)
time_machine.travel(now + datetime.timedelta(seconds={seconds}), tick=True).start()
from celery.__main__ import main
sys.argv = ["celery", "-A", "worker.app", "worker"]
main()
"""


def _kill(at: site.Site) -> None:
    """SIGKILL it, and start it again on its append-only file."""
    at.stack.valkey.kill()
    time.sleep(at.scaled(at.chance.uniform(0, _DEAD_SECONDS)))
    at.stack.valkey.start()
    at.mark()


def _kill_connections(at: site.Site) -> None:
    at.client.client_kill_filter(_type="normal", skipme=True)
    at.mark()


def _pause(at: site.Site) -> None:
    """It accepts commands, and answers none for five seconds."""
    seconds = at.scaled(_PAUSE_SECONDS)
    at.client.client_pause(round(seconds * 1000), all=True)
    time.sleep(seconds)
    at.mark()


def _freeze(at: site.Site) -> None:
    at.stack.valkey.freeze()
    time.sleep(at.scaled(at.chance.uniform(1, _FROZEN_SECONDS)))
    at.stack.valkey.thaw()
    at.mark()


def _fill(at: site.Site) -> None:
    """Its memory is used up: -OOM."""
    at.client.config_set("maxmemory", 1)
    time.sleep(at.scaled(_REFUSES_SECONDS))
    at.client.config_set("maxmemory", 0)
    at.mark()


def _demote(at: site.Site) -> None:
    """It becomes the replica of a server that is not there: -READONLY."""
    at.client.replicaof("127.0.0.1", 1)
    time.sleep(at.scaled(_REFUSES_SECONDS))
    at.client.replicaof("NO", "ONE")
    at.mark()


def _load(at: site.Site) -> None:
    """It answers as one that reads its append-only file yet."""
    error = b"-LOADING Redis is loading the dataset in memory\r\n"
    for each in at.wires.of_redis:
        each.rule = lambda passing: error if passing.moment is wire.Moment.BEFORE else None
    time.sleep(at.scaled(_REFUSES_SECONDS))
    for each in at.wires.of_redis:
        each.rule = wire.let_pass
    at.mark()


class LostReplies(fault.Tool):
    """Each script of a worker, and a producer's, is done; its reply never comes."""

    SCRIPTS = (
        *("submit", "claim", "renew", "settle", "wake", "open_rooms", "left_queued", "purge"),
        *("watch", "observe", "announce", "cancel", "retry", "gate"),
    )

    def __init__(self) -> None:
        self._left: list[str] = []
        self._armed = ""
        self._has_struck = threading.Event()

    def prepare(self, at: site.Site) -> None:
        """Let the wires ask about each step."""
        at.rule = lambda _, passing: self._rule(passing)
        at.producer_wire.rule = self._rule

    def strike(self, at: site.Site) -> None:
        """Lose the reply of the next script of the list."""
        at.wait_ready()
        if not self._left:
            self._left = list(self.SCRIPTS)
            at.chance.shuffle(self._left)
        name = self._left.pop()
        self._has_struck.clear()
        self._armed = name
        with contextlib.suppress(errors.LedgerUnavailable):
            self._provoke(at, name)
        is_made = self._has_struck.wait(_STEP_SECONDS)
        self._armed = ""
        at.count(name if is_made else f"{name}: not run in time")
        if is_made:
            at.mark()

    def _provoke(self, at: site.Site, name: str) -> None:
        """Take a step that only producers and operators take."""
        known = sorted(at.load.accepted)
        if name == "submit":
            at.submit([load.wish(0, load.SHORT_TTL_SECONDS)])
        elif name == "cancel":
            at.producer.cancel(known[-1])
        elif name == "retry":
            at.producer.retry(known[0])
        elif name == "gate":
            at.producer.pause(load.AWAY)
            at.producer.resume(load.AWAY)

    def _rule(self, passing: wire.Passing) -> bytes | None:
        if passing.moment is not wire.Moment.AFTER or self._armed not in passing.steps:
            return None
        self._armed = ""
        self._has_struck.set()
        return wire.CUT


class Clocks(fault.Tool):
    """A worker in three lives a minute ahead, one a minute behind; each can be killed."""

    def prepare(self, at: site.Site) -> None:
        """Have their hosts' clocks wrong."""
        commands = [
            (sys.executable, "-c", _SKEWED.format(seconds=seconds)) for seconds in _SKEWS_SECONDS
        ]
        at.commands = [*commands, stack.Worker.COMMAND]

    def strike(self, at: site.Site) -> None:
        """Kill one, so that others take over what it held."""
        kill_worker(at)


def kill_worker(at: site.Site) -> None:
    """SIGKILL of one of those that work; another one starts."""
    one = at.chance.choice(at.wait_ready(2))
    at.mark()
    one.worker.child.kill()
    at.dismiss(one)
    at.hire()


FAULTS = (
    fault.Fault(
        name="redis-killed-everysec",
        what="SIGKILL of the server, appendfsync everysec",
        tool=fault.plain(_kill),
        times=20,
    ),
    fault.Fault(
        name="redis-killed-always",
        what="SIGKILL of the server, appendfsync always",
        tool=fault.plain(_kill),
        times=20,
        fsync="always",
    ),
    fault.Fault(
        name="redis-connections-killed",
        what="CLIENT KILL of all connections during calls",
        tool=fault.plain(_kill_connections),
        times=100,
    ),
    fault.Fault(
        name="redis-paused", what="CLIENT PAUSE of 5 s", tool=fault.plain(_pause), times=10
    ),
    fault.Fault(
        name="redis-frozen",
        what="SIGSTOP of the server, up to 8 s",
        tool=fault.plain(_freeze),
        times=20,
    ),
    fault.Fault(
        name="redis-full", what="refused writes: -OOM for 2 s", tool=fault.plain(_fill), times=20
    ),
    fault.Fault(
        name="redis-read-only",
        what="refused writes: -READONLY for 2 s",
        tool=fault.plain(_demote),
        times=20,
    ),
    fault.Fault(
        name="redis-loading",
        what="-LOADING to every command for 2 s",
        tool=fault.plain(_load),
        times=20,
    ),
    fault.Fault(
        name="redis-reply-lost",
        what="the lost reply of each script",
        tool=LostReplies,
        times=100,
    ),
    fault.Fault(
        name="clocks-differ",
        what="hosts a minute ahead and a minute behind; workers killed",
        tool=Clocks,
        times=20,
        workers=3,
        recovery="lease",
    ),
)

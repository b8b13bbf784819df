"""Worker processes that are killed, frozen, ended or away."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

from ops.chaos import fault, site, trial, wire
from worker.contract import record
from worker.ledger import keys

#: How much longer than a lease a worker stays frozen, in seconds.
_BEYOND_LEASE_SECONDS = 1.5
#: SIGTERM must end a worker within the time of a call and this, in seconds.
_END_SECONDS = 5.0
#: How long a step may take to be made before the next strike has its turn, in seconds.
_STEP_SECONDS = 8.0
_CALLING = keys.Keys(site.PREFIX).index(record.Status.CALLING)
#: A simulator that gives a fan to whoever is asked last: only we keep a fan from two agents.
HANDOVER = 'served_elsewhere = "ok"\n'


def _kill(at: site.Site) -> None:
    """SIGKILL one of those that work, at any moment, but never the last; another one starts."""
    one = at.chance.choice(at.wait_ready(2))
    time.sleep(at.chance.uniform(0, 0.1))
    at.mark()
    one.worker.child.kill()
    at.dismiss(one)
    at.hire()


class Steps(fault.Tool):
    """Every step of a worker that writes or calls, before the other side hears of it and after.

    The wire kills the worker there, so that production code needs no place to be killed at.
    """

    SCRIPTS = (
        *("claim", "renew", "settle", "wake", "left_queued", "open_rooms"),
        *("watch", "observe", "announce", "purge"),
    )
    CALLS = (
        "POST /customservice/kfsession/create",
        "GET /customservice/kfsession/getsession",
        "GET /cgi-bin/customservice/getonlinekflist",
        "POST /cgi-bin/stable_token",
    )
    #: Where a message is taken from the broker.
    COMMANDS = ("BRPOP",)

    def __init__(self) -> None:
        self._left: list[tuple[wire.Moment, str]] = []
        self._armed: tuple[wire.Moment, str] | None = None
        self._victim: site.Staff | None = None
        self._has_struck = threading.Event()

    def prepare(self, at: site.Site) -> None:
        """Let the wires ask about each step."""
        at.rule = self._rule

    def strike(self, at: site.Site) -> None:
        """Kill the worker that makes the next step of the list; another one starts."""
        at.wait_ready(2)
        if not self._left:
            names = (*self.SCRIPTS, *self.CALLS, *self.COMMANDS)
            self._left = [(moment, name) for moment in wire.Moment for name in names]
            at.chance.shuffle(self._left)
        self._has_struck.clear()
        self._armed = moment, step = self._left.pop()
        if "token" in step:
            at.stack.simulator.tell("tokens/expire")
        if not self._has_struck.wait(_STEP_SECONDS):
            self._armed = None
            at.count(f"{moment} {step}: not made in time")
            return
        assert self._victim is not None  # noqa: S101 - the rule names it before it tells
        at.mark()
        self._victim.worker.child.kill()
        at.dismiss(self._victim)
        at.hire()
        at.count(f"{moment} {step}")

    def check(self, at: site.Site) -> None:
        """In a run that is long enough, each step was struck."""
        names = (*self.SCRIPTS, *self.CALLS, *self.COMMANDS)
        missed = [
            f"{moment} {name}"
            for moment in wire.Moment
            for name in names
            if f"{moment} {name}" not in at.notes
        ]
        if len(at.struck_at) >= 2 * 2 * len(names) and missed:
            at.complain(f"never struck: {', '.join(missed)}")

    def _rule(self, one: site.Staff, passing: wire.Passing) -> bytes | None:
        armed = self._armed
        if armed is None or passing.moment is not armed[0] or armed[1] not in passing.steps:
            return None
        if armed == (wire.Moment.AFTER, "BRPOP") and not passing.data.startswith(b"*2"):
            return None  # nothing came: what counts is a message that nobody has noted yet
        self._armed, self._victim = None, one
        os.kill(one.worker.child.pid, signal.SIGKILL)
        self._has_struck.set()
        return wire.CUT


def _freeze(at: site.Site) -> None:
    """Stop one for longer than its leases, while the others go on; then let it go on too."""
    one = at.chance.choice(at.wait_ready())
    at.mark()
    one.worker.child.freeze()
    time.sleep(at.config.lease_seconds + _BEYOND_LEASE_SECONDS)
    one.worker.child.thaw()


def _end(at: site.Site) -> None:
    """SIGTERM the only worker during its calls: it ends in time and leaves nothing in `calling`."""
    (one,) = at.wait_ready()
    trial.poll(
        lambda: at.client.exists(_CALLING) or not at.count_live(),
        seconds=_STEP_SECONDS,
        what="calls are under way",
    )
    at.mark()
    started = time.monotonic()
    try:
        status = one.worker.child.stop(at.config.call_timeout_seconds + _END_SECONDS)
    except subprocess.TimeoutExpired:
        at.complain("a worker took longer to end than a call and five seconds")
        one.worker.child.kill()
        status = 0
    at.longest("seconds to end", time.monotonic() - started)
    if status:
        at.complain(f"a worker ended with status {status}")
    if left := at.client.zcard(_CALLING):
        at.complain(f"a worker that ended left {left} requests in calling")
    at.dismiss(one)
    at.hire()


def _be_away(at: site.Site) -> None:
    """Kill all workers; new ones start a minute later."""
    gone = at.wait_ready(at.fault.workers)
    for one in gone:
        one.worker.child.kill()
        at.dismiss(one)
    time.sleep(at.scaled(60))
    at.mark()
    for _ in gone:
        at.hire()


FAULTS = (
    fault.Fault(
        name="worker-killed",
        what="SIGKILL of a worker at a random moment",
        tool=fault.plain(_kill),
        times=200,
        workers=3,
        recovery="lease",
    ),
    fault.Fault(
        name="worker-killed-handover",
        what="the same where WeChat hands a fan over instead of answering 65414",
        tool=fault.plain(_kill),
        times=20,
        workers=3,
        scenario=HANDOVER,
        recovery="lease",
    ),
    fault.Fault(
        name="worker-killed-at-step",
        what="SIGKILL right before and right after each script, call and message",
        tool=Steps,
        times=120,
        workers=3,
        recovery="lease",
        chances={"cut_after": 0.03},
    ),
    fault.Fault(
        name="worker-frozen",
        what="SIGSTOP for longer than a lease, then SIGCONT",
        tool=fault.plain(_freeze),
        times=10,
        recovery="lease",
    ),
    fault.Fault(
        name="worker-frozen-handover",
        what="the same where WeChat hands a fan over instead of answering 65414",
        tool=fault.plain(_freeze),
        times=10,
        recovery="lease",
        scenario=HANDOVER,
        excuse="a call held up beyond its lease hands the fan over: only 65414 rules that out",
    ),
    fault.Fault(
        name="worker-ended",
        what="SIGTERM of the only worker during calls",
        tool=fault.plain(_end),
        times=30,
        workers=1,
    ),
    fault.Fault(
        name="workers-away",
        what="no worker for a minute",
        tool=fault.plain(_be_away),
        times=2,
    ),
)

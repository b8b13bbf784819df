"""The clock of the Redis server steps by an hour, and after a while it is set right again.

Around each step requests come at an even pace, and a worker is killed. A call takes effect at its
end, whoever takes its request over meanwhile, and WeChat hands a fan over instead of answering
65414: only the ledger keeps a fan from two agents.
"""

from __future__ import annotations

import collections
import time

from ops.chaos import fault, load, pacing, site, trial
from ops.chaos.faults import agents, server, workers
from worker.contract import record

#: How far the clock steps, and how long a request lives: no step ends it.
_STEP_SECONDS, _TTL_SECONDS = 3600, 4 * 3600
#: Escalations a second, and for how many seconds: around a step, and in the quiet after it.
_AROUND_RATE, _AROUND_SECONDS = 15, 4.0
_QUIET_RATE, _QUIET_SECONDS = 10, 15.0
#: Which of those around it comes at the moment of the step; the worker is killed a second away.
_STEP_AT = 2 * _AROUND_RATE
#: How long a call takes, and may take: many are under way at any moment.
_CALL_MS, _CALL_TIMEOUT_SECONDS = [300.0, 2500.0], 3.5
#: Who is away while fans wait for them, how many do, and who leaves to see whether it is noticed.
_EMIL, _HELD, _FINN = "emil@hbshop", 5, "finn@hbshop"
#: How long it may take until a leaving agent is noticed, and until who came back has all who
#: waited: a reading, a tick of the waiting room, and two calls. In seconds, as what follows.
_MOST_NOTICED_SECONDS, _MOST_WOKEN_SECONDS = 8.0, 12.0
#: When we give up.
_PATIENCE_SECONDS = 60.0


class Steps(fault.Tool):
    """A strike is a step of so many seconds and, after a while, one back to the right time."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        #: Who was sent in the quiet, by after what, and who was sent around a step.
        self._quiet: dict[str, list[str]] = {"before": [], "stepped": [], "set right": []}
        self._around: list[str] = []

    def prepare(self, at: site.Site) -> None:
        """One sender for all strikes: each request is of a new fan."""
        self._pacer = pacing.Pacer(at)

    def strike(self, at: site.Site) -> None:
        """Step, look while it is new, and look again when all is quiet; then the same back."""
        if not self._quiet["before"]:
            at.stack.simulator.switch(_EMIL, online=False)
            self._send_in_quiet(at, "before")
        for name, seconds in (("stepped", self._seconds), ("set right", -self._seconds)):
            held = self._hold(at)
            around = self._step(at, seconds)
            _look_at_leaving(at)
            _look_at_waking(at, held)
            pacing.wait_ended(
                at, around, _PATIENCE_SECONDS, f"all around a step of {seconds} s end"
            )
            self._around += [*held, *around]
            self._send_in_quiet(at, name)
            at.times += 1

    def check(self, at: site.Site) -> None:
        """Afterwards all is as fast as before, and who was sent around a step has a session."""
        took = {name: self._pacer.took(name, ids) for name, ids in self._quiet.items()}
        for name in ("stepped", "set right"):
            self._pacer.compare(name, took["before"], took[name])
        ended = collections.Counter(
            one.status for each in self._around if (one := at.stack.reader.get(each))
        )
        others = len(self._around) - sum(
            ended[each] for each in (record.Status.CREATED, record.Status.ALREADY_SERVED)
        )
        if others:
            at.complain(f"{others} who were sent around a step have no session: {dict(ended)}")

    def _send_in_quiet(self, at: site.Site, name: str) -> None:
        ids = self._pacer.pace(at.scaled(_QUIET_SECONDS), _QUIET_RATE, ttl_seconds=_TTL_SECONDS)
        pacing.wait_ended(at, ids, _PATIENCE_SECONDS, f"all who came in the quiet ({name}) end")
        self._quiet[name] += ids

    def _hold(self, at: site.Site) -> list[str]:
        """Fans who wait for an agent that is away."""
        held = self._pacer.send_many(_HELD, kf_account=_EMIL, ttl_seconds=_TTL_SECONDS)
        trial.poll(
            lambda: at.stack.count(record.Status.WAITING) >= len(held),
            seconds=_PATIENCE_SECONDS,
            what="fans wait for who is away",
        )
        return held

    def _step(self, at: site.Site, seconds: int) -> list[str]:
        """Requests at an even pace, the step amid them, and a worker's death up to a second away.

        Their agents come and go by turns, so that whoever asks again may ask another one.
        """
        assert at.clock is not None  # noqa: S101 - the fault asks for one
        clock = at.clock
        at.wait_ready(at.fault.workers)
        kill_at = _STEP_AT + at.chance.randint(-_AROUND_RATE, _AROUND_RATE)

        def beside(number: int) -> None:
            if number == _STEP_AT:
                clock.step(seconds)
            if number == kill_at:
                server.kill_worker(at)

        return self._pacer.pace(
            _AROUND_SECONDS,
            _AROUND_RATE,
            beside,
            kf_account=trial.AGENT,
            fallbacks=[load.BOB],
            ttl_seconds=_TTL_SECONDS,
        )


def _look_at_leaving(at: site.Site) -> None:
    """While somebody waits, the ledger soon knows who leaves."""
    since = time.monotonic()
    at.stack.simulator.switch(_FINN, online=False)
    try:
        trial.poll(
            lambda: _is_online(at, _FINN) is False,
            seconds=_PATIENCE_SECONDS,
            what="an agent's leaving is noticed",
        )
    except trial.TooLate as error:
        at.complain(str(error))
    _judge(at, "a leaving agent was noticed after seconds", since, _MOST_NOTICED_SECONDS)
    at.stack.simulator.switch(_FINN, online=True)


def _look_at_waking(at: site.Site, held: list[str]) -> None:
    """Who waits for somebody is served when they are back."""
    since = time.monotonic()
    at.stack.simulator.switch(_EMIL, online=True)
    pacing.wait_ended(at, held, _PATIENCE_SECONDS, "all who waited for an agent end")
    _judge(at, "all who waited for an agent ended after seconds", since, _MOST_WOKEN_SECONDS)
    at.stack.simulator.switch(_EMIL, online=False)


def _is_online(at: site.Site, kf_account: str) -> bool | None:
    known = at.stack.reader.account(trial.APPID).agents
    return next((each.is_online for each in known if each.kf_account == kf_account), None)


def _judge(at: site.Site, what: str, since: float, most_seconds: float) -> None:
    seconds = time.monotonic() - since
    at.longest(what, seconds)
    if at.is_whole and seconds > most_seconds:
        at.complain(f"{what} {seconds:.1f}, at most {most_seconds:g} are fine")


def _row(name: str, what: str, seconds: int) -> fault.Fault:
    shop = agents.scenario_of(trial.AGENT, load.BOB, pacing.AGENT, _EMIL, _FINN)
    return fault.Fault(
        name=name,
        what=what,
        tool=lambda: Steps(seconds),
        times=5,
        scenario=f"acts_late = true\n{workers.HANDOVER}{shop}",
        latency_ms=_CALL_MS,
        knobs={"call_timeout_seconds": _CALL_TIMEOUT_SECONDS},
        workers=3,
        is_idle=True,
        has_own_clock=True,
        recovery="none",
    )


FAULTS = (
    _row(
        "server-clock-back",
        "the Redis server's clock an hour back, and right again; workers killed",
        -_STEP_SECONDS,
    ),
    _row(
        "server-clock-ahead",
        "the Redis server's clock an hour ahead, and right again; workers killed",
        _STEP_SECONDS,
    ),
)

"""Takes contenders, lets each do its work once a round, and hands on what every turn cost.

The work is written down while the workers are frozen; the clock runs from their release until the
server has been asked for every fan and every outcome is on record. Then it is checked.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from ops.bench import processes, serving
from ops.bench.contenders import contender
from ops.chaos import trial

#: Longest that a turn may take, in seconds.
PATIENCE_SECONDS = 300.0
#: How often it is looked whether the server was asked for every fan, in seconds.
_LOOK_SECONDS = 0.05
#: From then on, how often it is looked for the last outcomes, in seconds.
_LAST_LOOK_SECONDS = 0.005


class WorkNotDone(Exception):
    """A contender did not do its work, or did more than that; its figures mean nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one contender did in one round, and what that took of the machine."""

    sessions: int
    seconds: float
    worker_cpu_seconds: float
    valkey_cpu_seconds: float
    server_cpu_seconds: float
    #: Resident memory of the workers at its end.
    rss_bytes: int

    @property
    def sessions_a_second(self) -> float:
        """How fast it was."""
        return self.sessions / self.seconds

    @property
    def worker_cpu_ms(self) -> float:
        """CPU of the workers for each session."""
        return self.worker_cpu_seconds * 1000 / self.sessions

    @property
    def valkey_cpu_ms(self) -> float:
        """CPU of Valkey for each session, without what writing the work down took."""
        return self.valkey_cpu_seconds * 1000 / self.sessions

    @property
    def server_cpu_ms(self) -> float:
        """CPU of the server for each session."""
        return self.server_cpu_seconds * 1000 / self.sessions


def start(one: contender.Contender, field: contender.Field) -> None:
    """Start a contender, let it warm up, and freeze it."""
    one.prepare(field)
    one.launch(field)
    _take_turn(one, field.server, one.warm_up)
    one.guard_by(field.some)  # by now they have all the children that they keep


def run(
    contenders: Sequence[contender.Contender],
    server: serving.Server,
    *,
    rounds: int,
    show: Callable[[int, contender.Contender, Turn], None],
) -> dict[str, list[Turn]]:
    """The turns of each contender by its name; raises WorkNotDone.

    Every other round goes backwards, so that nobody always follows the same one.
    """
    turns: dict[str, list[Turn]] = {one.name: [] for one in contenders}
    for number in range(rounds):
        for one in reversed(contenders) if number % 2 else contenders:
            turn = _take_turn(one, server, one.sessions)
            turns[one.name].append(turn)
            show(number, one, turn)
    return turns


def _take_turn(one: contender.Contender, server: serving.Server, sessions: int) -> Turn:
    server.forget()
    one.discard()
    one.enqueue(one.new_fans(sessions))
    before = _spent(one, server)
    seconds = _release(one, server, sessions)
    after = _spent(one, server)
    rss_bytes = sum(worker.rss_bytes() for worker in one.workers)
    one.freeze()
    _check(one, server.counts(), sessions)
    workers, valkey, asked = (now - then for now, then in zip(after, before, strict=True))
    return Turn(
        sessions=sessions,
        seconds=seconds,
        worker_cpu_seconds=workers,
        valkey_cpu_seconds=valkey,
        server_cpu_seconds=asked,
        rss_bytes=rss_bytes,
    )


def _release(one: contender.Contender, server: serving.Server, sessions: int) -> float:
    """Let the workers go on; the seconds until everything is done and on record."""
    started = time.perf_counter()
    one.thaw()
    try:
        trial.poll(
            lambda: server.counts().fans >= sessions,
            seconds=PATIENCE_SECONDS,
            what=f"{one.name}: every fan was asked for",
            every=_LOOK_SECONDS,
        )
        trial.poll(
            one.is_over,
            seconds=PATIENCE_SECONDS,
            what=f"{one.name}: every outcome is on record",
            every=_LAST_LOOK_SECONDS,
        )
    except trial.TooLate as late:
        raise WorkNotDone(f"{late} ({server.counts()})") from None
    return time.perf_counter() - started


def _spent(one: contender.Contender, server: serving.Server) -> tuple[float, float, float]:
    """CPU seconds so far of the workers, of their Valkey, and of the server."""
    return (
        sum(worker.cpu_seconds() for worker in one.workers),
        one.valkey.cpu_seconds() if one.valkey else 0.0,
        processes.Tree(server.pid).cpu_seconds(),
    )


def _check(one: contender.Contender, counts: serving.Counts, sessions: int) -> None:
    """Every fan was asked for once, by one agent, and has an outcome that says so."""
    if counts != serving.Counts(creates=sessions, fans=sessions, doubled=0):
        raise WorkNotDone(f"{one.name}: {counts} for {sessions} fans")
    confirmed = one.confirmed()
    if confirmed not in (None, sessions):
        raise WorkNotDone(f"{one.name}: {confirmed} outcomes for {sessions} fans")

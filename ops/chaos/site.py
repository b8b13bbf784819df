"""The whole system while it is struck: the stack, its workers behind wires, the load, the strikes.

Each worker reaches Redis and WeChat over wires of its own, so that a rule knows whose step it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import redis

import producers
from ops.chaos import (
    audit,
    certificates,
    crashes,
    fault,
    ledger_book,
    load,
    quiet,
    recovery,
    server_clock,
    servers,
    stack,
    trial,
    wire,
)
from worker import doorbell
from worker.contract import record, settings
from worker.ledger import keys

#: What every deployment of a trial is called.
PREFIX = "kf"


@dataclasses.dataclass(slots=True)
class Staff:
    """One worker and its wires."""

    worker: stack.Worker
    to_redis: wire.Wire
    to_wechat: wire.Wire

    def obey(self, rule: Callable[[Staff, wire.Passing], bytes | None]) -> None:
        """Ask `rule` about every step of this worker."""
        self.to_redis.rule = self.to_wechat.rule = lambda passing: rule(self, passing)


class Site:
    """One trial of one fault."""

    def __init__(
        self,
        of: fault.Fault,
        *,
        requests: int,
        seed: int,
        scale: float,
        knobs: Mapping[str, object],
    ) -> None:
        self.fault = of
        self.requests = requests
        # Not for secrets: the same seed strikes in the same order.
        self.chance = random.Random(f"{seed}/{of.name}")  # noqa: S311
        #: When something was broken, in epoch ms; recovery counts from there.
        self.struck_at: list[int] = []
        #: How often something went wrong, where that is not a matter of strikes.
        self.times = 0
        #: What is worth knowing besides, by name.
        self.notes: dict[str, Any] = {}
        #: What must not be.
        self.complaints: list[str] = []
        self.staff: list[Staff] = []
        #: What a new worker is started with besides.
        self.variables: dict[str, str] = {}
        #: What workers are started by, one after the other.
        self.commands: Sequence[Sequence[str]] = (stack.Worker.COMMAND,)
        self.rule: Callable[[Staff, wire.Passing], bytes | None] | None = None
        #: Who else sends requests.
        self.rivals: list[load.Load] = []
        self.certificates: certificates.Certificates | None = None
        #: The Redis server's, where the fault asks for one that can be stepped.
        self.clock: server_clock.ServerClock | None = None
        #: The broker, where it is a server of its own.
        self.broker: servers.Server | None = None
        self._end = contextlib.ExitStack()
        self._seed = seed
        self._scale = scale
        self._hired = 0
        self._knobs = {**knobs, **of.knobs}
        if of.ttl_seconds is not None:
            self._knobs["batch_ttl_seconds"] = self.scaled(of.ttl_seconds)

    def __enter__(self) -> Site:
        with contextlib.ExitStack() as undo:
            planned_ms = float(str(self._knobs.pop("latency_ms", 20.0)))
            latency_ms = planned_ms if self.fault.latency_ms is None else self.fault.latency_ms
            if self.fault.has_own_clock:
                self.clock = undo.enter_context(server_clock.ServerClock())
            self.stack = undo.enter_context(
                stack.Stack(
                    latency_ms=latency_ms,
                    seed=self._seed,
                    scenario=self.fault.scenario,
                    appids=(trial.APPID, *self.fault.more_appids),
                    fsync=self.fault.fsync,
                    clock=self.clock,
                    **self._knobs,
                )
            )
            self.wires = undo.enter_context(wire.Wires())
            if self.fault.has_tls:
                self.certificates = certificates.Certificates(self.stack.directory)
                self.variables["REQUESTS_CA_BUNDLE"] = str(self.certificates.file)
            if self.fault.has_own_broker:
                self.broker = servers.valkey(self.stack.directory / "broker", self.stack.children)
                self.variables["KF_BROKER_URL"] = self.broker.url
                self._knobs["broker_url"] = self.broker.url
            self.producer_wire = self.wires.to_redis(self.stack.valkey.port)
            self.config = settings.load(
                redis_url=f"redis://127.0.0.1:{self.producer_wire.port}/0",
                _env_file=None,
                **self._knobs,
            )
            self.producer = undo.enter_context(producers.SessionProducer(self.config))
            self.bell = doorbell.Doorbell.from_settings(self.config)
            undo.callback(self.bell.close)
            self.load = self.new_load(0 if self.fault.is_idle else self.requests)
            self.of_broker = self.stack.client
            if self.broker is not None:
                self.of_broker = undo.enter_context(contextlib.closing(self.broker.client()))
            undo.callback(self.load.stop)
            self.leases = undo.enter_context(
                recovery.Leases(self.stack.client, keys.Keys(PREFIX), self.config.lease_seconds)
            )
            self._end = undo.pop_all()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end.close()

    # -- what a fault may do ------------------------------------------------------------------

    @property
    def client(self) -> redis.Redis:
        """Redis, past all wires."""
        return self.stack.client

    def mark(self) -> None:
        """Something broke right now."""
        self.struck_at.append(round(time.time() * 1000))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is shortened: only then a figure of time is judged."""
        return self._scale >= 1

    def scaled(self, seconds: float) -> float:
        """How long to stay away: the plan may shorten it."""
        return seconds * self._scale

    def count(self, name: str) -> None:
        """Note one more of these."""
        self.notes[name] = self.notes.get(name, 0) + 1

    def longest(self, name: str, seconds: float) -> None:
        """Note the longest of these."""
        self.notes[name] = max(self.notes.get(name, 0.0), round(seconds, 2))

    def complain(self, text: str) -> None:
        """Note what must not be."""
        self.complaints.append(text)

    def new_load(self, count: int) -> load.Load:
        """Who sends the requests of the first so many fans."""
        ttl_seconds = self.scaled(load.SHORT_TTL_SECONDS)
        return load.Load(self.producer, count, short_ttl_seconds=ttl_seconds)

    def submit(self, wishes: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have these accepted too; their ids."""
        return self.load.submit(wishes)

    def start_loads(self) -> None:
        """Begin to send, all who do."""
        for each in (self.load, *self.rivals):
            each.start()

    def allow(self, most: int) -> None:
        """Let so many requests go, in all."""
        for each in (self.load, *self.rivals):
            each.allow(most)

    def wait_accepted(self, seconds: float) -> None:
        """Until all requests are accepted; raises TooLate."""
        for each in (self.load, *self.rivals):
            each.wait(seconds)

    def hire(self, command: Sequence[str] | None = None, **variables: str) -> Staff:
        """Start one more worker, without waiting until it is ready.

        `variables` go on top of its settings; empty ones take away.
        """
        to_redis = self.wires.to_redis(self.stack.valkey.port)
        port = urlsplit(self.stack.simulator.url).port or 80
        tls = self.certificates.context if self.certificates else None
        to_wechat = self.wires.to_wechat(port, tls)
        scheme = "https" if tls else "http"
        given = {
            "KF_REDIS_URL": f"redis://127.0.0.1:{to_redis.port}/0",
            "KF_API_BASE_URL": f"{scheme}://{certificates.HOST}:{to_wechat.port}",
            **self.variables,
            **variables,
        }
        command = command or self.commands[self._hired % len(self.commands)]
        self._hired += 1
        one = Staff(self.stack.launch_worker(command, **given), to_redis, to_wechat)
        if self.rule is not None:
            one.obey(self.rule)
        self.staff.append(one)
        return one

    def ready(self) -> list[Staff]:
        """The workers that work."""
        with contextlib.suppress(redis.RedisError):
            return [
                one
                for one in self.staff
                if one.worker.child.is_running and one.worker.is_ready(self.stack.reader)
            ]
        return []

    def wait_ready(self, count: int = 1) -> list[Staff]:
        """The workers that work, once there are so many."""
        return trial.poll(
            lambda: ready if len(ready := self.ready()) >= count else [],
            seconds=stack.START_SECONDS,
            what=f"{count} workers are ready",
        )

    def dismiss(self, one: Staff) -> None:
        """Forget a worker that has ended."""
        self.staff.remove(one)

    def is_time(self, moment: float) -> bool:
        """Whether so many requests have left their lane, while others have not ended.

        Where nobody but the strikes sends any: whether all have ended.
        """
        if self.fault.is_idle:
            return not self.count_live()
        with contextlib.suppress(redis.RedisError):
            queued = sum(self.stack.reader.counts()[record.Status.QUEUED].values())
            known = self.client.zcard(self.leases.keys.due) + sum(self.stack.outcomes().values())
            return known - queued >= moment
        return False

    def count_live(self) -> int:
        """How many requests have none yet; 1 while Redis is away."""
        with contextlib.suppress(redis.RedisError):
            return self.stack.count_live()
        return 1

    # -- the end ----------------------------------------------------------------------------------

    def wait_quiet(self) -> None:
        """Until the broker holds nothing for anybody: doubled doorbells are rung off by then."""
        quiet.wait(self.of_broker, PREFIX)

    def complain_of_crashes(self) -> None:
        """Complain of every failure of our own code that a worker's log tells of."""
        for output in self.stack.children.outputs("worker"):
            self.complaints += crashes.of(output)

    def read_ledger(self) -> ledger_book.LedgerBook:
        """Our book."""
        return ledger_book.read(self.client, PREFIX, broker=self.of_broker)

    def examine(self, ledger: ledger_book.LedgerBook) -> audit.Findings:
        """What it and WeChat's say, once all is over."""
        sessions = self.stack.simulator.book("none")["sessions"]
        accepted = self.load.accepted.union(*(each.accepted for each in self.rivals))
        behind_ms = self.clock.most_behind_ms if self.clock else 0
        return audit.examine(ledger, sessions, accepted, behind_ms=behind_ms)

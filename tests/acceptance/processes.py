"""One deployment for a test: a WeChat, settings, a producer, a reader, and worker processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from ops.chaos import children, servers, stack, trial
from ops.simulator import running, scenario
from producers import SessionProducer
from worker.contract import broker, record, request, settings
from worker.ledger import keys, reader

#: Must never show in a log, a record or a message.
REDIS_PASSWORD = "Redis-password-of-the-tests-6f1c"
#: Has a command's lines counted with ours; workers are left alone: counting slows them down.
_MEASURED = {name: at for name, at in os.environ.items() if name.startswith("COVERAGE_PROCESS")}
#: How long a test waits for what should have happened long before, in seconds.
PATIENCE_SECONDS = 60.0


class Deployment:
    """Settings under a prefix of their own, and all that runs with them.

    `latency_ms` is the simulator's, `agents` those it has beside `trial.AGENT`; other keywords are
    KF_* settings without their prefix.
    """

    def __init__(
        self,
        valkey: servers.Server,
        directory: Path,
        *,
        prefix: str,
        latency_ms: float = 0.0,
        account: dict[str, int] | None = None,
        agents: Iterable[scenario.Agent] = (),
        **knobs: object,
    ) -> None:
        self.valkey = valkey
        self.prefix = prefix
        self.keys = keys.Keys(prefix)
        told = scenario.Account(appid=trial.APPID, secret=trial.APPSECRET, **(account or {}))
        self.wechat = running.SimulatorThread(
            scenario.Scenario(
                latency_ms=(latency_ms, latency_ms),
                accounts=(told,),
                agents=(
                    scenario.Agent(kf_account=trial.AGENT, appid=trial.APPID),
                    *(dataclasses.replace(each, appid=trial.APPID) for each in agents),
                ),
            )
        )
        self.directory = directory
        self._knobs = {"call_timeout_seconds": 2, "concurrency": 8, **knobs}
        self._end = contextlib.ExitStack()

    def __enter__(self) -> Deployment:
        self._end.enter_context(self.wechat)
        self._children = self._end.enter_context(children.Children(self.directory))
        self.client = self._end.enter_context(contextlib.closing(self.valkey.client()))
        self.reader = reader.Reader(self.client, self.prefix)
        self.environment = children.environment(
            KF_REDIS_URL=self.valkey.url,
            KF_KEY_PREFIX=self.prefix,
            KF_API_BASE_URL=self.wechat.url,
            KF_APPID=trial.APPID,
            KF_APPSECRET=trial.APPSECRET,
            KF_LOG_FORMAT="json",
            # Celery says so, in six lines, wherever tests run as root.
            PYTHONWARNINGS="ignore:You're running the worker with superuser privileges",
            **{f"KF_{name.upper()}": str(value) for name, value in self._knobs.items()},
        )
        config = settings.load(redis_url=self.valkey.url, key_prefix=self.prefix, **self._knobs)
        self.producer = self._end.enter_context(SessionProducer(config))
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end.close()

    # -- processes ---------------------------------------------------------------------------------

    def start_worker(self) -> children.Child:
        """A worker that has announced itself."""
        worker = self.launch_worker()
        worker.wait_ready(self.reader)
        return worker.child

    def launch_worker(self, **variables: str) -> stack.Worker:
        """A worker that may not be ready; `variables` go on top of the deployment's."""
        given = {**self.environment, **variables}
        return stack.Worker(self._children, {name: value for name, value in given.items() if value})

    def start_script(self, script: str, *arguments: str) -> children.Child:
        """A Python script in a process that knows the broker's address and nothing else of ours."""
        command = [sys.executable, "-c", script, *arguments]
        return self._children.start(
            "script", command, children.environment(BROKER_URL=self.valkey.url)
        )

    def start_command(self, *arguments: str) -> children.Child:
        """`kfsession ARGUMENTS`, under way."""
        command = [sys.executable, "-c", "from ops import cli; cli.main()", *arguments]
        return self._children.start("kfsession", command, self.environment | _MEASURED)

    def logged(self, *events: str) -> list[str]:
        """The lines of all workers' logs that report one of `events`, or a traceback."""
        marks = ("Traceback", "Unrecoverable", *(f'"{event}"' for event in events))
        logs = self._children.outputs("worker")
        return [line for log in logs for line in log.splitlines() if any(m in line for m in marks)]

    # -- requests ----------------------------------------------------------------------------------

    def submit(self, openid: str, *targets: str, **fields: Any) -> str:
        """Submit a request (to the agent who is online, if none is named); its id."""
        kf_account, *fallbacks = targets or (trial.AGENT,)
        return self.producer.submit(
            appid=trial.APPID, openid=openid, kf_account=kf_account, fallbacks=fallbacks, **fields
        ).id

    def submit_many(self, openids: Iterable[str], **fields: Any) -> list[str]:
        """Submit a request to the agent who is online for each fan; their ids."""
        wishes = [
            {"appid": trial.APPID, "openid": each, "kf_account": trial.AGENT, **fields}
            for each in openids
        ]
        receipts = self.producer.submit_many(wishes)
        assert not [each for each in receipts if isinstance(each, Exception)]
        return [each.id for each in receipts]

    def outcome(self, request_id: str) -> record.Record:
        """The record once it is final."""
        one = self.producer.wait(request_id, PATIENCE_SECONDS)
        assert one is not None, f"{request_id} is unknown"
        assert one.final, f"{request_id} is still {one.status} ({one.reason})"
        return one

    def wait_status(self, request_id: str, status: record.Status) -> record.Record:
        """The record once it is seen in `status`."""

        def look() -> record.Record | None:
            one = self.reader.get(request_id)
            return one if one and one.status is status else None

        return trial.poll(look, seconds=PATIENCE_SECONDS, what=f"{request_id} is {status}")

    def wait_all_over(self) -> None:
        """Until no request is live."""
        trial.poll(
            lambda: not self.count_live(), seconds=PATIENCE_SECONDS, what="every request ends"
        )

    def request_ids(self) -> list[str]:
        """Every request there is a record of."""
        start = self.keys.request("")
        return [key.removeprefix(start) for key in self.client.scan_iter(f"{start}*", 5000)]

    def count(self, status: record.Status) -> int:
        """How many requests are in a state."""
        return sum(self.reader.counts()[status].values())

    def count_live(self) -> int:
        """How many requests have no outcome yet."""
        return self.reader.due()

    def creates(self, openid: str = "") -> list[dict[str, Any]]:
        """The create calls in WeChat's book, of one fan or of all."""
        calls: list[dict[str, Any]] = self.wechat.book(scenario.CREATE_PATH, openid)["calls"]
        return calls

    def set_online(self, kf_account: str, *, online: bool) -> None:
        """Let an agent come or go."""
        self.wechat.tell("agents", kf_account=kf_account, online=online)

    def readings(self) -> int:
        """How often WeChat was asked who is online."""
        calls: list[Any] = self.wechat.book("/cgi-bin/customservice/getonlinekflist")["calls"]
        return len(calls)

    # -- the broker --------------------------------------------------------------------------------

    def queue(self, lane: request.Lane) -> str:
        """The name of a lane's queue, which is its list's key."""
        return broker.queue_name(self.prefix, lane)

    def unacked(self) -> int:
        """How many messages kombu keeps for workers that have not acknowledged them."""
        return int(self.client.hlen(f"{self.prefix}.unacked"))

    def dead_errors(self) -> list[str]:
        """What was wrong with the entries on the dead list, newest first."""
        return [entry["error"] for entry in self.dead()]

    def dead(self) -> list[dict[str, Any]]:
        """The entries on the dead list, newest first."""
        return [json.loads(entry) for entry in self.client.lrange(self.keys.dead, 0, -1)]

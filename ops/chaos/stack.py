"""Starts a WeChat, workers and commands as real processes, and a Valkey for all of them.

The parts serve the acceptance tests too; `Stack` puts them together for a trial by hand.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ops.chaos import children, server_clock, servers, trial
from worker.contract import record
from worker.ledger import reader

#: How long a process may take until it can be used, in seconds.
START_SECONDS = 30.0


class Simulator:
    """A WeChat in a process of its own; `scenario` is what its file says besides, in TOML."""

    def __init__(
        self,
        some: children.Children,
        directory: Path,
        *,
        latency_ms: float | list[float],
        seed: int,
        scenario: str = "",
        appids: Sequence[str] = (trial.APPID,),
    ) -> None:
        file = directory / "scenario.toml"
        accounts = (
            f'[[accounts]]\nappid = "{each}"\nsecret = "{trial.APPSECRET}"\n' for each in appids
        )
        file.write_text(
            f"latency_ms = {latency_ms}\nseed = {seed}\n{scenario}\n{''.join(accounts)}"
        )
        command = [sys.executable, "-m", "ops.simulator"]
        command += ["--port", "0", "--scenario", str(file)]
        self._child = some.start("simulator", command, children.environment())
        self.url = trial.poll(self._listening, seconds=START_SECONDS, what="the simulator listens")

    def summary(self) -> dict[str, Any]:
        """Its own counts of calls and sessions."""
        return self._ask("summary")

    def book(self, path: str = "") -> dict[str, Any]:
        """Its calls (of one path) and sessions, one by one."""
        return self._ask(f"book?path={path}")

    def switch(self, kf_account: str, *, online: bool) -> None:
        """Send an agent online or offline."""
        self._ask("agents", {"kf_account": kf_account, "online": online, "appid": trial.APPID})

    def tell(self, name: str, **fields: object) -> dict[str, Any]:
        """Steer it: `tell("faults", busy=0.1)`; its GET /_simulator says what there is."""
        return self._ask(name, fields)

    def _ask(self, name: str, body: object = None) -> dict[str, Any]:
        url, data = (
            f"{self.url}/_simulator/{name}",
            None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(url, data, timeout=30) as answer:  # noqa: S310
            said: dict[str, Any] = json.load(answer)
        return said

    def _listening(self) -> str:
        found = re.search(r"listening on (http://\S+)", self._child.output())
        return found[1] if found else ""


class Worker:
    """A worker, started as the Procfile says, or by another command that ends in one."""

    #: What the Procfile says.
    COMMAND = (sys.executable, "-m", "celery", "-A", "worker.app", "worker")

    def __init__(
        self,
        some: children.Children,
        environment: dict[str, str],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.child = some.start("worker", command, environment)
        #: What its name in the ledger begins with.
        self.name = f"{socket.gethostname()}:{self.child.pid}:"

    def wait_ready(self, reads: reader.Reader) -> None:
        """Until it stands in the ledger's list of workers."""
        trial.poll(
            lambda: self.is_ready(reads), seconds=START_SECONDS, what="the worker announces itself"
        )

    def is_ready(self, reads: reader.Reader) -> bool:
        """Whether it stands in the ledger's list of workers; raises TooLate when it ended."""
        return any(each.startswith(self.name) for each in reads.workers()) or self._ended()

    def _ended(self) -> bool:
        if not self.child.is_running:
            raise trial.TooLate(f"the worker ended by itself:\n{self.child.output()[-2000:]}")
        return False


class Stack:
    """Valkey, a WeChat and as many workers as are started; all gone when it ends.

    `scenario` is the simulator's, besides; workers serve the accounts `appids`; Valkey goes by
    `clock`, where one is given; `knobs` are KF_* settings without their prefix, for workers and
    commands.
    """

    def __init__(
        self,
        *,
        latency_ms: float | list[float],
        seed: int = 0,
        scenario: str = "",
        appids: Sequence[str] = (trial.APPID,),
        fsync: str = "everysec",
        clock: server_clock.ServerClock | None = None,
        **knobs: object,
    ) -> None:
        self._end = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="kfsession-chaos-"))
            self.directory = Path(folder)
            self.children = undo.enter_context(children.Children(self.directory))
            self.valkey = servers.valkey(
                self.directory / "valkey",
                self.children,
                fsync=fsync,
                environment=clock.environment() if clock else None,
            )
            self.simulator = Simulator(
                self.children,
                self.directory,
                latency_ms=latency_ms,
                seed=seed,
                scenario=scenario,
                appids=appids,
            )
            self.environment = children.environment(
                KF_REDIS_URL=self.valkey.url,
                KF_API_BASE_URL=self.simulator.url,
                **_credentials(self.directory, appids),
                **{f"KF_{name.upper()}": str(value) for name, value in knobs.items()},
            )
            self.client = undo.enter_context(contextlib.closing(self.valkey.client()))
            self.reader = reader.Reader(self.client, self.environment.get("KF_KEY_PREFIX", "kf"))
            self._end = undo.pop_all()

    def start_worker(self, **variables: str) -> Worker:
        """A worker that has announced itself; `variables` go on top, empty ones take away."""
        worker = self.launch_worker(**variables)
        worker.wait_ready(self.reader)
        return worker

    def launch_worker(self, command: Sequence[str] = Worker.COMMAND, **variables: str) -> Worker:
        """A worker that may not be ready yet."""
        given = {**self.environment, **variables}
        known = {name: value for name, value in given.items() if value}
        return Worker(self.children, known, command)

    def start_command(self, *arguments: str, **variables: str) -> children.Child:
        """`kfsession ARGUMENTS`, under way; `variables` go on top of the workers'."""
        command = [sys.executable, "-c", "from ops import cli; cli.main()", *arguments]
        return self.children.start("kfsession", command, {**self.environment, **variables})

    def send_batch(self, count: int, *, seconds: float) -> None:
        """`kfsession batch` of so many fans, from its start to its end."""
        file = trial.write_csv(self.directory / "fans.csv", count)
        batch = self.start_command("batch", str(file))
        if batch.wait(seconds):
            raise SystemExit(f"kfsession batch failed:\n{batch.output()}")

    def count(self, status: record.Status) -> int:
        """How many requests are in a state."""
        return sum(self.reader.counts()[status].values())

    def outcomes(self) -> dict[str, int]:
        """How many requests ended how, by status and reason."""
        counts = self.reader.counts()
        return {
            f"{status} {reason}".strip(): size
            for status in record.FINAL
            for reason, size in counts[status].items()
        }

    def count_live(self) -> int:
        """How many requests have no outcome yet."""
        return self.reader.due()

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._end.close()


def _credentials(directory: Path, appids: Sequence[str]) -> dict[str, str]:
    """Settings that name these accounts: several of them stand in a file."""
    if len(appids) == 1:
        return {"KF_APPID": appids[0], "KF_APPSECRET": trial.APPSECRET}
    file = directory / "accounts.toml"
    tables = (
        f'[[account]]\nappid = "{each}"\nappsecret = "{trial.APPSECRET}"\n' for each in appids
    )
    file.write_text("".join(tables))
    return {"KF_ACCOUNTS_FILE": str(file)}

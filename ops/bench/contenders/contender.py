"""Takes the parts of a machine and hands on one way to open sessions, ready to be raced.

A contender has worker processes and, but for the bare loop, a Valkey of its own, so that nobody
pays for what another one wrote. Between its turns its workers are frozen.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from ops.bench import processes, serving
from ops.chaos import children, servers, trial


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where the race is run."""

    directory: Path
    some: children.Children
    server: serving.Server


class Contender(abc.ABC):
    """A way to open sessions.

    `name` is for the command line, `title` for tables; `sessions` are those of one round, `warm_up`
    those before the first. Once prepared and launched it goes on until `close`.
    """

    def __init__(self, name: str, title: str, *, sessions: int, warm_up: int) -> None:
        self.name = name
        self.title = title
        self.sessions = sessions
        self.warm_up = warm_up
        self.workers: list[processes.Tree] = []
        #: Its Valkey; None when it needs none.
        self.valkey: processes.Tree | None = None
        #: What the library handed out for each piece of the last work, to ask it for the outcome.
        self._sent: list[Any] = []
        self._numbers = itertools.count()
        self._end = contextlib.ExitStack()

    @abc.abstractmethod
    def prepare(self, field: Field) -> None:
        """Open what writes the work down."""

    @abc.abstractmethod
    def launch(self, field: Field) -> None:
        """Start its workers."""

    @abc.abstractmethod
    def enqueue(self, openids: Sequence[str]) -> None:
        """Write down the work, one session for each of these fans."""

    @abc.abstractmethod
    def is_over(self) -> bool:
        """Whether every outcome of the work is on record; asked often, so it must be cheap."""

    @abc.abstractmethod
    def confirmed(self) -> int | None:
        """How many fans of the work have a session by its own records, read one by one.

        None: it keeps none.
        """

    def discard(self) -> None:
        """Let go of the last work; Celery says good-bye to each result, which nobody shall time."""
        self._sent = []

    def new_fans(self, count: int) -> list[str]:
        """Fans it was not given before."""
        return [trial.openid(number) for number in itertools.islice(self._numbers, count)]

    def freeze(self) -> None:
        """Stop its workers."""
        for worker in self.workers:
            worker.freeze()

    def thaw(self) -> None:
        """Let its workers go on."""
        for worker in self.workers:
            worker.thaw()

    def guard_by(self, some: children.Children) -> None:
        """Have its workers' children end with ours, until they are ended here."""
        for pid in (pid for worker in self.workers for pid in worker.pids()):
            some.watch(pid)
            self._end.callback(some.forget, pid)

    def close(self) -> None:
        """End its processes."""
        self.discard()
        for worker in self.workers:
            worker.kill()
        self._end.close()

    # -- for each kind of them ---------------------------------------------------------------------

    def _open_valkey(self, field: Field) -> servers.Server:
        """A Valkey with the settings that every contender gets."""
        valkey = servers.valkey(field.directory / f"valkey-{self.name}", field.some)
        self._end.callback(valkey.kill)
        self.valkey = processes.Tree(valkey.pid)
        return valkey

    def _connect(self, url: str) -> redis.Redis:
        """A client that is closed at the end."""
        return self._end.enter_context(contextlib.closing(redis.Redis.from_url(url)))

    def _run(self, field: Field, *module: str, **variables: str) -> None:
        """A worker: `python -m MODULE…` with these environment variables."""
        # Who is killed leaves its temporary files where they go with everything else.
        environment = children.environment(TMPDIR=str(field.directory), **variables)
        command = [sys.executable, "-m", *module]
        self._follow(field.some.start(self.name, command, environment))

    def _follow(self, child: children.Child) -> None:
        self.workers.append(processes.Tree(child.pid))


def results_url(valkey_url: str) -> str:
    """Its second database, for those who can keep results apart: its size counts them."""
    return f"{valkey_url.removesuffix('0')}1"

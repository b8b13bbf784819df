"""Listens to a Redis, and hands on what its clients asked of it meanwhile, and in how many reads.

Redis counts how often it read from a client's socket (`total_reads_processed` of `INFO stats`):
each is one round trip, a pipeline too. `MONITOR` tells what was asked, and marks what a script runs
with "lua".
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.resources
import threading
import time

import redis

from worker.ledger import scripts as lua

_LAST_WORDS = "that is all"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What clients asked; numbers by name, and how many there were."""

    seconds: float
    round_trips: int
    #: Scripts that clients ran, by the names of their files.
    scripts: collections.Counter[str]
    #: All other commands of clients; a transaction's MULTI and EXEC count too.
    commands: collections.Counter[str]
    #: Commands that scripts ran.
    in_scripts: int


class Watch:
    """Listens from its beginning to `end`; what it asks itself is left out."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._scripts: collections.Counter[str] = collections.Counter()
        self._commands: collections.Counter[str] = collections.Counter()
        self._in_scripts = 0
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="monitor", daemon=True)
        self._thread.start()
        self._is_listening.wait()
        self._began_at, self._reads_before = time.monotonic(), self._reads()

    def end(self) -> Asked:
        """What was asked until now."""
        reads = self._reads() - self._reads_before - 1  # without this question
        seconds = time.monotonic() - self._began_at
        self._client.echo(_LAST_WORDS)
        self._thread.join()
        named: collections.Counter[str] = collections.Counter()
        for sha, number in self._scripts.items():
            named[_script_name(self._client, sha)] += number
        return Asked(
            seconds=seconds,
            round_trips=reads,
            scripts=named,
            commands=self._commands,
            in_scripts=self._in_scripts,
        )

    def _reads(self) -> int:
        return int(self._client.info("stats")["total_reads_processed"])

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._is_listening.set()
            for said in monitor.listen():
                name, _, rest = said["command"].partition(" ")
                if said["client_type"] == "lua":
                    self._in_scripts += 1
                elif rest == _LAST_WORDS:
                    return
                elif name == "EVALSHA":
                    self._scripts[rest.partition(" ")[0]] += 1
                elif name != "INFO":
                    self._commands[name] += 1


def _script_name(client: redis.Redis, sha: str) -> str:
    """The file that the script ends with; Celery has some of its own."""
    text = client.execute_command("SCRIPT", "SHOW", sha)
    folder = importlib.resources.files(lua.__package__ or "") / "scripts"
    for each in folder.iterdir():
        if each.name.endswith(".lua") and text.endswith(each.read_text()):
            return each.name.removesuffix(".lua")
    return "Celery's"

"""Runs the Lua scripts of this folder, and turns Redis's failures into the project's errors."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import Any

import redis
import redis.sentinel

from worker import errors
from worker.ledger import connection

#: What is put in front of every script.
_FIRST = ("prelude", "lanes", "moves")
#: Each script, with the files that are put in front of it besides.
_SHARED = {
    "adopt": (),
    "announce": ("holds", "rooms", "machines", "sharing"),
    "blind": ("holds", "rooms", "machines"),
    "cancel": (),
    "claim": ("holds", "given", "agents", "rooms", "machines", "sharing", "turns", "claiming"),
    "depart": ("sharing",),
    "gate": ("rooms", "known_account"),
    "left_queued": ("holds", "machines", "sharing"),
    "names": (),
    "observe": ("holds", "given", "rooms"),
    "open_rooms": ("holds", "given", "agents", "rooms"),
    "purge": (),
    "renew": ("holds", "given", "agents"),
    "retry": (),
    "settle": ("holds", "given", "agents", "rooms", "machines", "sharing", "turns", "claiming"),
    "submit": ("rooms", "known_account"),
    "wake": ("given", "rooms", "sharing", "clock"),
    "watch": ("holds", "machines"),
}

#: Redis said no, or there was no connection to ask over; "connecting to" tells the rest of these.
_REFUSED = (
    redis.exceptions.ResponseError,
    redis.exceptions.AuthenticationError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MaxConnectionsError,
    redis.sentinel.MasterNotFoundError,
)

#: What Redis answers when it takes no writes now, where redis-py has no class for it. Any other
#: plain ResponseError is a bug of a script, and surfaces.
_OUT_OF_ORDER = (
    *("MISCONF", "BUSY", "NOREPLICAS", "UNBLOCKED", "MASTERDOWN"),
    *("CLUSTERDOWN", "TRYAGAIN", "DENIED"),
)

Argument = str | int | float


class Scripts:
    """The ledger's atomic steps, by name.

    `base` is the deployment's prefix, `retention_ms` how long final records are kept; every script
    gets both. `url` names the server in errors, which leave its password out.
    """

    def __init__(self, client: redis.Redis, base: str, *, retention_ms: int, url: str) -> None:
        self._client = client
        self._kept = connection.KeptConnections(client)
        self._base = base
        self._retention_ms = retention_ms
        self._url = url
        self._sources = {name: _source(name) for name in _SHARED}
        self._shas = {name: _sha(text) for name, text in self._sources.items()}

    def run(self, name: str, *arguments: Argument) -> Any:
        """Run one script; raises LedgerUnavailable when Redis did not answer."""
        with self.reaching():
            try:
                return self._ask("EVALSHA", self._shas[name], arguments)
            except redis.exceptions.NoScriptError:
                return self._ask("EVAL", self._sources[name], arguments)

    def _ask(self, command: str, script: str, arguments: Sequence[Argument]) -> Any:
        return self._kept.ask(command, script, 1, self._base, self._retention_ms, *arguments)

    def run_many(self, name: str, calls: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run one script once for each of `calls`, in one round trip; answers in their order."""
        with self.reaching():
            answers = self._pipeline(name, calls)
            missed = [
                place
                for place, each in enumerate(answers)
                if isinstance(each, redis.exceptions.NoScriptError)
            ]
            if missed:  # not all, where another client brought the script meanwhile
                self._client.script_load(self._sources[name])
                again = self._pipeline(name, [calls[place] for place in missed])
                for place, answer in zip(missed, again, strict=True):
                    answers[place] = answer
            self.check(answers)
        return answers

    def _pipeline(self, name: str, calls: Sequence[Sequence[Argument]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for arguments in calls:
                pipe.execute_command(*self._evalsha(name, arguments))
            return pipe.execute(raise_on_error=False)

    def _evalsha(self, name: str, arguments: Sequence[Argument]) -> tuple[Argument, ...]:
        return ("EVALSHA", self._shas[name], 1, self._base, self._retention_ms, *arguments)

    def check(self, answers: Sequence[Any]) -> None:
        """Raise LedgerUnavailable when an answer is a refusal; a bug surfaces as it is."""
        refusals = [each for each in answers if isinstance(each, redis.exceptions.RedisError)]
        if refusals:
            if _is_bug(refusals[0]):
                raise refusals[0]
            written = len(refusals) < len(answers)
            raise errors.LedgerUnavailable(self._url, _text(refusals[0]), maybe_written=written)

    @contextlib.contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn a failure to reach Redis into LedgerUnavailable."""
        try:
            yield
        except (redis.exceptions.RedisError, OSError) as error:
            if _is_bug(error):
                raise
            lost = not isinstance(error, _REFUSED) and "connecting to" not in str(error)
            raise errors.LedgerUnavailable(self._url, _text(error), maybe_written=lost) from None


def _is_bug(error: Exception) -> bool:
    is_plain = type(error) is redis.exceptions.ResponseError
    said = str(error).rpartition(" of pipeline caused error: ")[2]  # how redis-py begins in one
    return is_plain and not said.startswith(_OUT_OF_ORDER)


def names_by_sha() -> dict[str, str]:
    """What Redis calls each script -> what we call it, for who reads along."""
    return {_sha(_source(name)): name for name in _SHARED}


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _source(name: str) -> str:
    folder = importlib.resources.files(__package__) / "scripts"
    parts = (*_FIRST, *_SHARED[name], name)
    return "\n".join((folder / f"{part}.lua").read_text() for part in parts)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]

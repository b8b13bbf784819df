"""Holds what one process has open: the Redis client with ledger and reader, and the ringer.

Built without opening anything; sockets and threads come with the first use. A forked child builds
its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import redis

from producers import bounded, ringer
from worker import errors
from worker.contract import request, settings
from worker.ledger import connection, ledger, reader

#: Calls to Redis that may hang at the same time; the next ones are refused.
MAX_HANGING = 64
#: Above what threads can use at once: a full pool would be an error, not a wait.
MAX_CONNECTIONS = 1024
#: A socket gives up a little before the caller does, so that the reason is known.
SOCKET_SHARE = 0.9

_T = TypeVar("_T")


class Link:
    """One process's way to the ledger and to the doorbell."""

    def __init__(self, config: settings.Settings) -> None:
        self._config = config
        self._url = config.ledger_url
        self._seconds = config.submit_timeout_seconds
        self._client = connection.connect(
            self._url,
            timeout_seconds=self._seconds * SOCKET_SHARE,
            max_connections=MAX_CONNECTIONS,
        )
        self._calls = bounded.Calls(MAX_HANGING)
        self._reader = reader.Reader(self._client, config.key_prefix)
        self._ringer = ringer.Ringer(self._open_bell, many_messages=config.many_messages)
        self.ledger = ledger.Ledger(self._client, config)

    def write(self, step: Callable[[], _T]) -> _T:
        """Do one step of the ledger; raises LedgerUnavailable within the submit timeout."""
        return self.begin(step)()

    def begin(self, step: Callable[[], _T]) -> Callable[[], _T]:
        """Begin a step, and get what waits for its end: `write` in two halves."""
        with self._in_time():
            call = self._calls.start(step, self._seconds)

        def end() -> _T:
            with self._in_time():
                return call.result()

        return end

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except bounded.Overdue as error:
            raise errors.LedgerUnavailable(
                self._url,
                f"no answer within {self._seconds:g} s ({error})",
                maybe_written=error.has_started,
            ) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[reader.Reader]:
        """The reader; raises LedgerUnavailable where Redis does not answer it."""
        try:
            yield self._reader
        except redis.exceptions.RedisError as error:
            text = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise errors.LedgerUnavailable(self._url, text, maybe_written=False) from None

    def ring(
        self, lane: request.Lane, ids: list[str], *, until: float = 0.0, wakes_all: bool = False
    ) -> None:
        """Ring `ids` in the background; wait for that till `until` (monotonic), 0: not at all.

        With `wakes_all` they go in as many messages as a worker of these settings has slots: a few
        ids must not wait for one another while slots stand idle.
        """
        if ids:
            within_seconds = until - time.monotonic() if until else 0.0
            slots = self._config.concurrency if wakes_all else None
            self._ringer.ring(lane, ids, within_seconds=within_seconds, slots=slots)

    def drain(self) -> None:
        """Wait until the doorbells are rung, at most as long as a submit may take."""
        self._ringer.drain(self._seconds)

    def close(self) -> None:
        """Close what is open."""
        self._ringer.close()
        self._client.close()

    def _open_bell(self) -> ringer.Bell:
        from worker import doorbell  # Celery takes a third of a second to import

        return doorbell.Doorbell.from_settings(
            self._config, timeout_seconds=self._seconds * SOCKET_SHARE
        )

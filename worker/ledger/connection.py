"""Opens a Redis client for a ledger URL: redis://, rediss://, unix:// or sentinel://."""

from __future__ import annotations

import collections
import contextlib
import copy
import time
from collections.abc import Iterator
from typing import Any, cast

import redis
import redis.backoff
import redis.retry
import redis.sentinel

from worker.contract import urls

#: A connection that was idle for longer is looked at before it is used: the server may have closed
#: it. One whose answer took longer is closed: the server may have been away, and another be master.
TRUSTED_SECONDS = 1.0

#: What a server answers that is perhaps no longer the master: ask anew who is.
_NOT_IN_CHARGE = ("NOREPLICAS", "UNBLOCKED")


def connect(url: str, *, timeout_seconds: float, max_connections: int) -> redis.Redis:
    """A client that opens nothing yet and never replays a command by itself.

    redis-py's own retries would send a script again whose reply was lost; here whoever calls
    decides (ENGINE.md). Every wait is bounded by `timeout_seconds`.
    """
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_seconds,
        "max_connections": max_connections,
        "retry": once,
    }
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": timeout_seconds, "socket_keepalive": True}
    parts = urls.sentinel_parts(url)
    if parts is None:
        return redis.Redis.from_url(url, **options)
    hosts, name, database, password = parts
    # A sentinel that is away must not cost the time that the others need: there is one try each.
    each = timeout_seconds / len(hosts)
    asking = {"socket_timeout": each, "socket_connect_timeout": each, "retry": once}
    sentinel = _Sentinels(hosts, sentinel_kwargs=asking, password=password)  # type: ignore[no-untyped-call]
    master = sentinel.master_for(name, db=database, password=password, **options)  # type: ignore[no-untyped-call]
    return cast(redis.Redis, master)


class _Sentinels(redis.sentinel.Sentinel):
    """Redis-py's, for threads: two that put another one first each could lose one for good."""

    def discover_master(self, service_name: str) -> Any:
        mine = copy.copy(self)
        mine.sentinels = list(self.sentinels)
        found = super(_Sentinels, mine).discover_master(service_name)  # type: ignore[no-untyped-call]
        self.sentinels = mine.sentinels
        return found


class KeptConnections:
    """Sends commands over connections that it takes out of a client's pool and keeps.

    To borrow a connection from the pool for each command costs more CPU than the command, and all
    threads queue for the pool's lock. Thread-safe; the client's `close` closes these too.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        #: Whether sentinels say who the master is: one that was stopped may be none any more.
        self._is_elected = isinstance(self._pool, redis.sentinel.SentinelConnectionPool)
        self._idle: collections.deque[tuple[redis.Connection, float]] = collections.deque()

    def ask(self, *command: str | int | float) -> Any:
        """The answer to one command; raises what redis-py raises."""
        one = self._take()
        began = time.monotonic()
        try:
            one.send_command(*command)
            answer = one.read_response()
        except redis.exceptions.ResponseError as error:
            if str(error).startswith(_NOT_IN_CHARGE):
                self._drop(one)
            else:
                self._keep(one, began)
            raise
        except BaseException:  # its answer may be on the way yet, and is nobody's any more
            self._drop(one)
            raise
        self._keep(one, began)
        return answer

    @contextlib.contextmanager
    def one(self) -> Iterator[redis.Connection]:
        """A connection for several commands; it is closed when the block raises."""
        taken = self._take()
        began = time.monotonic()
        try:
            yield taken
        except BaseException:
            self._drop(taken)
            raise
        self._keep(taken, began)

    def _drop(self, one: redis.Connection) -> None:
        one.disconnect()
        self._pool.release(one)  # which asks anew where the master is

    def _keep(self, one: redis.Connection, began: float) -> None:
        now = time.monotonic()
        if self._is_elected and now - began >= TRUSTED_SECONDS:
            self._drop(one)
        else:
            self._idle.append((one, now))

    def _take(self) -> redis.Connection:
        """The connection used last, so that few are kept busy and the others looked at again."""
        while self._idle:
            try:
                one, used_at = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - used_at < TRUSTED_SECONDS:
                return one
            self._pool.release(one)
        return self._pool.get_connection()

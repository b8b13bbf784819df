"""Opens a Redis client for a ledger URL: redis://, rediss://, unix:// or sentinel://."""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, cast

import redis
import redis.backoff
import redis.retry
import redis.sentinel

from worker.contract import urls

#: A connection that was idle for longer is looked at before it is used: the server may have closed
#: it. Over Sentinel, one that was silent for longer is not trusted to be the master's: shorter than
#: any sensible `down-after-milliseconds`, after which another server may have been made master.
TRUSTED_SECONDS = 1.0
#: When a connection last answered of which nobody knows that, on the monotonic clock.
_LONG_AGO = -math.inf

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
    asking = {"socket_timeout": timeout_seconds / len(hosts), "retry": once}
    sentinel = redis.sentinel.Sentinel(hosts, sentinel_kwargs=asking, password=password)
    master = sentinel.master_for(name, db=database, password=password, **options)
    return cast(redis.Redis, master)


class KeptConnections:
    """Sends commands over connections that it takes out of a client's pool and keeps.

    To borrow a connection from the pool for each command costs more CPU than the command, and all
    threads queue for the pool's lock. Thread-safe; the client's `close` closes these too.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        #: Whether sentinels say who the master is: one that was stopped may be none any more.
        self._is_elected = isinstance(self._pool, redis.sentinel.SentinelConnectionPool)
        self._idle: collections.deque[tuple[redis.Connection, float]] = collections.deque()

    def ask(self, *command: str | int | float) -> Any:
        """The answer to one command; raises what redis-py raises."""
        one, _ = self._take()
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
        """A connection for commands that are all answered in the block; closed when that raises.

        Over Sentinel it raises ConnectionError after the block where the server that answered is
        not known to be the master: one that was stopped goes on as if it were, its replicas take
        what it writes, and are made to forget it.
        """
        taken, answered_at = self._take()
        began = time.monotonic()
        try:
            yield taken
            if self._is_elected and time.monotonic() - answered_at >= TRUSTED_SECONDS:
                self._check_master(taken)
        except BaseException:
            self._drop(taken)
            raise
        self._keep(taken, began)

    def _check_master(self, one: Any) -> None:
        """Raise ConnectionError unless the sentinels name the server of this connection."""
        try:
            is_master = self._pool.get_master_address() == (one.host, one.port)
        except redis.sentinel.MasterNotFoundError as error:
            raise redis.exceptions.ConnectionError(f"who is the master by now? {error}") from None
        if not is_master:
            raise redis.exceptions.ConnectionError("the server that answered is the master no more")

    def _drop(self, one: redis.Connection) -> None:
        one.disconnect()
        self._pool.release(one)  # which asks anew where the master is

    def _keep(self, one: redis.Connection, began: float) -> None:
        now = time.monotonic()
        if self._is_elected and now - began >= TRUSTED_SECONDS:
            self._drop(one)
        else:
            self._idle.append((one, now))

    def _take(self) -> tuple[redis.Connection, float]:
        """The connection used last, so that few are kept busy and the others looked at again.

        With it comes when it last answered.
        """
        while self._idle:
            try:
                one, used_at = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - used_at < TRUSTED_SECONDS:
                return one, used_at
            self._pool.release(one)
        return self._pool.get_connection(), _LONG_AGO

"""Asks the sentinels whether a server that took a write is the master, and stays it."""

from __future__ import annotations

import time
from typing import Any

import redis
import redis.sentinel

#: How long a sentinel that did not answer is left out, in seconds: each would cost a whole wait.
_LEFT_OUT_SECONDS = 5.0


class NotConfirmed(Exception):
    """The sentinels do not confirm this master; the text says why."""


class Election:
    """What the sentinels behind a client say; without sentinels there is nothing to ask.

    One that stood still, or that the network cut off with one of its replicas, takes writes as
    before after another was elected; its replicas take them too, and are made to forget them.
    """

    def __init__(self, client: redis.Redis) -> None:
        pool: Any = client.connection_pool
        self._name = ""
        self._sentinels: tuple[redis.Redis, ...] = ()
        if isinstance(pool, redis.sentinel.SentinelConnectionPool):
            self._name = pool.service_name
            self._sentinels = tuple(pool.sentinel_manager.sentinels)
        #: When to ask each again, on the monotonic clock.
        self._ask_at = [0.0] * len(self._sentinels)

    def confirm(self, one: Any) -> None:
        """Raise NotConfirmed unless most sentinels name the server of this connection.

        None of them may name another, or know of a failover under way. What the replicas had by
        then they still have after the next failover.
        """
        confirmed, of = 0, len(self._sentinels)
        for place, sentinel in enumerate(self._sentinels):
            if time.monotonic() < self._ask_at[place]:
                continue
            try:
                seen: Any = sentinel.sentinel_master(self._name)
            except (redis.exceptions.RedisError, OSError):
                self._ask_at[place] = time.monotonic() + _LEFT_OUT_SECONDS
                continue
            flags = set(seen["flags"].split(","))
            if (seen["ip"], seen["port"]) != (one.host, one.port):
                raise NotConfirmed("a sentinel names another master")
            if flags & {"o_down", "failover_in_progress"}:
                raise NotConfirmed("a failover is under way")
            confirmed += flags == {"master"}
        if of and confirmed * 2 <= of:
            raise NotConfirmed(f"only {confirmed} of {of} sentinels confirm the master")

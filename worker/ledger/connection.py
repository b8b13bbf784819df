"""Opens a Redis client for a ledger URL: redis://, rediss://, unix:// or sentinel://."""

from __future__ import annotations

from typing import Any, cast

import redis
import redis.backoff
import redis.retry
import redis.sentinel

from worker.contract import urls


def connect(url: str, *, timeout_seconds: float, max_connections: int) -> redis.Redis:
    """A client that opens nothing yet and never replays a command by itself.

    redis-py's own retries would send a script again whose reply was lost; here whoever calls
    decides (ENGINE.md). Every wait is bounded by `timeout_seconds`.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_seconds,
        "max_connections": max_connections,
        "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": timeout_seconds, "socket_keepalive": True}
    parts = urls.sentinel_parts(url)
    if parts is None:
        return redis.Redis.from_url(url, **options)
    hosts, name, database, password = parts
    sentinel = redis.sentinel.Sentinel(
        hosts, sentinel_kwargs={"socket_timeout": timeout_seconds}, password=password
    )
    master = sentinel.master_for(name, db=database, password=password, **options)
    return cast(redis.Redis, master)

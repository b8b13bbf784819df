"""Takes a running Valkey and hands on how much of its memory a ledger's data take."""

from __future__ import annotations

import redis

#: What comes and goes with clients and with the append-only file.
_BUFFERS = ("mem_clients_normal", "mem_aof_buffer")


def data_bytes(client: redis.Redis) -> int:
    """What the server's data take, its buffers apart; the events stream is in it."""
    memory = client.info("memory")
    return int(memory["used_memory"]) - sum(int(memory[name]) for name in _BUFFERS)


def events_bytes(client: redis.Redis, key: str) -> int:
    """What the events stream takes, each node of it counted."""
    return client.memory_usage(key, samples=0) or 0

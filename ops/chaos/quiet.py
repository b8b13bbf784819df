"""Waits until a broker holds nothing for anybody."""

from __future__ import annotations

import contextlib
import time

import redis

from ops.chaos import trial
from worker.contract import broker, request

#: How long doorbells take to be rung off, and until kombu has looked for what the dead had in hand.
_SOON_SECONDS, _SWEPT_SECONDS = 3.0, 40.0


def wait(client: redis.Redis, prefix: str) -> None:
    """Wait until this deployment's queues are empty, and no worker has a message in hand.

    What dead workers had in hand comes back after two minutes; that time is made to pass, for the
    living too. Should something stay all the same, it is the audit's to say.
    """
    queues = [broker.queue_name(prefix, lane) for lane in request.Lane]
    unacked = f"{prefix}.unacked_index"
    with contextlib.suppress(trial.TooLate):
        _wait_gone(client, *queues, unacked, seconds=_SOON_SECONDS)
        return
    client.delete(f"{prefix}.unacked_mutex")  # whoever held it may be dead
    long_ago = time.time() - 2 * broker.VISIBILITY_TIMEOUT_SECONDS
    for tag in client.zrange(unacked, 0, -1):
        client.zadd(unacked, {str(tag): long_ago}, xx=True)
    with contextlib.suppress(trial.TooLate):
        _wait_gone(client, *queues, unacked, seconds=_SWEPT_SECONDS)


def _wait_gone(client: redis.Redis, *names: str, seconds: float) -> None:
    trial.poll(lambda: client.exists(*names) == 0, seconds=seconds, what="all is quiet")

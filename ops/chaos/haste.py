"""Makes the time pass that a deployment would wait for, so that a trial need not."""

from __future__ import annotations

import time

import redis

from worker.ledger import keys


def pass_holds(client: redis.Redis, prefix: str) -> None:
    """The next probe of each account that is held, and the next look into each room, are due."""
    of, now = keys.Keys(prefix), round(time.time() * 1000)
    for appid in client.hkeys(of.accounts):
        account = of.account(str(appid))
        if hold := client.hget(account, "hold"):
            rest = str(hold).partition(" ")[2]
            client.hset(account, "hold", f"{now} {rest}")
    for room in client.zrange(of.rooms, 0, -1):
        client.zadd(of.rooms, {str(room): now}, xx=True)

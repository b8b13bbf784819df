"""Makes the time pass that a deployment would wait for, so that a trial need not."""

from __future__ import annotations

import time

import redis

from worker.ledger import keys

#: A hold begins with its end; one that a probe lifts meanwhile is not made anew.
_END_HOLD = """
local hold = redis.call('HGET', KEYS[1], 'hold')
if hold then
    redis.call('HSET', KEYS[1], 'hold', ARGV[1] .. string.match(hold, ' .*'))
end
"""


def pass_holds(client: redis.Redis, prefix: str) -> None:
    """The next probe of each account and machine, and the next look into each room, are due.

    A machine hears of it with its next beat.
    """
    of, now = keys.Keys(prefix), round(time.time() * 1000)
    for worker in client.hkeys(of.workers):
        client.delete(of.stepped_back(str(worker)))
    for appid in client.hkeys(of.accounts):
        client.eval(_END_HOLD, 1, of.account(str(appid)), now)
    for room in client.zrange(of.rooms, 0, -1):
        client.zadd(of.rooms, {str(room): now}, xx=True)

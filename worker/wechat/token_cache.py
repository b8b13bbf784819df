"""Keeps one account's access token in Redis for all processes, with a lock for who fetches it.

| key | type | holds |
| --- | --- | --- |
| `{<prefix>}:token:<appid>` | hash | token, expires_at_ms, fetched_at_ms; ends with the token |
| `{<prefix>}:token:<appid>:lock` | string | the owner's random name, and when it took the lock |
| `{<prefix>}:token:<appid>:forced` | string | when a refresh was forced; for a minute after it |
| `{<prefix>}:token:<appid>:forces` | string | forced refreshes in the last day |

Times are the server's, in ms, so that no client's clock matters. What was written at a time ahead
of now, before that clock was set back, is over: else a lock would last, and a token be believed,
for as much longer. Each step is one script and can be sent again when its reply was lost.
"""

import dataclasses
from typing import Any

import redis

#: Forced refreshes we allow ourselves a day; WeChat allows 20 to all who use the appid.
FORCES_A_DAY = 10

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- Servers that take over from each other may differ by a second.
local function is_ahead(at) return tonumber(at or 0) > now + 1000 end
"""

_READ = (
    _NOW
    + """
local row = redis.call('HMGET', KEYS[1], 'token', 'expires_at_ms', 'fetched_at_ms')
if not row[1] or is_ahead(row[3]) then return nil end
return {row[1], tonumber(row[2]) - now}
"""
)

_LOCK = (
    _NOW
    + """
local held = redis.call('GET', KEYS[2])
if held and string.match(held, '^%S+') == ARGV[1] then return now end
if held and not is_ahead(string.match(held, ' (%d+)$')) then return nil end
redis.call('SET', KEYS[2], ARGV[1] .. string.format(' %.0f', now), 'PX', ARGV[2])
return now
"""
)

# A fetch that outlived its lock may come back after a later one was stored: the fence, the time at
# which the lock was taken, keeps the older token from being written over the newer.
_STORE = (
    _NOW
    + """
local fetched_at = redis.call('HGET', KEYS[1], 'fetched_at_ms')
local fence = math.min(tonumber(ARGV[3]), now)
local is_owner = string.match(redis.call('GET', KEYS[2]) or '', '^%S+') == ARGV[1]
local is_newer = fetched_at and not is_ahead(fetched_at) and tonumber(fetched_at) >= fence
if is_newer and not is_owner then return 0 end
local expires_at = fence + ARGV[4]
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'expires_at_ms', string.format('%.0f', expires_at),
    'fetched_at_ms', string.format('%.0f', fence))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires_at))
return 1
"""
)

_UNLOCK = """
local held = redis.call('GET', KEYS[2])
if held and string.match(held, '^%S+') == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
"""

_MAY_FORCE = (
    _NOW
    + """
local count = tonumber(redis.call('GET', KEYS[4]) or '0')
local forced_at = redis.call('GET', KEYS[3])
if count >= tonumber(ARGV[1]) or (forced_at and not is_ahead(forced_at)) then return 0 end
redis.call('SET', KEYS[3], string.format('%.0f', now), 'EX', 60)
redis.call('INCR', KEYS[4])
if count == 0 then redis.call('EXPIRE', KEYS[4], 86400) end
return 1
"""
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CachedToken:
    """A token as Redis holds it, and how long it is still good for."""

    token: str = dataclasses.field(repr=False)
    remaining_seconds: float


class TokenCache:
    """The Redis side of a shared token; raises redis.RedisError when Redis does not answer."""

    def __init__(self, client: redis.Redis, *, prefix: str, appid: str) -> None:
        self.appid = appid
        key = f"{{{prefix}}}:token:{appid}"
        self._keys = [key, f"{key}:lock", f"{key}:forced", f"{key}:forces"]
        self._read = client.register_script(_READ)
        self._lock = client.register_script(_LOCK)
        self._store = client.register_script(_STORE)
        self._unlock = client.register_script(_UNLOCK)
        self._may_force = client.register_script(_MAY_FORCE)

    def read(self) -> CachedToken | None:
        """The token everybody uses, None when there is none."""
        row: Any = self._read(keys=self._keys)
        if row is None or row[1] <= 0:
            return None
        return CachedToken(token=row[0], remaining_seconds=row[1] / 1000)

    def lock(self, owner: str, *, seconds: float) -> int | None:
        """Become the one who fetches; the fence to store with, None when somebody else is."""
        fence: Any = self._lock(keys=self._keys, args=[owner, round(seconds * 1000)])
        return None if fence is None else int(fence)

    def store(self, owner: str, *, fence: int, token: str, seconds: float) -> bool:
        """Share a token good for so many seconds from the fence on; False if a newer one stands."""
        args: list[Any] = [owner, token, fence, round(seconds * 1000)]
        return bool(self._store(keys=self._keys, args=args))

    def unlock(self, owner: str) -> None:
        """Stop being the one who fetches; does nothing when that is somebody else by now."""
        self._unlock(keys=self._keys, args=[owner])

    def may_force(self) -> bool:
        """Whether to force a refresh now: once a minute, FORCES_A_DAY a day, over all processes."""
        return bool(self._may_force(keys=self._keys, args=[FORCES_A_DAY]))

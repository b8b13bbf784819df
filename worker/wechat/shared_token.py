"""Hands out a token that all processes of an account share, and has one of them fetch the next.

The way to a token, cheapest first: this process remembers it; Redis has it; this process takes the
lock and fetches it; another one has the lock, and this one looks again until it is there. A token
close to its end is replaced by whoever notices first, while everybody else goes on with it.
"""

import contextlib
import dataclasses
import random
import threading
import time
import uuid
from collections.abc import Callable

import pydantic
import redis
import structlog

from worker import errors
from worker.contract import errcodes
from worker.wechat import token_cache, token_calls, transport

#: A token is replaced this long before its end. stable_token gives a new one in the last five
#: minutes, so that asking earlier would only bring the same again; up to a fifth less by chance,
#: that not all processes notice at once.
REFRESH_SECONDS = 300.0
#: How often a process that waits for another one's fetch looks for the token.
POLL_SECONDS = 0.1
#: After a failed fetch nobody in this process tries for 1 s, then 2, 4, … up to this.
MAX_PAUSE_SECONDS = 30.0
#: What the lock lasts beyond the longest fetch.
_LOCK_MARGIN_SECONDS = 5.0

_log = structlog.stdlib.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """The token this process uses, with times of its monotonic clock."""

    token: str = dataclasses.field(repr=False)
    refresh_at: float
    usable_until: float


class SharedToken:
    """A TokenSource over `fetch` and Redis. What is remembered costs no round trip.

    `get` and `renew` take `wait_seconds` at most, fetch included, and one Redis timeout more when
    Redis hangs. `force`, where there is one, is the last resort: it is used only when `fetch` gives
    the very token that WeChat rejected, and as rarely as `TokenCache.may_force` says, since WeChat
    counts 20 a day and the forced token ends the one that others still use.
    """

    def __init__(
        self,
        fetch: token_calls.Fetch,
        cache: token_cache.TokenCache,
        *,
        wait_seconds: float,
        force: token_calls.Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._fetch, self._force, self._cache = fetch, force, cache
        self._wait_seconds = wait_seconds
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._busy = threading.Lock()
        self._held: _Held | None = None
        self._rejected: str | None = None
        self._failure: errors.TokenUnavailable | None = None
        self._failures = 0
        self._silent_until = 0.0

    def get(self) -> str:
        held, now = self._held, self._clock()
        if held is None or now >= held.usable_until:
            return self._obtain(None)
        if now >= held.refresh_at:
            return self._refresh_early(held)
        return held.token

    def renew(self, rejected: str) -> str:
        return self._current(rejected) or self._obtain(rejected)

    def _current(self, rejected: str | None) -> str | None:
        held = self._held
        if held is None or held.token == rejected or self._clock() >= held.usable_until:
            return None
        return held.token

    def _refresh_early(self, held: _Held) -> str:
        """Replace a token that still works, without waiting for anybody."""
        if not self._busy.acquire(blocking=False):
            return held.token
        try:
            if self._held is not held:  # somebody has replaced it since we looked
                return (self._held or held).token
            now = self._clock()
            self._held = dataclasses.replace(held, refresh_at=now + 1)
            if now >= self._silent_until:
                return self._try_once(held.token, None, self._wait_seconds) or held.token
        except errors.TokenUnavailable as error:
            self._remember(error)
        finally:
            self._busy.release()
        return held.token

    def _obtain(self, rejected: str | None) -> str:
        """Get a token other than `rejected`, or fail, before the wait is over."""
        deadline = self._clock() + self._wait_seconds
        if not self._busy.acquire(timeout=self._wait_seconds):
            raise self._unavailable("another thread is still fetching it")
        try:
            if current := self._current(rejected):
                return current
            self._held, self._rejected = None, rejected or self._rejected
            if self._failure is not None and self._clock() < self._silent_until:
                raise _again(self._failure)
            return self._poll(rejected, deadline)
        finally:
            self._busy.release()

    def _poll(self, rejected: str | None, deadline: float) -> str:
        try:
            while (remaining := deadline - self._clock()) > 0:
                if token := self._try_once(rejected, rejected, remaining):
                    return token
                self._sleep(POLL_SECONDS)
            raise self._unavailable("another process is still fetching it")
        except errors.TokenUnavailable as error:
            self._remember(error)
            raise

    def _try_once(self, old: str | None, rejected: str | None, seconds: float) -> str | None:
        """The token from Redis if it is not `old`; else fetch it; None if somebody else does."""
        owner = uuid.uuid4().hex
        try:
            if token := self._adopt_cached(old):
                return token
            fence = self._cache.lock(owner, seconds=seconds + _LOCK_MARGIN_SECONDS)
            if fence is None:
                return None
            try:
                return self._adopt_cached(old) or self._adopt_fetched(
                    owner, fence, rejected, seconds
                )
            finally:
                with contextlib.suppress(redis.RedisError):  # the lock ends by itself
                    self._cache.unlock(owner)
        except redis.RedisError as error:
            reason = f"Redis does not answer ({type(error).__name__})"
        except errors.WeChatError as error:
            raise self._unavailable(str(error), error) from None
        raise self._unavailable(reason, hint="check that Redis is up and can be reached")

    def _adopt_cached(self, old: str | None) -> str | None:
        cached = self._cache.read()
        if cached is None or cached.token == old:
            return None
        return self._adopt(cached.token, cached.remaining_seconds)

    def _adopt_fetched(self, owner: str, fence: int, rejected: str | None, seconds: float) -> str:
        started_at = self._clock()
        grant = self._ask(rejected, seconds)
        lifetime = grant.expires_in_seconds
        self._cache.store(owner, fence=fence, token=grant.token, seconds=lifetime)
        _log.info("token_fetched", appid=self._cache.appid, expires_in_seconds=lifetime)
        return self._adopt(grant.token, lifetime - (self._clock() - started_at))

    def _ask(self, rejected: str | None, seconds: float) -> token_calls.Grant:
        started_at = self._clock()
        grant = self._fetch(seconds)
        if grant.token == rejected and self._force is not None and self._cache.may_force():
            _log.warning("token_forced", appid=self._cache.appid)
            grant = self._force(max(1.0, seconds - (self._clock() - started_at)))
        if grant.token == rejected:
            raise self._unavailable("its source gives again the token that WeChat rejects")
        return grant

    def _adopt(self, token: str, remaining_seconds: float) -> str:
        now = self._clock()
        ahead = min(REFRESH_SECONDS * (1 - self._chance() / 5), remaining_seconds / 2)
        until = now + remaining_seconds
        self._held = _Held(token=token, refresh_at=until - ahead, usable_until=until)
        if token != self._rejected:  # else it is tried again, more and more rarely
            self._failure, self._failures, self._silent_until = None, 0, 0.0
        return token

    def _remember(self, error: errors.TokenUnavailable) -> None:
        self._failure = _again(error)
        self._silent_until = self._clock() + min(2.0**self._failures, MAX_PAUSE_SECONDS)
        self._failures += 1

    def _unavailable(
        self, reason: str, cause: errors.WeChatError | None = None, *, hint: str | None = None
    ) -> errors.TokenUnavailable:
        if cause is not None and cause.errcode is not None:
            hint = errcodes.lookup(cause.errcode).hint
        return errors.TokenUnavailable(
            f"no access token for {self._cache.appid}: {reason}",
            hint=hint or "check that the token's source can be reached; it is tried again",
            cause_error=cause,
        )


def _again(failure: errors.TokenUnavailable) -> errors.TokenUnavailable:
    """The same failure without its traceback: threads that raise one exception would mix theirs."""
    return errors.TokenUnavailable(str(failure), hint=failure.hint, cause_error=failure.cause_error)


def stable_token(
    via: transport.Transport,
    client: redis.Redis,
    *,
    prefix: str,
    appid: str,
    secret: pydantic.SecretStr,
) -> SharedToken:
    """The token of an appid and its secret, from WeChat's stable_token."""
    call = token_calls.StableCall(via, appid=appid, secret=secret)
    cache = token_cache.TokenCache(client, prefix=prefix, appid=appid)
    return SharedToken(call.fetch, cache, wait_seconds=via.timeout_seconds, force=call.force)


def url_token(
    via: transport.Transport, client: redis.Redis, *, prefix: str, appid: str
) -> SharedToken:
    """The token that the server at the base URL of `via` owns and gives out."""
    call = token_calls.UrlCall(via)
    cache = token_cache.TokenCache(client, prefix=prefix, appid=appid)
    return SharedToken(call.fetch, cache, wait_seconds=via.timeout_seconds)

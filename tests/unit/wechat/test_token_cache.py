import time

import fakeredis
import pytest
import redis
import time_machine

from worker.wechat import token_cache


@pytest.fixture
def client() -> redis.Redis:
    return fakeredis.FakeRedis(decode_responses=True)


@pytest.fixture
def cache(client: redis.Redis) -> token_cache.TokenCache:
    return token_cache.TokenCache(client, prefix="kf", appid="wx1")


def _share(cache: token_cache.TokenCache, token: str, *, owner: str = "me") -> None:
    fence = cache.lock(owner, seconds=10)
    assert fence is not None
    assert cache.store(owner, fence=fence, token=token, seconds=7200)
    cache.unlock(owner)


def test_a_shared_token_is_read_with_the_time_it_has_left(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    assert cache.read() is None
    _share(cache, "T")
    found = cache.read()
    assert found is not None
    assert found.token == "T"
    assert 7190 < found.remaining_seconds <= 7200
    assert set(client.hgetall("{kf}:token:wx1")) == {"token", "expires_at_ms", "fetched_at_ms"}
    assert 7190 < client.ttl("{kf}:token:wx1") <= 7200
    assert "'T'" not in repr(found)


def test_one_owner_at_a_time_holds_the_lock(cache: token_cache.TokenCache) -> None:
    assert cache.lock("me", seconds=10) is not None
    assert cache.lock("me", seconds=10) is not None, "a try whose reply was lost may be repeated"
    assert cache.lock("you", seconds=10) is None
    cache.unlock("you")
    assert cache.lock("you", seconds=10) is None, "only the owner unlocks"
    cache.unlock("me")
    assert cache.lock("you", seconds=10) is not None


def test_the_lock_ends_by_itself(cache: token_cache.TokenCache, client: redis.Redis) -> None:
    cache.lock("me", seconds=10)
    assert 9000 < client.pttl("{kf}:token:wx1:lock") <= 10_000


def test_an_older_token_is_not_written_over_a_newer_one(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    slow = cache.lock("slow", seconds=10)
    assert slow is not None
    client.delete("{kf}:token:wx1:lock")  # as if its time had run out
    quick = cache.lock("quick", seconds=10)
    assert quick is not None
    assert cache.store("quick", fence=quick, token="NEW", seconds=7200)
    cache.unlock("quick")
    assert not cache.store("slow", fence=slow, token="OLD", seconds=7200)
    found = cache.read()
    assert found is not None
    assert found.token == "NEW"


def test_a_late_token_is_shared_when_nobody_else_has_one(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    fence = cache.lock("slow", seconds=10)
    assert fence is not None
    client.delete("{kf}:token:wx1:lock")
    assert cache.store("slow", fence=fence, token="T", seconds=7200)


def test_forcing_is_rationed_by_the_minute_and_the_day(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    assert cache.may_force()
    assert not cache.may_force()
    for _ in range(token_cache.FORCES_A_DAY - 1):
        client.delete("{kf}:token:wx1:forced")  # a minute later
        assert cache.may_force()
    client.delete("{kf}:token:wx1:forced")
    assert not cache.may_force()
    assert 86_000 < client.ttl("{kf}:token:wx1:forces") <= 86_400


def test_accounts_and_prefixes_do_not_meet(client: redis.Redis) -> None:
    _share(token_cache.TokenCache(client, prefix="kf", appid="wx1"), "T")
    assert token_cache.TokenCache(client, prefix="kf", appid="wx2").read() is None
    assert token_cache.TokenCache(client, prefix="other", appid="wx1").read() is None


def test_a_lock_taken_while_the_clock_was_ahead_is_nobodys(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    """Its owner may be dead, and nobody would fetch a token for an hour."""
    with time_machine.travel(time.time() + 3600, tick=True):
        ahead = cache.lock("before", seconds=10)
        assert ahead is not None
        assert cache.lock("me", seconds=10) is None
    fence = cache.lock("me", seconds=10)
    assert fence is not None
    assert cache.lock("you", seconds=10) is None
    assert 9000 < client.pttl("{kf}:token:wx1:lock") <= 10_000
    cache.unlock("before")
    assert cache.store("me", fence=fence, token="NEW", seconds=7200)
    assert cache.store("before", fence=ahead, token="OTHER", seconds=7200), "it came later"
    found = cache.read()
    assert found is not None
    assert found.token == "OTHER"
    assert found.remaining_seconds <= 7200


def test_a_token_fetched_while_the_clock_was_ahead_is_fetched_again(
    cache: token_cache.TokenCache,
) -> None:
    """How long it is good for is not known: an hour less than it says."""
    with time_machine.travel(time.time() + 3600, tick=True):
        _share(cache, "OLD", owner="before")
        assert cache.read() is not None
    assert cache.read() is None
    _share(cache, "NEW")
    found = cache.read()
    assert found is not None
    assert found.token == "NEW"


def test_a_step_ahead_ends_a_token_early(cache: token_cache.TokenCache) -> None:
    """It is fetched again, and was good all the same."""
    _share(cache, "OLD")
    with time_machine.travel(time.time() + 7300, tick=True):
        assert cache.read() is None
        _share(cache, "NEW")
        assert cache.read() is not None


def test_a_refresh_forced_while_the_clock_was_ahead_bars_no_other_for_an_hour(
    cache: token_cache.TokenCache,
) -> None:
    """Only for its minute."""
    with time_machine.travel(time.time() + 3600, tick=True):
        assert cache.may_force()
        assert not cache.may_force()
    assert cache.may_force()
    assert not cache.may_force()


def test_a_lock_of_the_release_before_is_held(
    cache: token_cache.TokenCache, client: redis.Redis
) -> None:
    """It wrote the owner alone."""
    client.set("{kf}:token:wx1:lock", "other", px=5000)
    assert cache.lock("me", seconds=10) is None
    assert cache.lock("other", seconds=10) is not None
    cache.unlock("other")
    assert cache.lock("me", seconds=10) is not None

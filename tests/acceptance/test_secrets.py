"""Tokens, secrets and passwords stay in; openids are masked in logs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ops.chaos import stack, trial
from tests.acceptance import conftest, processes
from worker.contract import record, request

#: One fan a kind of trouble.
FANS = ("", "wrong_", "unknown_", "busy3_", "e502_", "cut_after_", "cut_before_", "garbage_")
FANS += ("huge_", "hang_", "lied_", "code40001_", "code47001_", "served_carl_")


@pytest.mark.parametrize("log_level", ["INFO", "DEBUG"])
def test_nothing_secret_is_logged_or_kept(
    valkey: stack.Valkey, deploy: conftest.Deploy, log_level: str
) -> None:
    """After errors of many kinds, log and Redis hold no token, secret, password or whole openid."""
    shop = deploy(valkey, call_timeout_seconds=1, concurrency=32, log_level=log_level)
    worker = shop.start_worker()
    fans = [trial.openid(number, steer) for number, steer in enumerate(FANS)]
    ids = shop.submit_many(fans, ttl_seconds=5)
    shop.client.lpush(shop.queue(request.Lane.BATCH), b"poison")
    for request_id in ids:
        shop.outcome(request_id)
    token = _token(shop)
    shop.wechat.tell("tokens/expire")
    shop.outcome(shop.submit(trial.openid(1000)))
    blocking = shop.submit(trial.openid(1001, "code48001_"))  # holds the account, so it comes last
    shop.wait_status(blocking, record.Status.WAITING)
    secrets = {trial.APPSECRET, processes.REDIS_PASSWORD, token, _token(shop)}
    assert len(secrets) == 4
    assert worker.stop() == 0

    log = worker.output()
    assert "request_settled" in log
    assert not [secret for secret in secrets if secret in log]
    assert not [fan for fan in fans if fan in log]
    assert not [secret for secret in secrets for text in _redis_texts(shop) if secret in text]


def _token(shop: processes.Deployment) -> str:
    token = shop.client.hget(shop.keys.token(trial.APPID), "token")
    assert isinstance(token, str)
    return token


def _redis_texts(shop: processes.Deployment) -> Iterator[str]:
    """Every key of the deployment with what it holds, but for the token's."""
    for key in shop.client.scan_iter(f"*{re.escape(shop.prefix)}*", 5000):
        if key.startswith(shop.keys.token("")):
            continue
        yield key
        yield str(_content(shop, key))


def _content(shop: processes.Deployment, key: str) -> object:
    client = shop.client
    match client.type(key):
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "zset":
            return client.zrange(key, 0, -1)
        case "set":
            return client.smembers(key)
        case "stream":
            return client.xrange(key)
        case kind:
            raise AssertionError(f"{key} is a {kind}")

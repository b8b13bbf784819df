"""Redis may freeze or die under a running worker: it waits and goes on."""

from __future__ import annotations

import time

import pytest

from ops.chaos import stack, trial
from producers import SubmitFailed
from tests.acceptance import books, conftest, processes
from worker.contract import record

S = record.Status

REQUESTS = 120
AWAY_SECONDS = 3.0


@pytest.mark.parametrize("is_killed", [False, True], ids=["frozen", "killed"])
def test_a_worker_outlives_a_redis_that_is_away(
    own_valkey: stack.Valkey, deploy: conftest.Deploy, is_killed: bool
) -> None:
    """The process lives on, producers hear in time, and every accepted request ends, once."""
    shop = deploy(
        own_valkey,
        latency_ms=100,
        call_timeout_seconds=1,
        concurrency=4,
        submit_timeout_seconds=1,
    )
    worker = shop.start_worker()
    shop.submit_many((trial.openid(number) for number in range(REQUESTS)), lane="batch")
    trial.poll(lambda: shop.count(S.CREATED) >= 10, seconds=20, what="some are created")
    (own_valkey.kill if is_killed else own_valkey.freeze)()
    until = time.monotonic() + AWAY_SECONDS
    in_doubt = _submit_in_vain(shop, REQUESTS)
    while time.monotonic() < until:  # the length of the outage is what is tested
        time.sleep(0.05)
    (own_valkey.restart if is_killed else own_valkey.thaw)()

    again = shop.producer.submit(_wish(REQUESTS), id=in_doubt)
    assert again.id == in_doubt
    shop.wait_all_over()
    records = books.check_books(shop, requests=REQUESTS + 1)
    assert {one.status for one in records} == {S.CREATED}
    assert worker.is_running
    assert worker.stop() == 0


def test_a_worker_outlives_a_server_that_is_demoted_and_promoted_again(
    own_valkey: stack.Valkey, deploy: conftest.Deploy
) -> None:
    """A failover answers UNBLOCKED and READONLY: errors to wait out, not to end on."""
    shop = deploy(own_valkey, call_timeout_seconds=1, concurrency=4)
    worker = shop.start_worker()
    first = shop.submit(trial.openid(1))
    shop.client.execute_command("REPLICAOF", "127.0.0.1", "2")
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:  # the length of the demotion is what is tested
        time.sleep(0.05)
    shop.client.execute_command("REPLICAOF", "NO", "ONE")
    second = shop.submit(trial.openid(2))
    shop.wait_all_over()
    assert {shop.outcome(each).status for each in (first, second)} == {S.CREATED}
    assert worker.is_running
    assert worker.stop() == 0


def _wish(number: int) -> dict[str, str]:
    openid = trial.openid(number)
    return {"appid": trial.APPID, "openid": openid, "kf_account": trial.AGENT}


def _submit_in_vain(shop: processes.Deployment, number: int) -> str:
    """Submit while Redis is away: it raises in time, and names the id to send again under."""
    started = time.monotonic()
    with pytest.raises(SubmitFailed) as raised:
        shop.producer.submit(_wish(number))
    assert time.monotonic() - started < 1.5, "KF_SUBMIT_TIMEOUT_SECONDS is 1"
    (request_id,) = raised.value.ids
    assert request_id in str(raised.value)
    return request_id

"""All worker processes of an account share one access token."""

from __future__ import annotations

from ops.chaos import servers, trial
from tests.acceptance import books, conftest
from worker.contract import record


def test_two_workers_from_cold_fetch_one_token(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """Two processes that start at the same moment, with work waiting for both, ask once."""
    shop = deploy(valkey, latency_ms=50, concurrency=1)
    shop.submit_many(trial.openid(number) for number in range(100))
    workers = [shop.launch_worker() for _ in range(2)]
    for worker in workers:
        worker.wait_ready(shop.reader)
    shop.wait_all_over()
    assert shop.count(record.Status.CREATED) == 100
    assert shop.wechat.summary()["token_fetches"] == 1
    books.check_books(shop, requests=100)
    assert [worker.child.stop() for worker in workers] == [0, 0]
    settled = [worker.child.output().count('"request_settled"') for worker in workers]
    assert sum(settled) == 100
    assert min(settled) > 0, "both had a part in it"

"""Worker processes that die at any moment lose no request and open no session twice."""

from __future__ import annotations

import random

import pytest

from ops.chaos import stack, trial
from tests.acceptance import books, conftest, processes
from worker.contract import record

S = record.Status

REQUESTS, KILLS = 200, 3


@pytest.mark.parametrize("seed", [20261122])
def test_killed_workers_lose_nothing(
    valkey: stack.Valkey, deploy: conftest.Deploy, seed: int
) -> None:
    """SIGKILL at any moment costs time and nothing else: all created, one session a fan."""
    shop = deploy(valkey, latency_ms=20, call_timeout_seconds=1, concurrency=4)
    chance = random.Random(seed)
    worker = shop.start_worker()
    shop.submit_many((trial.openid(number) for number in range(REQUESTS)), lane="batch")
    for moment in sorted(chance.sample(range(10, REQUESTS - 40), KILLS)):
        trial.poll(
            lambda moment=moment: shop.count(S.CREATED) >= moment,
            seconds=processes.PATIENCE_SECONDS,
            what=f"{moment} requests are created",
        )
        worker.kill()
        assert shop.count_live() > 0, "it was killed with work to do"
        worker = shop.start_worker()
    shop.wait_all_over()
    records = books.check_books(shop, requests=REQUESTS)
    assert {one.status for one in records} == {S.CREATED}


def test_two_processes_that_submit_the_same_fans_get_one_session_each(
    valkey: stack.Valkey, deploy: conftest.Deploy
) -> None:
    """The same 20 lines from two processes at the same moment are 20 sessions."""
    shop = deploy(valkey, latency_ms=20)
    shop.start_worker()
    file = trial.write_csv(shop.directory / "fans.csv", 20)
    batches = [shop.start_command("batch", str(file)) for _ in range(2)]
    assert [batch.wait(processes.PATIENCE_SECONDS) for batch in batches] == [0, 0]
    shop.wait_all_over()
    assert shop.wechat.summary()["sessions_opened"] == 20
    books.check_books(shop, requests=len(shop.request_ids()))

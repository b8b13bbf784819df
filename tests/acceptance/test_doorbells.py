"""Celery messages are doorbells: losing any of them costs time and nothing else."""

from __future__ import annotations

import threading

from ops.chaos import lost_doorbells, stack, trial
from tests.acceptance import books, conftest
from worker.contract import record

S = record.Status


def test_requests_whose_doorbells_are_all_lost_end_right(
    valkey: stack.Valkey, deploy: conftest.Deploy
) -> None:
    """With every message thrown away, before and during the work, the waiting room finds all."""
    shop = deploy(valkey, latency_ms=20, concurrency=4)
    shop.submit_many((trial.openid(number) for number in range(100)), lane="batch")
    lost = lost_doorbells.throw_away(shop.client, shop.prefix)
    assert lost > 0
    is_over = threading.Event()

    def throw_away() -> None:
        with shop.valkey.client() as client:
            while not is_over.wait(0.1):
                lost_doorbells.throw_away(client, shop.prefix)

    thread = threading.Thread(target=throw_away)
    thread.start()
    try:
        shop.start_worker()
        shop.wait_all_over()
    finally:
        is_over.set()
        thread.join()
    records = books.check_books(shop, requests=100)
    assert {one.status for one in records} == {S.CREATED}

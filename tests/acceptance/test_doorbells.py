"""Celery messages are doorbells: losing any of them costs time and nothing else."""

from __future__ import annotations

import threading
import time

import celery

from ops.chaos import lost_doorbells, stack, trial
from tests.acceptance import books, conftest
from worker.contract import broker, record, request
from worker.ledger import request_ids

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


def test_stale_doorbells_do_not_hold_up_a_worker_with_few_slots(
    valkey: stack.Valkey, deploy: conftest.Deploy
) -> None:
    """A slot that comes free takes the next message at once, not when Celery looks again."""
    shop = deploy(valkey, concurrency=1)
    app = celery.Celery(broker=shop.valkey.url)
    for _ in range(200):
        app.send_task(
            broker.DELIVER, [[request_ids.new_id()]], queue=shop.queue(request.Lane.BATCH)
        )
    app.close()
    shop.client.delete(f"_kombu.binding.{shop.queue(request.Lane.BATCH)}")
    shop.start_worker()
    started = time.monotonic()
    trial.poll(
        lambda: shop.reader.oddities().get("doorbell_unknown_id") == 200,
        seconds=60,
        what="every stale doorbell was looked at",
    )
    assert time.monotonic() - started < 15, "left to Celery it takes 40 s"

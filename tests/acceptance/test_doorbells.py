"""Celery messages are doorbells: losing any of them costs time and nothing else."""

from __future__ import annotations

import time

import celery

from ops.chaos import servers, trial
from tests.acceptance import conftest
from worker.contract import broker, request
from worker.ledger import request_ids


def test_stale_doorbells_do_not_hold_up_a_worker_with_few_slots(
    valkey: servers.Server, deploy: conftest.Deploy
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

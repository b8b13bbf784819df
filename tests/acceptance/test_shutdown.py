"""SIGTERM finishes running calls, starts no new ones, and leaves nothing behind."""

from __future__ import annotations

import time

import pytest

from ops.chaos import servers, trial
from tests.acceptance import books, conftest
from worker.contract import record, request

S = record.Status

LATENCY_SECONDS = 1.5
CALL_TIMEOUT_SECONDS = 3.0


@pytest.mark.parametrize("lane", request.Lane)
def test_a_worker_told_to_end_finishes_its_calls_and_leaves_the_rest(
    valkey: servers.Server, deploy: conftest.Deploy, lane: request.Lane
) -> None:
    """Gone within a call's time and 5 s, with status 0; the next worker does what is left."""
    shop = deploy(
        valkey,
        latency_ms=LATENCY_SECONDS * 1000,
        call_timeout_seconds=CALL_TIMEOUT_SECONDS,
        concurrency=15,
    )
    first = shop.start_worker()
    ids = [shop.submit(trial.openid(number), lane=lane.value) for number in range(30)]
    trial.poll(lambda: shop.count(S.CALLING) >= 5, seconds=20, what="calls are under way")
    told = time.monotonic()
    first.ask_to_end()
    trial.poll(lambda: shop.count(S.CALLING) == 0, seconds=20, what="the calls are over")
    called = len(shop.creates())
    assert first.wait(30) == 0
    assert time.monotonic() - told < CALL_TIMEOUT_SECONDS + 5

    assert shop.count(S.CALLING) == 0
    assert shop.unacked() == 0
    assert shop.reader.workers() == {}
    assert len(shop.creates()) == called < len(ids), "no call began once it was told to end"
    assert shop.count(S.CREATED) == called
    assert shop.count(S.CREATED) + shop.count(S.QUEUED) == len(ids)

    shop.start_worker()
    assert {shop.outcome(each).status for each in ids} == {S.CREATED}
    records = books.check_books(shop, requests=len(ids))
    assert sum(one.api_calls for one in records) == len(ids)

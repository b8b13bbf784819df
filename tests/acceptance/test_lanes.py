"""A person who waits in a chat goes before a batch, even when every slot is busy with one."""

from __future__ import annotations

from ops.chaos import servers, trial
from tests.acceptance import books, conftest
from worker.contract import record


def test_an_escalation_is_the_next_call_of_a_busy_worker(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """With one slot in the middle of a batch, only a call that is already claimed goes first."""
    shop = deploy(valkey, latency_ms=50, concurrency=1)
    shop.start_worker()
    shop.submit_many((trial.openid(number) for number in range(40)), lane="batch")
    trial.poll(lambda: len(shop.creates()) >= 5, seconds=20, what="the batch is under way")
    person = trial.openid(1000)
    request_id = shop.submit(person, lane="escalation")
    begun = len(shop.creates())
    assert shop.outcome(request_id).status is record.Status.CREATED
    shop.wait_all_over()
    called = [call["openid"] for call in shop.creates()]
    assert begun < 39, "it was submitted in the middle"
    assert called.index(person) <= begun + 1
    books.check_books(shop, requests=41)

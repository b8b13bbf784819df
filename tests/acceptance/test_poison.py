"""No entry in a queue list, however malformed, kills a worker or comes back."""

from __future__ import annotations

from collections.abc import Callable

from ops.chaos import poison, servers, trial
from tests.acceptance import books, conftest
from worker.contract import record, request

S = record.Status


def test_malformed_entries_go_to_the_dead_list_and_work_goes_on(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """The same process goes on; each refused entry is kept with its error; none comes back."""
    shop = deploy(valkey, concurrency=4)
    worker = shop.start_worker()
    lists = [shop.queue(lane) for lane in request.Lane]
    ids = []
    for number, entry in enumerate(poison.POISON + poison.HARMLESS):
        for name in lists:
            shop.client.lpush(name, entry)
        if number % 5 == 0:
            ids.append(shop.submit(trial.openid(number)))
    refused = len(poison.POISON) * len(lists)
    _wait_for(lambda: shop.client.hget(shop.keys.counters, "entries_refused") == str(refused))
    _wait_for(
        lambda: (
            shop.reader.oddities().get("doorbell_unknown_id") == len(poison.HARMLESS) * len(lists)
        )
    )
    assert {shop.outcome(each).status for each in ids} == {S.CREATED}
    assert len(shop.dead()) == refused
    assert all(entry["error"] and entry["queue"] in lists for entry in shop.dead())
    books.check_books(shop, requests=len(ids))
    assert worker.is_running
    assert worker.stop() == 0

    shop.start_worker()
    assert shop.outcome(shop.submit(trial.openid(1000))).status is S.CREATED
    assert len(shop.dead()) == refused
    books.check_books(shop, requests=len(ids) + 1)


def _wait_for(look: Callable[[], bool]) -> None:
    trial.poll(look, seconds=30, what="every malformed entry is dealt with")

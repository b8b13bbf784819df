"""A Celery client that has none of our code can submit, by the names in DESIGN.md alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ops.chaos import servers, trial
from tests.acceptance import books, conftest, processes
from worker.contract import record, request
from worker.ledger import request_ids

S = record.Status

#: argv: a JSON list of send_task's keyword arguments, `name` among them.
PLAIN_CLIENT = """
import json, os, sys
import celery

app = celery.Celery(broker=os.environ["BROKER_URL"])
for sent in json.loads(sys.argv[1]):
    app.send_task(sent.pop("name"), **sent)
assert not [name for name in sys.modules if name.split(".")[0] in ("worker", "producers", "ops")]
"""


@pytest.fixture
def shop(valkey: servers.Server, deploy: conftest.Deploy) -> Iterator[processes.Deployment]:
    """A deployment with its worker."""
    made = deploy(valkey)
    made.start_worker()
    yield made
    for lane in request.Lane:  # what a plain client leaves behind; kombu names it after the queue
        made.client.delete(f"_kombu.binding.{made.queue(lane)}")


def send(shop: processes.Deployment, *messages: dict[str, Any]) -> None:
    """Send tasks from a process of its own."""
    script = shop.start_script(PLAIN_CLIENT, json.dumps(messages))
    assert script.wait(processes.PATIENCE_SECONDS) == 0, script.output()


def wish(shop: processes.Deployment, number: int, **options: Any) -> dict[str, Any]:
    """A message that submits a request for one fan."""
    fields = {"kf_account": trial.AGENT, "openid": trial.openid(number)}
    queue = shop.queue(request.Lane.ESCALATION)
    return {"name": "kfsession.submit", "queue": queue, "args": [fields], **options}


def found(shop: processes.Deployment, *, key: str) -> record.Record:
    """The outcome of the request that a key stands for, once it is there."""
    one = trial.poll(
        lambda: shop.reader.by_key(key, trial.APPID), seconds=30, what=f"{key} is accepted"
    )
    return shop.outcome(one.id)


def test_a_plain_client_submits_and_its_task_id_is_the_key(shop: processes.Deployment) -> None:
    """Accepted, created, found by the task id; the queue tells the lane; metadata comes back."""
    fields = {
        "kf_account": "wrong_wim@hbshop",
        "fallbacks": [trial.AGENT],
        "openid": trial.openid(1),
        "ttl_seconds": 60,
        "metadata": {"order": 7, "tags": []},
    }
    batch = shop.queue(request.Lane.BATCH)
    send(
        shop,
        wish(shop, 1, args=[fields], task_id="order-7"),
        wish(shop, 2, args=[], kwargs={"request": wish(shop, 2)["args"][0]}, task_id="by-name"),
        wish(shop, 3, queue=batch, task_id="in-bulk"),
    )
    one = found(shop, key="order-7")
    assert (one.status, one.served_by, one.metadata) == (S.CREATED, trial.AGENT, fields["metadata"])
    assert one.lane is request.Lane.ESCALATION
    assert found(shop, key="by-name").status is S.CREATED
    assert found(shop, key="in-bulk").lane is request.Lane.BATCH
    books.check_books(shop, requests=3)


def test_the_same_task_twice_is_one_request(shop: processes.Deployment) -> None:
    """A message that comes twice, as Celery's may, opens one session and leaves one record."""
    send(shop, *[wish(shop, 1, task_id="once-only")] * 2)
    assert found(shop, key="once-only").status is S.CREATED
    send(shop, wish(shop, 1, task_id="once-only"), wish(shop, 2, task_id="after-it"))
    found(shop, key="after-it")
    books.check_books(shop, requests=2)
    assert len(shop.creates(trial.openid(1))) == 1


def test_a_bad_request_lies_on_the_dead_list_with_its_error(shop: processes.Deployment) -> None:
    """Refused in one sentence that names the field; what was sent is kept beside it."""
    misspelled = {"kf_acount": trial.AGENT, "openid": trial.openid(1)}
    swapped = {"kf_account": trial.openid(2), "openid": trial.AGENT}
    send(
        shop,
        wish(shop, 1, args=[misspelled]),
        wish(shop, 2, args=[swapped]),
        wish(shop, 3, countdown=3600),
        wish(shop, 4, link={"task": "tell_me", "args": []}),
    )
    trial.poll(lambda: len(shop.dead()) == 4, seconds=30, what="four dead entries")
    errors = "\n".join(entry["error"] for entry in shop.dead())
    assert "did you mean kf_account?" in errors
    assert "did you swap KF_ACCOUNT and OPENID?" in errors
    assert "eta" in errors
    assert "carries a link" in errors
    assert json.dumps(misspelled) in [entry["entry"] for entry in shop.dead()]
    books.check_books(shop, requests=0)


def test_a_plain_client_rings_the_doorbell(shop: processes.Deployment) -> None:
    """`kfsession.deliver` takes ids; one that is unknown is counted and harms nothing."""
    request_id, unknown = shop.submit(trial.openid(1)), request_ids.new_id()
    ring = {"name": "kfsession.deliver", "queue": shop.queue(request.Lane.BATCH)}
    send(shop, {**ring, "args": [[unknown, request_id]]}, {**ring, "kwargs": {"ids": [unknown]}})
    assert shop.outcome(request_id).status is S.CREATED
    trial.poll(
        lambda: shop.reader.oddities().get("doorbell_unknown_id") == 2,
        seconds=30,
        what="both unknown ids are counted",
    )
    assert shop.dead() == []
    books.check_books(shop, requests=1)

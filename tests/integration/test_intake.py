"""intake on kombu's real Redis channel: a worker reads a list that anybody may write to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import kombu
import pytest
import redis

from tests.unit import test_intake as shapes
from worker import doorbell, intake
from worker.contract import broker, request, settings


class Reader:
    """A worker's end of one queue: what kombu delivers, and what is refused."""

    def __init__(self, config: settings.Settings) -> None:
        self.queue = broker.queue_name(config.key_prefix, request.Lane.BATCH)
        self.refused: list[tuple[bytes, str, str]] = []
        self.delivered: list[kombu.Message] = []
        self.may_consume = True
        conf = broker.configuration(config)
        self.connection = kombu.Connection(
            conf["broker_url"],
            transport=intake.__name__ + ":Transport",
            transport_options={
                **conf["broker_transport_options"],
                "on_refused": lambda *entry: self.refused.append(entry),
                "may_consume": lambda: self.may_consume,
            },
        )
        (queue,) = [each for each in conf["task_queues"] if each.name == self.queue]
        self.consumer = self.connection.Consumer(
            [queue], on_message=self._take, accept=["json"], prefetch_count=1000
        )

    def _take(self, message: kombu.Message) -> None:
        message.ack()
        self.delivered.append(message)

    def drain(self, number: int) -> None:
        """Read until `number` entries went one way or the other, and a moment more."""
        self.consumer.consume()
        idle = 0
        while idle < 2:
            try:
                self.connection.drain_events(timeout=0.3)
                idle = 0
            except TimeoutError:
                idle += 1 if len(self.delivered) + len(self.refused) >= number else 0


@pytest.fixture
def reading(config: settings.Settings) -> Iterator[Reader]:
    made = Reader(config)
    yield made
    made.connection.release()


@pytest.fixture
def client(valkey_url: str, config: settings.Settings) -> Iterator[redis.Redis]:
    """The server as a stranger sees it; this deployment's keys are removed afterwards."""
    with redis.Redis.from_url(valkey_url) as made:
        yield made
        for key in made.scan_iter(f"{config.key_prefix}.*"):
            made.delete(key)


def test_no_entry_stops_the_reading(
    reading: Reader, client: redis.Redis, config: settings.Settings
) -> None:
    """Every malformed shape, a good message behind each: all good ones arrive, nothing stays."""
    for shape, (value, _) in shapes.REFUSED.items():
        client.lpush(reading.queue, shapes.raw(value))
        good = shapes.entry(headers__id=f"good-{abs(hash(shape))}")
        client.lpush(reading.queue, shapes.raw(good))
    for value in shapes.ACCEPTED.values():
        client.lpush(reading.queue, shapes.raw(value))
    reading.drain(2 * len(shapes.REFUSED) + len(shapes.ACCEPTED))
    assert len(reading.refused) == len(shapes.REFUSED)
    reasons = sorted(why for _, _, why in reading.refused)
    assert all(reasons)
    assert {queue for _, queue, _ in reading.refused} == {reading.queue}
    assert [raw for raw, _, _ in reading.refused] == [
        shapes.raw(value) for value, _ in shapes.REFUSED.values()
    ]
    assert len(reading.delivered) == len(shapes.REFUSED) + len(shapes.ACCEPTED)
    assert all(message.payload[0] == shapes.IDS for message in reading.delivered)
    assert client.exists(reading.queue, f"{config.key_prefix}.unacked") == 0


def test_the_doorbells_own_messages_pass(
    reading: Reader, client: redis.Redis, config: settings.Settings
) -> None:
    """A chunk of 50, in one pipeline, over real kombu on both ends; the length tells how many."""
    bell = doorbell.Doorbell.from_settings(config, timeout_seconds=5)
    ids = [f"0id{number}" for number in range(120)]
    assert bell.length(request.Lane.BATCH) == 0
    assert bell.ring(request.Lane.BATCH, ids) == 3
    assert bell.length(request.Lane.BATCH) == 3
    assert bell.ring(request.Lane.ESCALATION, ids[:2]) == 2
    assert bell.length(request.Lane.ESCALATION) == 2
    bell.close()
    reading.drain(3)
    assert [each for message in reading.delivered for each in message.payload[0][0]] == ids
    assert reading.refused == []


@pytest.mark.parametrize("more", [{}, {"expires": 60}, {"priority": 0}, {"headers": {"x": "y"}}])
def test_a_plain_celery_client_is_understood(
    reading: Reader, client: redis.Redis, config: settings.Settings, more: dict[str, Any]
) -> None:
    """It has none of this code, and only knows the broker, the queue and the task."""
    app = celery.Celery("plain", broker=config.ledger_url, set_as_current=False)
    app.send_task(broker.SUBMIT, args=[shapes.WISH], queue=reading.queue, task_id="t-9", **more)
    app.pool.resize(app.pool.limit, reset=True)
    reading.drain(1)
    (message,) = reading.delivered
    (fields,) = message.payload[0]
    assert {**fields, "deadline_at": None} == {**shapes.WISH, "deadline_at": None}
    assert ("deadline_at" in fields) is ("expires" in more)
    assert message.headers["id"] == "t-9"
    assert json.loads(json.dumps(message.delivery_info))["routing_key"] == reading.queue


def test_a_message_that_is_not_acknowledged_comes_back_clean(
    reading: Reader, client: redis.Redis, config: settings.Settings
) -> None:
    """What stands in `unacked` is of our own making, and is understood when it is given back."""
    client.lpush(reading.queue, shapes.raw(shapes.entry(headers__timelimit="soon")))
    rejected: list[kombu.Message] = []

    def reject(message: kombu.Message) -> None:
        if rejected:
            reading._take(message)
        else:
            rejected.append(message)
            message.reject(requeue=True)

    reading.consumer.on_message = reject
    reading.drain(1)
    assert [message.payload[0] for message in reading.delivered] == [shapes.IDS]
    assert reading.refused == []
    assert client.exists(reading.queue, f"{config.key_prefix}.unacked") == 0


def test_who_may_not_consume_takes_nothing_until_it_may_again(
    reading: Reader, client: redis.Redis
) -> None:
    """Entries stay for others; one that was asked for already is taken: nobody else has it."""
    client.lpush(reading.queue, *[json.dumps(shapes.entry())] * 2)
    reading.may_consume = False
    reading.drain(0)
    assert (reading.delivered, client.llen(reading.queue)) == ([], 2)
    reading.may_consume = True
    reading.drain(2)
    assert len(reading.delivered) == 2
    reading.may_consume = False
    client.lpush(reading.queue, json.dumps(shapes.entry()))
    reading.drain(3)
    client.lpush(reading.queue, json.dumps(shapes.entry()))
    reading.drain(0)
    assert (len(reading.delivered), client.llen(reading.queue)) == (3, 1)

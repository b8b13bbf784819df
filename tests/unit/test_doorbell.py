"""doorbell: ids in as few messages as the lane allows; a broker's failure is one error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celery
import kombu.exceptions
import pytest
import redis

from worker import doorbell, errors, intake
from worker.contract import broker, request, settings

ESCALATION, BATCH = request.Lane


class Bell:
    """A doorbell on a broker in memory."""

    def __init__(self) -> None:
        self.app = celery.Celery("t", set_as_current=False)
        self.app.conf.update(broker.configuration(settings.Settings(_env_file=None)))
        self.app.conf.broker_url = "memory://"
        self.app.conf.broker_transport_options = {}
        self.bell = doorbell.Doorbell(self.app, "kf")

    def take(self, lane: request.Lane) -> list[dict[str, Any]]:
        """The messages that stand in a lane."""
        found = []
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(broker.queue_name("kf", lane))
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    break
                found.append({"ids": message.payload[0][0], **message.headers})
                message.ack()
            queue.close()
        return found


@pytest.fixture
def bell() -> Iterator[Bell]:
    """Its lanes are empty before and after."""
    made = Bell()
    for lane in request.Lane:
        made.take(lane)
    yield made
    made.bell.close()


@pytest.mark.parametrize(
    ("lane", "number", "sizes"),
    [
        (ESCALATION, 1, [1]),
        (ESCALATION, 3, [1, 1, 1]),
        (BATCH, 1, [1]),
        (BATCH, 50, [50]),
        (BATCH, 51, [50, 1]),
        (BATCH, 120, [50, 50, 20]),
        (BATCH, 0, []),
    ],
)
def test_an_escalation_rides_alone_and_a_batch_in_chunks(
    bell: Bell, lane: request.Lane, number: int, sizes: list[int]
) -> None:
    """In order, each id once, to the one task."""
    ids = [f"0id{n}" for n in range(number)]
    assert bell.bell.ring(lane, ids) == len(sizes)
    messages = bell.take(lane)
    assert [len(message["ids"]) for message in messages] == sizes
    assert [each for message in messages for each in message["ids"]] == ids
    assert {message["task"] for message in messages} <= {broker.DELIVER}
    assert all(message["ignore_result"] for message in messages)


@pytest.mark.parametrize("lane", request.Lane)
@pytest.mark.parametrize(
    ("number", "sizes"), [(1, [1]), (4, [1] * 4), (10, [3, 3, 3, 1]), (500, [50] * 10)]
)
def test_there_are_no_more_messages_than_slots_that_can_take_them(
    bell: Bell, lane: request.Lane, number: int, sizes: list[int]
) -> None:
    """Whoever is rung draws from the whole lane; a message holds no more ids than it may."""
    ids = [f"0id{n}" for n in range(number)]
    assert bell.bell.ring(lane, ids, slots=4) == len(sizes)
    assert [len(message["ids"]) for message in bell.take(lane)] == sizes


def test_a_lane_rings_in_its_own_queue(bell: Bell) -> None:
    """And its length is told."""
    bell.bell.ring(BATCH, ["0a"])
    assert (bell.bell.length(ESCALATION), bell.bell.length(BATCH)) == (0, 1)
    assert bell.take(ESCALATION) == []


def test_no_chunk_is_larger_than_the_intake_takes() -> None:
    """Both ends agree."""
    assert max(doorbell.IDS_A_MESSAGE.values()) <= doorbell.MAX_IDS == intake.MAX_IDS


@pytest.mark.parametrize(
    "failure",
    [
        kombu.exceptions.OperationalError("redis://:PLANTED@h refused"),
        kombu.exceptions.ConnectionLimitExceeded("full"),
        redis.exceptions.ConnectionError("Error 111 connecting to h"),
        redis.exceptions.TimeoutError("Timeout reading from socket"),
        redis.exceptions.ResponseError("OOM command not allowed"),
        ConnectionResetError(104, "reset"),
        TimeoutError("slow"),
    ],
)
def test_whatever_the_broker_raises_is_one_error(
    bell: Bell, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Carry on: the waiting room rings again. No password is in it."""

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(bell.app, "send_task", fail)
    with pytest.raises(errors.DoorbellUnavailable, match=r"did not take 2 ids for batch") as caught:
        bell.bell.ring(BATCH, ["0a", "0b"])
    assert "PLANTED" not in str(caught.value)
    monkeypatch.setattr(bell.app.pool, "acquire", fail)
    with pytest.raises(errors.DoorbellUnavailable, match="did not tell the length of batch"):
        bell.bell.length(BATCH)


def test_a_doorbell_of_its_own_waits_no_longer_than_it_is_told() -> None:
    """Producers have to return in time; opening nothing, it needs no broker."""
    made = doorbell.Doorbell.from_settings(settings.Settings(_env_file=None), timeout_seconds=0.7)
    options = made._app.conf.broker_transport_options
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.7, 0.7)
    assert options["unacked_key"] == "kf.unacked"
    made.close()


def test_closing_one_doorbell_leaves_another_on_the_same_broker_usable(bell: Bell) -> None:
    """Kombu shares its pools in a process; two producers may come and go."""
    doorbell.Doorbell(bell.app, "kf").close()
    assert bell.bell.ring(BATCH, ["0a"]) == 1
    assert [message["ids"] for message in bell.take(BATCH)] == [["0a"]]

"""Takes request ids and rings Celery: "look at these". A lost or doubled message harms nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import celery
import kombu.exceptions
import redis

from worker import errors
from worker.contract import broker, request, settings

#: Most ids one message carries.
MAX_IDS = 50
#: How many it carries when they are new; an escalation rides alone, since a person waits for it.
IDS_A_MESSAGE = {request.Lane.ESCALATION: 1, request.Lane.BATCH: MAX_IDS}

#: Longest wait for one of the pool's connections, in seconds.
_POOL_SECONDS = 5

#: What a broker that is away, frozen or full can raise.
_BROKER_ERRORS = (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError)


class Doorbell:
    """Publishes through `app`, whose queues are named by `prefix`."""

    def __init__(self, app: celery.Celery, prefix: str) -> None:
        self._app = app
        self._queues = {lane: broker.queue_name(prefix, lane) for lane in request.Lane}

    @classmethod
    def from_settings(
        cls, config: settings.Settings, *, timeout_seconds: float | None = None
    ) -> Doorbell:
        """A doorbell with a Celery app of its own, for processes that run no worker.

        Opens nothing yet. `timeout_seconds` bounds each wait on the broker's socket; one ring
        makes a few of them.
        """
        app = celery.Celery("kfsession", set_as_current=False)
        app.conf.update(broker.configuration(config))
        if timeout_seconds is not None:
            app.conf.broker_connection_timeout = timeout_seconds
            app.conf.broker_transport_options |= {
                "socket_timeout": timeout_seconds,
                "socket_connect_timeout": timeout_seconds,
            }
        return cls(app, config.key_prefix)

    def ring(self, lane: request.Lane, ids: Sequence[str], *, slots: int | None = None) -> int:
        """Send `ids` in as few messages as the lane allows; returns how many messages.

        With `slots` there are as many as these many slots can work through at once.
        Raises DoorbellUnavailable when the broker did not take them all.
        """
        fair_share = math.ceil(len(ids) / slots) if slots else IDS_A_MESSAGE[lane]
        chunks = list(_chunks(ids, min(MAX_IDS, fair_share)))
        try:
            with (
                self._app.producer_pool.acquire(block=True, timeout=_POOL_SECONDS) as producer,
                producer.batch(100),
            ):
                for chunk in chunks:
                    self._app.send_task(
                        broker.DELIVER,
                        args=[chunk],
                        argsrepr=f"{len(chunk)} ids",  # left to Celery it costs half the message
                        queue=self._queues[lane],
                        producer=producer,
                        ignore_result=True,
                        retry=False,
                    )
        except _BROKER_ERRORS as error:
            raise errors.DoorbellUnavailable(
                f"the broker did not take {len(ids)} ids for {lane}: {type(error).__name__}"
            ) from None
        return len(chunks)

    def length(self, lane: request.Lane) -> int:
        """How many messages wait in the lane's queue."""
        try:
            with self._app.pool.acquire(block=True, timeout=_POOL_SECONDS) as connection:
                channel = connection.default_channel
                return int(channel.queue_declare(self._queues[lane]).message_count)
        except _BROKER_ERRORS as error:
            raise errors.DoorbellUnavailable(
                f"the broker did not tell the length of {lane}: {type(error).__name__}"
            ) from None

    def close(self) -> None:
        """Close the connections to the broker."""
        # Kombu shares the pool in the whole process: emptied it must stay usable for others.
        pool = self._app.pool
        pool.resize(pool.limit, reset=True)


def _chunks(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk

"""Doorbells that are lost, doubled or in disorder, and entries that are none."""

from __future__ import annotations

import contextlib
import itertools

import celery
import redis

from ops.chaos import fault, poison, site, trial, wire
from worker import errors
from worker.contract import broker, record, request
from worker.ledger import request_ids

#: The lists of both lanes.
_LISTS = tuple(broker.queue_name(site.PREFIX, lane) for lane in request.Lane)
#: How many of what BRPOP takes out of a list never arrives.
_DROPPED = 0.9
#: How many ids are rung again, or made up, at a time.
_IDS = 50
#: The fans of plain clients have numbers beyond all others.
_PLAIN_FANS = 10_000_000
#: What a plain client may give as priority.
_PRIORITIES = range(10)


class Doubling(fault.Tool):
    """Every doorbell comes three times."""

    def __init__(self) -> None:
        self._rung: set[str] = set()

    def strike(self, at: site.Site) -> None:
        """Ring twice more for what was accepted since the last strike."""
        new = list(at.load.accepted.copy() - self._rung)
        self._rung.update(new)
        for _ in range(2 if new else 0):
            at.times += at.bell.ring(request.Lane.BATCH, new)


def _reorder(at: site.Site) -> None:
    # Malformed entries may lie there too: not every one is text.
    with contextlib.closing(redis.Redis.from_url(at.stack.valkey.url)) as client:
        for name in _LISTS:
            with client.pipeline() as pipe:
                pipe.lrange(name, 0, -1)
                pipe.delete(name)
                entries = pipe.execute()[0]
            at.chance.shuffle(entries)
            if entries:
                client.rpush(name, *entries)
    at.times += 1


class Dropping(fault.Tool):
    """Nine of ten messages leave their list and never arrive, as for a worker killed then."""

    def prepare(self, at: site.Site) -> None:
        """Have the workers told that nothing came."""

        def rule(_: site.Staff, passing: wire.Passing) -> bytes | None:
            is_answer = passing.moment is wire.Moment.AFTER and "BRPOP" in passing.steps
            if not (is_answer and passing.data.startswith(b"*2")):
                return None
            if at.chance.random() >= _DROPPED:
                return None
            at.times += 1
            return b"*-1\r\n"

        at.rule = rule


class Poison(fault.Tool):
    """Everything that kills a stock worker lies among the messages."""

    def strike(self, at: site.Site) -> None:
        """Put every shape into one of the lists."""
        for entry in poison.POISON + poison.HARMLESS:
            at.client.lpush(at.chance.choice(_LISTS), entry)
            at.times += 1

    def check(self, at: site.Site) -> None:
        """The workers go on, and what was refused is kept."""
        if len(at.ready()) < at.fault.workers:
            at.complain("a worker has ended by itself")
        at.notes["on the dead list"] = at.client.llen(f"{{{site.PREFIX}}}:dead")


def _make_up(at: site.Site) -> None:
    """Ring for requests that do not exist."""
    made_up = [request_ids.new_id() for _ in range(_IDS)]
    for lane in request.Lane:
        with contextlib.suppress(errors.DoorbellUnavailable):
            at.bell.ring(lane, made_up)
    at.times += _IDS


class PlainClients(fault.Tool):
    """Celery clients with none of our code, who give their messages priorities."""

    def __init__(self) -> None:
        self._numbers = itertools.count(_PLAIN_FANS)
        self._keys: list[str] = []

    def strike(self, at: site.Site) -> None:
        """Submit one request of each priority, and ring for some that there are."""
        app = celery.Celery(broker=at.stack.valkey.url, set_as_current=False)
        queue = broker.queue_name(site.PREFIX, request.Lane.ESCALATION)
        known = list(at.load.accepted)
        for priority in _PRIORITIES:
            fields = {"kf_account": trial.AGENT, "openid": trial.openid(next(self._numbers))}
            sent = app.send_task(broker.SUBMIT, args=[fields], queue=queue, priority=priority)
            self._keys.append(sent.id)
            if known:
                ids = [at.chance.choice(known)]
                app.send_task(broker.DELIVER, args=[ids], queue=queue, priority=priority)
            at.times += 1
        app.close()

    def check(self, at: site.Site) -> None:
        """Each was accepted, and ended."""
        missing = 0
        for key in self._keys:
            one = at.stack.reader.by_key(key, trial.APPID)
            missing += one is None or one.status is not record.Status.CREATED
        if missing:
            at.complain(f"{missing} of {len(self._keys)} requests of plain clients are not created")
        with contextlib.suppress(redis.RedisError):
            for lane in request.Lane:  # kombu names it after the queue
                at.client.delete(f"_kombu.binding.{broker.queue_name(site.PREFIX, lane)}")


FAULTS = (
    fault.Fault(
        name="doorbells-doubled",
        recovery="none",
        what="each doorbell three times",
        tool=Doubling,
        times=200,
    ),
    fault.Fault(
        name="doorbells-dropped",
        recovery="none",
        what="nine of ten doorbells never arrive",
        tool=Dropping,
    ),
    fault.Fault(
        name="doorbells-reordered",
        recovery="none",
        what="doorbells in disorder",
        tool=fault.plain(_reorder),
        times=200,
    ),
    fault.Fault(
        name="entries-malformed",
        recovery="none",
        what="every malformed shape of a broker's entry",
        tool=Poison,
        times=20,
    ),
    fault.Fault(
        name="ids-unknown",
        recovery="none",
        what="doorbells for ids that do not exist",
        tool=fault.plain(_make_up),
        times=200,
    ),
    fault.Fault(
        name="plain-priorities",
        recovery="none",
        what="messages of plain Celery clients, with every priority",
        tool=PlainClients,
        times=100,
    ),
)

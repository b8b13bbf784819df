"""Takes one message a fan, as dramatiq is usually used: its own retries, its result kept.

The worker is `dramatiq ops.bench.peers.dramatiq_actor:connect_from_environment`, which finds its
servers in `BROKER_URL` and `RESULTS_URL`.
"""

from __future__ import annotations

import os

import dramatiq
import dramatiq.brokers.redis
import dramatiq.results
import dramatiq.results.backends

from ops.bench.peers import call

#: How long a result is kept, in ms: a day, as Celery does.
RESULT_MS = 86_400_000


def connected(
    broker_url: str, results: dramatiq.results.ResultBackend
) -> dramatiq.Actor[[str, str, str], str]:
    """The actor, with a broker of its own."""
    broker = dramatiq.brokers.redis.RedisBroker(url=broker_url)
    broker.add_middleware(dramatiq.results.Results(backend=results, result_ttl=RESULT_MS))
    return dramatiq.actor(broker=broker, store_results=True)(call.open_session)


def results_in(url: str) -> dramatiq.results.ResultBackend:
    """Where results are kept."""
    backend: dramatiq.results.ResultBackend = dramatiq.results.backends.RedisBackend(url=url)
    return backend


def connect_from_environment() -> None:
    """What the worker's command calls."""
    actor = connected(os.environ["BROKER_URL"], results_in(os.environ["RESULTS_URL"]))
    dramatiq.set_broker(actor.broker)

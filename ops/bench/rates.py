"""Takes fans for a running system, and hands on how many sessions a second it opens for them.

Shared by the benchmarks that hold their rate against that of a plain batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import producers
from ops.chaos import stack, trial
from worker.contract import record, request, settings

#: Who looks how far a busy system is does so with care, in seconds.
_LOOK_SECONDS = 0.1


def submit(
    running: stack.Stack, fans: range, *, steer: str = "", fallbacks: Sequence[str] = ()
) -> None:
    """A batch request for each of these fans, as a producer writes and rings them."""
    config = settings.load(_env_file=None, redis_url=running.environment["KF_REDIS_URL"])
    wishes = (
        {
            "appid": trial.APPID,
            "openid": trial.openid(number, steer),
            "kf_account": trial.AGENT,
            "fallbacks": list(fallbacks),
            "lane": request.Lane.BATCH,
        }
        for number in fans
    )
    with producers.SessionProducer(config) as producer:
        for result in producer.stream(wishes):
            if isinstance(result, request.InvalidRequest):
                raise SystemExit(f"a request was refused: {result}")


def of_batch(
    running: stack.Stack,
    workers: Sequence[stack.Worker],
    fans: range,
    *,
    patience: float,
    fallbacks: Sequence[str] = (),
) -> float:
    """Sessions a second of a plain batch, which stands in its lane before the first is taken."""
    for worker in workers:
        worker.child.freeze()
    submit(running, fans, fallbacks=fallbacks)
    for worker in workers:
        worker.child.thaw()
    return of_next(running, len(fans), patience=patience)


def of_next(running: stack.Stack, sessions: int, *, patience: float) -> float:
    """Sessions a second while the next so many are opened, their first and last tenth apart."""
    before, tenth = running.count(record.Status.CREATED), max(1, sessions // 10)
    began_at, first = _reach(running, before + tenth, patience)
    ended_at, last = _reach(running, before + sessions - tenth, patience)
    _reach(running, before + sessions, patience)
    return (last - first) / (ended_at - began_at)


def _reach(running: stack.Stack, sessions: int, patience: float) -> tuple[float, int]:
    """Wait for so many sessions; when it was (monotonic), and how many there were by then."""

    def look() -> int:
        created = running.count(record.Status.CREATED)
        return created if created >= sessions else 0

    created = trial.poll(
        look, seconds=patience, what=f"{sessions} sessions are open", every=_LOOK_SECONDS
    )
    return time.monotonic(), created

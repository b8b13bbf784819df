"""Takes our worker and hands on how long a request takes from `submit` to its call at the server.

Both ends are read from this machine's clock: before `submit` is called, and when the server has the
whole call. First nothing else happens; then a long batch keeps all slots busy.
"""

from __future__ import annotations

import dataclasses
import time

from ops.bench import race, serving
from ops.bench.contenders import contender, entries, ours
from ops.chaos import trial
from worker.contract import request

#: Time between two submits, in seconds.
SPACE_SECONDS = 0.05
#: The server is asked who arrived only after so long: to tell takes it some ms.
_AFTER_SECONDS = 1.0
#: Batch requests that must be under way before a person comes.
_WARM = 500
_PATIENCE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """In ms, one for each escalation."""

    idle: list[float]
    under_load: list[float]


def measure(field: contender.Field, *, scale: float) -> Latencies:
    """Start a worker of its own; what is left of the batch is thrown away."""
    one = entries.for_latency(scale)
    try:
        one.prepare(field)
        one.launch(field)
        _submit_apart(one, field.server, one.warm_up)
        idle = _submit_apart(one, field.server, one.sessions)
        under_load = _under_load(one, field.server, batch=round(50_000 * scale))
    finally:
        one.close()
    return Latencies(idle=idle, under_load=under_load)


def _under_load(one: ours.Ours, server: serving.Server, *, batch: int) -> list[float]:
    server.forget()
    wishes = [ours.wish(each, request.Lane.BATCH) for each in one.new_fans(batch)]
    one.producer.submit_many(wishes)
    trial.poll(
        lambda: server.counts().creates >= min(_WARM, batch // 10),
        seconds=_PATIENCE_SECONDS,
        what="a batch is under way",
    )
    latencies = _submit_apart(one, server, one.sessions)
    under_way = {each["openid"] for each in wishes}
    arrivals = server.arrivals()
    last_of_batch = max(at for openid, at in arrivals.items() if openid in under_way)
    if last_of_batch < max(at for openid, at in arrivals.items() if openid not in under_way):
        raise race.WorkNotDone("the batch was over before the last escalation came")
    return latencies


def _submit_apart(one: ours.Ours, server: serving.Server, count: int) -> list[float]:
    """Submit escalations one by one; what each took until the server was called, in ms."""
    sent_at: dict[str, float] = {}
    for openid in one.new_fans(count):
        wish = ours.wish(openid, request.Lane.ESCALATION)
        sent_at[openid] = time.time()
        one.producer.submit(wish)
        time.sleep(max(0.0, sent_at[openid] + SPACE_SECONDS - time.time()))

    time.sleep(_AFTER_SECONDS)

    def arrived() -> dict[str, float]:
        arrivals = server.arrivals()
        return arrivals if sent_at.keys() <= arrivals.keys() else {}

    arrivals = trial.poll(arrived, seconds=_PATIENCE_SECONDS, what="all arrived", every=0.5)
    return [(arrivals[openid] - at) * 1000 for openid, at in sent_at.items()]

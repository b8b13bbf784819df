"""Takes two producers and hands on how many requests a second each writes, without a worker.

`submit_many` writes requests into the ledger and rings for them; the usual Celery producer calls
`.delay()` in a loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time

from ops.bench.contenders import contender, entries


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests a second, a figure a round."""

    submit_many: list[float]
    delay: list[float]


def measure(field: contender.Field, *, rounds: int, scale: float) -> Rates:
    """One after the other, round by round, each with a Valkey of its own."""
    rates = Rates(submit_many=[], delay=[])
    with contextlib.ExitStack() as end:
        pair = entries.for_submitting(scale)
        for one in pair:
            end.callback(one.close)
            one.prepare(field)
            one.enqueue(one.new_fans(one.warm_up))
        for _ in range(rounds):
            for one, measured in zip(pair, (rates.submit_many, rates.delay), strict=True):
                measured.append(_requests_a_second(one))
    return rates


def _requests_a_second(one: contender.Contender) -> float:
    one.discard()
    openids = one.new_fans(one.sessions)
    started = time.perf_counter()
    one.enqueue(openids)
    return one.sessions / (time.perf_counter() - started)

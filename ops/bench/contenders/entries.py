"""Takes a scale and hands on those who take part, with as many sessions as some seconds need.

A scale of 1 is for measuring; anything less is for seeing that everything works.
"""

from __future__ import annotations

from ops.bench.contenders import (
    bare_loop,
    contender,
    ours,
    usual_celery,
    usual_dramatiq,
    usual_rq,
)
from worker.contract import request

#: Sessions of a round for those who are quick, and so the requests that are submitted.
BATCH = 20_000
#: Fewest of anything, however small the scale.
_LEAST = 4


def racers(scale: float) -> list[contender.Contender]:
    """Who is raced; nobody is started yet."""
    batch, quick = _scaled(BATCH, scale), _scaled(600, scale)
    several, slow = _scaled(1500, scale), _scaled(300, scale)
    return [
        bare_loop.BareLoop("bare", "bare loop, 64 threads", sessions=batch, warm_up=quick),
        ours.Ours(
            "batch", "kfsession, batch", lane=request.Lane.BATCH, sessions=batch, warm_up=quick
        ),
        ours.Ours(
            "batch-2",
            "kfsession, batch, 2 processes",
            lane=request.Lane.BATCH,
            processes=2,
            sessions=batch,
            warm_up=quick,
        ),
        ours.Ours(
            "escalation",
            "kfsession, escalations",
            lane=request.Lane.ESCALATION,
            sessions=_scaled(6000, scale),
            warm_up=quick,
        ),
        usual_celery.UsualCelery(
            "celery-threads",
            "Celery, 64 threads",
            sessions=several,
            warm_up=slow,
            pool="threads",
            slots=64,
        ),
        usual_celery.UsualCelery(
            "celery-prefork",
            "Celery, 32 processes",
            sessions=several,
            warm_up=slow,
            pool="prefork",
            slots=32,
        ),
        usual_rq.UsualRq(
            "rq", "RQ, one worker", sessions=_scaled(120, scale), warm_up=_scaled(10, scale)
        ),
        usual_rq.UsualRq(
            "rq-pool",
            "RQ, 32 SimpleWorkers",
            sessions=_scaled(600, scale),
            warm_up=_scaled(100, scale),
            workers=32,
        ),
        usual_dramatiq.UsualDramatiq(
            "dramatiq", "dramatiq, 64 threads", sessions=_scaled(2500, scale), warm_up=slow
        ),
    ]


def for_latency(scale: float) -> ours.Ours:
    """Whose escalations are timed one by one."""
    return ours.Ours(
        "latency",
        "kfsession",
        lane=request.Lane.ESCALATION,
        sessions=_scaled(300, scale),
        warm_up=_scaled(20, scale),
    )


def for_submitting(scale: float) -> tuple[contender.Contender, contender.Contender]:
    """Who writes work down that nobody does: ours, and the usual Celery producer."""
    many = ours.Ours(
        "submit-many",
        "kfsession, submit_many",
        lane=request.Lane.BATCH,
        sessions=_scaled(BATCH, scale),
        warm_up=_scaled(600, scale),
    )
    delay = usual_celery.UsualCelery(
        "delay",
        "Celery, .delay()",
        sessions=_scaled(2000, scale),
        warm_up=_scaled(100, scale),
        pool="threads",
        slots=64,
    )
    return many, delay


def _scaled(count: int, scale: float) -> int:
    return max(_LEAST, round(count * scale))

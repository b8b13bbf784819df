"""Celery's two tasks, as thin as they can be.

`kfsession.deliver(ids)` is a doorbell, acknowledged before it runs: losing it harms nothing.
`kfsession.submit(request)` carries a whole request, acknowledged once the ledger has it.
"""

from __future__ import annotations

from typing import Any

import celery
import celery.exceptions
import structlog
from kombu.utils import json as kombu_json

from worker import accepting, errors, runtime
from worker.contract import broker
from worker.wechat import redaction

log = structlog.get_logger(__name__)


@celery.shared_task(name=broker.DELIVER)
def deliver(ids: list[str]) -> None:
    """Look at these requests and whatever else is queued; without a ledger they are rung again."""
    try:
        runtime.current().deliverer.deliver(ids)
    except errors.LedgerUnavailable as error:
        log.error("delivery_interrupted", ids=len(ids), error=str(error))


@celery.shared_task(name=broker.SUBMIT, bind=True, acks_late=True)
def submit(self: Any, fields: dict[str, Any]) -> None:
    """Write this request and look at it; while the ledger is away the message goes back.

    It goes back too while too few replicas have it, and this slot has worked on what is queued.
    """
    here, queue = runtime.current(), self.request.delivery_info["routing_key"]
    try:
        request_id = accepting.accept(
            fields,
            task_id=self.request.id,
            queue=queue,
            ledger=here.ledger,
            refuse=here.refusals.add,
        )
    except errors.LedgerUnavailable as error:
        log.error("submit_postponed", error=str(error))
        if isinstance(error, errors.TooFewReplicas):  # the ledger is there: others do not wait
            deliver(ids=[])
        raise celery.exceptions.Reject(error, requeue=True) from None
    except Exception as error:  # a bug of ours must not swallow somebody's request
        why = redaction.clean(f"a bug of ours: {error!r}")
        here.refusals.add(kombu_json.dumps(fields).encode(), queue, why)
        raise
    if request_id:
        deliver(ids=[request_id])

"""Takes the request of a plain Celery client off the broker and writes it to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.utils import json as kombu_json

from worker import retry
from worker.contract import request
from worker.ledger import ledger as ledgers
from worker.ledger import request_ids

#: How long to try while the ledger is away before the message goes back to its queue, in seconds.
LEDGER_SECONDS = 10.0


def accept(
    fields: dict[str, Any],
    *,
    task_id: str,
    queue: str,
    ledger: ledgers.Ledger,
    refuse: Callable[[bytes, str, str], None],
) -> str | None:
    """Write the request that `fields` describe; returns its id, or None when it was refused.

    Without a `key` the task id is the key, so that a message that comes twice is one request;
    without a `lane` the queue tells it. Raises LedgerUnavailable when nothing could be written.
    """
    lane = queue.rpartition(".")[2]
    try:
        given = {name: value for name, value in fields.items() if value is not None}
        wish = request.SessionRequest.parse({"key": task_id, "lane": lane, **given})
        write = retry.reaching_ledger(LEDGER_SECONDS)
        return write(ledger.submit, wish, request_ids.new_id()).id
    except request.InvalidRequest as error:
        # As it came: Celery has made dates and the like of what JSON has no word for.
        refuse(kombu_json.dumps(fields).encode(), queue, str(error))
        return None

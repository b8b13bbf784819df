"""Plays the worker for tests of the producers' side: claims a request and writes an outcome."""

from __future__ import annotations

import time

from worker.contract import record, settings
from worker.ledger import claims, connection, ledger


def settle_next(config: settings.Settings, status: str, until: float) -> None:
    """Claim the next escalation, as soon as there is one, and end it with `status`."""
    client = connection.connect(config.ledger_url, timeout_seconds=5, max_connections=4)
    with client:
        desk = ledger.Ledger(client, config)
        while (claim := desk.claim([], "tests").claim) is None:
            assert time.monotonic() < until, "nothing was submitted"
            time.sleep(0.02)
        ended = record.Status(status)
        settlement = claims.Settlement(
            status=ended,
            progress=claims.Progress(attempt_count=0, api_calls=1),
            reason=record.Reason.INVALID_OPENID if ended is record.Status.FAILED else None,
        )
        desk.settle(claim, settlement, "tests", take_next=False)

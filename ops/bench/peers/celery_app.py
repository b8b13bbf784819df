"""Takes one message a fan, as Celery is usually used: retried with back-off, its result kept.

The worker, `celery -A ops.bench.peers.celery_app worker`, finds its servers in `CELERY_BROKER_URL`
and `CELERY_RESULT_BACKEND`; without the latter it keeps no results.
"""

from __future__ import annotations

import celery
import requests

from ops.bench.peers import call

#: Longest back-off, in seconds; as long as ours.
BACKOFF_SECONDS = 60
TASK = "open_session"


def connected(broker_url: str | None = None, results_url: str | None = None) -> celery.Celery:
    """An app that knows the task; None leaves a server to the environment."""
    made = celery.Celery("usual", broker=broker_url, backend=results_url, set_as_current=False)
    made.task(
        call.open_session,
        name=TASK,
        autoretry_for=(call.Refused, requests.RequestException),
        max_retries=None,
        retry_backoff=True,
        retry_backoff_max=BACKOFF_SECONDS,
        retry_jitter=True,
    )
    return made


app = connected()

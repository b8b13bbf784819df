"""The usual Celery task, to measure ours against: a message a fan, retried with back-off.

Its broker is `CELERY_BROKER_URL`.
"""

from __future__ import annotations

import json
import urllib.request

import celery

#: Longest back-off, in seconds; as long as ours.
BACKOFF_SECONDS = 60
_TIMEOUT_SECONDS = 10


class Refused(Exception):
    """WeChat answered another code than 0."""


app = celery.Celery("naive", set_as_current=False)


@app.task(  # type: ignore[untyped-decorator] # Celery ships no types
    autoretry_for=(Refused, OSError),
    max_retries=None,
    retry_backoff=True,
    retry_backoff_max=BACKOFF_SECONDS,
    retry_jitter=True,
)
def create(url: str, kf_account: str, openid: str) -> None:
    """Open a session."""
    body = json.dumps({"kf_account": kf_account, "openid": openid}).encode()
    with urllib.request.urlopen(url, body, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
        said = json.load(answer)
    if said["errcode"]:
        raise Refused(said["errcode"])

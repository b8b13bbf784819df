"""Takes a fan and an agent, opens their session by one plain call, and hands on who serves.

It is the function that Celery, RQ and dramatiq run.
"""

from __future__ import annotations

import requests

#: Longest that WeChat may be silent, in seconds; as long as our whole call may take.
TIMEOUT_SECONDS = 10


class Refused(Exception):
    """WeChat answered another code than 0; a retry may help."""


def open_session(url: str, kf_account: str, openid: str) -> str:
    """Open a session; `url` holds the access token. Raises Refused or what `requests` raises."""
    wish = {"kf_account": kf_account, "openid": openid}
    answer = requests.post(url, json=wish, timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()
    if errcode := answer.json()["errcode"]:
        raise Refused(errcode)
    return kf_account

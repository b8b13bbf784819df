"""Takes an account and tells which agents are online, asking WeChat at most once an interval."""

from __future__ import annotations

import copy
import dataclasses
import threading
import time
from collections import defaultdict

from worker import asking, errors
from worker.wechat import agents


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What WeChat told, or that it did not, and until when that is good (monotonic, seconds)."""

    good_until: float
    online: tuple[agents.OnlineAgent, ...] = ()
    error: errors.WeChatError | None = None


class Presence:
    """The last reading of each account, good for `seconds`, whether it succeeded or failed.

    One slot reads at a time; the others wait for it, which its call's timeout bounds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._readings: dict[str, _Reading] = {}

    def online(self, account: asking.Account, token: str) -> tuple[agents.OnlineAgent, ...]:
        """Who is online; raises a class of WeChatError when WeChat does not tell."""
        with self._locks[account.appid]:
            reading = self._readings.get(account.appid)
            if reading is None or time.monotonic() >= reading.good_until:
                reading = self._readings[account.appid] = self._read(account, token)
        if reading.error is not None:
            raise copy.copy(reading.error)  # one that many threads raise would mix their traces
        return reading.online

    def _read(self, account: asking.Account, token: str) -> _Reading:
        try:
            online = agents.online(account.transport, token)
        except errors.TokenRejected:  # with the next token it may work at once
            raise
        except errors.WeChatError as error:
            return _Reading(good_until=time.monotonic() + self._seconds, error=error)
        return _Reading(good_until=time.monotonic() + self._seconds, online=online)

"""Takes an account and tells which agents are online, asking WeChat at most once an interval."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

from worker import asking
from worker.wechat import agents


class Presence:
    """The last reading of each account, good for `seconds`; one read at a time an account."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._readings: dict[str, tuple[float, tuple[agents.OnlineAgent, ...]]] = {}

    def online(self, account: asking.Account, token: str) -> tuple[agents.OnlineAgent, ...]:
        """Who is online; raises a class of WeChatError when WeChat does not tell."""
        with self._locks[account.appid]:
            read_at, online = self._readings.get(account.appid, (float("-inf"), ()))
            now = time.monotonic()
            if now - read_at >= self._seconds:
                online = agents.online(account.transport, token)
                self._readings[account.appid] = (now, online)
            return online

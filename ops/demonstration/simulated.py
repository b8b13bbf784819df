"""Takes questions and orders for a running simulator and puts them to its control calls."""

from __future__ import annotations

import dataclasses
import http.client
import json
import urllib.parse
from typing import Any

_TIMEOUT_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent as WeChat sees it now."""

    kf_account: str
    online: bool
    serving: int
    #: The most it ever served at the same time.
    max_serving: int = 0


class Simulated:
    """The simulated WeChat at a URL; every method raises OSError when it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urllib.parse.urlsplit(url).netloc

    def agents(self) -> list[Agent]:
        """Every agent that is known so far."""
        return [
            Agent(
                kf_account=each["kf_account"],
                online=each["online"],
                serving=each["serving"],
                max_serving=each["max_serving"],
            )
            for each in self._ask("GET", "summary")["agents"]
        ]

    def queue(self) -> int:
        """How many fans wait in WeChat's own queue."""
        nobody_more: list[str] = []
        return int(self._ask("POST", "waiting", {"openids": nobody_more})["count"])

    def book(self) -> dict[str, Any]:
        """All that happened: `calls`, and every session ever opened as `sessions`."""
        return self._ask("GET", "book")

    def switch(self, kf_account: str, *, online: bool) -> None:
        """Send an agent online or offline."""
        self._ask("POST", "agents", {"kf_account": kf_account, "online": online})

    def close(self, openid: str) -> None:
        """End a fan's session, as the agent would."""
        self._ask("POST", "close", {"openid": openid})

    def _ask(self, method: str, name: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, f"/_simulator/{name}", json.dumps(body) if body else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise OSError(f"the simulator refused {name}: {answer['error']}")
        return answer

"""Starts `ops.bench.server` in a process of its own, steers it, and hands on what it was asked."""

from __future__ import annotations

import dataclasses
import http.client
import json
import re
import sys
from typing import Any

from ops.chaos import children, stack, trial

CREATE_PATH = "/customservice/kfsession/create"
#: Whatever comes as a token is good.
_TOKEN = "token-of-the-benchmark"  # noqa: S105 - opens nothing


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Create calls since it last forgot, and to how many fans they were."""

    creates: int
    fans: int
    #: Fans whom two agents got.
    doubled: int
    #: How often it was asked who serves a fan.
    reads: int = 0


class Server:
    """A WeChat that costs next to nothing."""

    def __init__(self, some: children.Children, *, latency_ms: float) -> None:
        command = [sys.executable, "-m", "ops.bench.server", "--latency-ms", str(latency_ms)]
        self._child = some.start("server", command, children.environment())
        what = "the benchmark's server listens"
        self.url = trial.poll(self._listening, seconds=stack.START_SECONDS, what=what)
        # Kept open: whoever looks twenty times a second must not be seen in the figures.
        self._line = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    @property
    def create_url(self) -> str:
        """Where a plain script posts its wish for a session."""
        return f"{self.url}{CREATE_PATH}?access_token={_TOKEN}"

    def forget(self) -> None:
        """Count anew."""
        self._ask("POST", "set", {"forget": True})

    def hang(self) -> None:
        """Take calls and answer none of them."""
        self._ask("POST", "set", {"latency_ms": -1})

    def answer_after(self, latency_ms: float) -> None:
        """Answer each call after so long, and those that hang at once."""
        self._ask("POST", "set", {"latency_ms": latency_ms})

    def counts(self) -> Counts:
        """What was called so far."""
        said = self._ask("GET", "counts")
        return Counts(**{each.name: said[each.name] for each in dataclasses.fields(Counts)})

    def arrivals(self) -> dict[str, float]:
        """When the first call for each fan came, by this machine's clock (Unix time)."""
        return self._ask("GET", "arrivals")

    def close(self) -> None:
        """Hang up; its process is ended by whoever watches over it."""
        self._line.close()

    def _ask(self, method: str, name: str, body: object = None) -> dict[str, Any]:
        self._line.request(method, f"/_bench/{name}", json.dumps(body) if body else None)
        said: dict[str, Any] = json.load(self._line.getresponse())
        return said

    def _listening(self) -> str:
        found = re.search(r"listening on (http://\S+)", self._child.output())
        return found[1] if found else ""

"""A transport that answers from memory, for tests of what stands on top of one."""

from typing import Any

from worker import errors
from worker.wechat import reply


class FakeTransport:
    """Notes each call and plays the bodies given, in turn; reads them as the real one does."""

    timeout_seconds = 10.0

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)
        self.calls: list[dict[str, Any]] = []

    def post(self, path: str, **call: Any) -> dict[str, Any]:
        return self._answer("POST", path, {"expects": ("errcode",), **call})

    def get(self, path: str, **call: Any) -> dict[str, Any]:
        return self._answer("GET", path, call)

    def _answer(self, method: str, path: str, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append({"method": method, "path": path, **call})
        if not self.bodies:
            raise errors.LostReply("the fake has no more replies")
        return reply.parse(200, self.bodies.pop(0).encode(), expects=call["expects"], token=None)

"""Receives a scenario and hands on a running simulator: until a signal, or in a thread."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from ops.simulator import api, control, scenario, server

_STOP_SECONDS = 10
_T = TypeVar("_T")


def run(
    chosen: scenario.Scenario,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` gets the port once the simulator listens.

    Belongs on the main thread (signals). Raises OSError when the port is taken.
    """
    asyncio.run(_until_signal(chosen, host, port, ready))


async def _until_signal(
    chosen: scenario.Scenario, host: str, port: int, ready: Callable[[int], None] | None
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    serving = server.Server(api.Api(chosen, time.time))
    await serving.open(host, port)
    try:
        if ready is not None:
            ready(serving.port)
        await ended.wait()
    finally:
        await serving.close()


class SimulatorThread:
    """A simulator in this process, for tests: `with SimulatorThread() as wechat: … wechat.url`."""

    def __init__(
        self,
        chosen: scenario.Scenario | None = None,
        *,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api.Api(chosen or scenario.Scenario(), clock)
        self._server = server.Server(self._api)
        self._wanted_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator")
        self._thread.daemon = True

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.port}"

    def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._thread.start()
        opening = self._server.open("127.0.0.1", self._wanted_port)
        try:
            asyncio.run_coroutine_threadsafe(opening, self._loop).result(_STOP_SECONDS)
        except BaseException:
            self._end_loop()
            raise

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        closing = asyncio.run_coroutine_threadsafe(self._server.close(), self._loop)
        try:
            closing.result(_STOP_SECONDS)
        finally:
            self._end_loop()

    def book(self, path: str = "", openid: str = "") -> dict[str, Any]:
        """GET /_simulator/book, without a socket."""
        return self._on_loop(lambda: self._api.book.tell(self._api.worlds.values(), path, openid))

    def summary(self) -> dict[str, Any]:
        """GET /_simulator/summary, without a socket."""
        return self._on_loop(lambda: self._api.book.summary(self._api.worlds.values()))

    def tell(self, name: str, **fields: object) -> dict[str, Any]:
        """POST /_simulator/NAME, without a socket: `tell("agents", kf_account=…, online=False)`.

        Raises ValueError with the simulator's complaint.
        """
        body = json.dumps(fields).encode()
        request = api.Request("POST", f"{control.PREFIX}/{name}", body)
        reply = self._on_loop(lambda: control.answer(self._api, request))
        said: dict[str, Any] = json.loads(reply.body)
        if reply.status != 200:
            raise ValueError(said["error"])
        return said

    def __enter__(self) -> SimulatorThread:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _on_loop(self, ask: Callable[[], _T]) -> _T:
        async def asking() -> _T:
            return ask()

        return asyncio.run_coroutine_threadsafe(asking(), self._loop).result(_STOP_SECONDS)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop.close()

"""Forwards what goes between two processes, reads along, and spoils it where a rule says so.

A step of a worker can be had from outside that way, right before the other side takes it and right
after: production code has no hooks. Both sides speak by turns, Redis as well as HTTP/1.1, so what
comes in before an answer is what the answer is to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType

import hiredis

from worker.ledger import scripts

_HOST = "127.0.0.1"
_READ_BYTES = 1 << 16
_END_SECONDS = 10.0

#: Reads along on one connection: bytes of the client, and the steps that begin in them.
Hear = Callable[[bytes], Sequence[str]]


class Moment(enum.StrEnum):
    """When a rule is asked: the other side has not heard of the step yet, or has answered it."""

    BEFORE = "before"
    AFTER = "after"


@dataclasses.dataclass(frozen=True, slots=True)
class Passing:
    """What goes over a wire: `steps` are scripts and commands of Redis, or methods and paths.

    `data` is what the client sends, or what it is answered.
    """

    moment: Moment
    steps: tuple[str, ...]
    data: bytes = dataclasses.field(repr=False)


#: Cuts the connection, without a reply.
CUT = b""
#: None lets it pass; bytes are the client's answer, and the other side's is kept from it.
Rule = Callable[[Passing], bytes | None]


def let_pass(_: Passing) -> None:
    """The rule of a whole wire."""


class Wire:
    """One address in front of another; runs on the loop of `Wires`."""

    def __init__(
        self,
        target: tuple[str, int],
        hear: Callable[[], Hear],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rule: Rule = let_pass
        self.port = 0
        self._target = target
        self._hear = hear
        self._tls = tls
        self._talks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port."""
        self._listening = await asyncio.start_server(
            self._talk, _HOST, 0, backlog=1024, ssl=self._tls
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and cut every connection."""
        if self._listening is not None:
            self._listening.close()
        await self.cut()

    async def cut(self) -> None:
        """Cut every connection; new ones are welcome."""
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs each connection in a task
        self._talks.add(task)
        try:
            server, asks = await asyncio.open_connection(*self._target)
            try:
                await self._pass_on(client, answers, server, asks)
            finally:
                asks.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # either side has left, or we end
        finally:
            self._talks.discard(task)
            answers.transport.abort()

    async def _pass_on(
        self,
        client: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        asks: asyncio.StreamWriter,
    ) -> None:
        """Both directions, until one side leaves or the rule cuts."""
        hear = self._hear()
        asked: list[tuple[str, ...]] = [()]

        async def forth() -> None:
            while data := await client.read(_READ_BYTES):
                steps = tuple(hear(data))
                asked[0] = steps or asked[0]  # or it is more of what began before
                answer = self.rule(Passing(Moment.BEFORE, steps, data)) if steps else None
                if answer is None:
                    asks.write(data)
                    await asks.drain()
                elif answer is CUT:
                    return
                else:
                    answers.write(answer * len(steps))

        async def back() -> None:
            while data := await server.read(_READ_BYTES):
                steps, asked[0] = asked[0], ()
                answer = self.rule(Passing(Moment.AFTER, steps, data)) if steps else None
                if answer is CUT:
                    return
                answers.write(data if answer is None else answer)
                await answers.drain()

        ways = [asyncio.create_task(forth()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


class Wires:
    """All wires of a trial, in one thread: `with Wires() as wires: wires.to_redis(port)`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        #: Those to Redis, and all that are open.
        self.of_redis: list[Wire] = []
        self._open: list[Wire] = []

    def to_redis(self, port: int) -> Wire:
        """A wire whose steps are the ledger's scripts, by name, and commands in upper case."""
        self.of_redis.append(self._string((_HOST, port), _hear_redis))
        return self.of_redis[-1]

    def to_wechat(self, port: int, tls: ssl.SSLContext | None = None) -> Wire:
        """A wire whose steps are calls: "POST /customservice/kfsession/create"."""
        return self._string((_HOST, port), lambda: _hear_http, tls)

    def cut(self) -> None:
        """Cut every connection of every wire."""
        for each in self._open:
            self._await(each.cut())

    def __enter__(self) -> Wires:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for each in self._open:
            self._await(each.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_SECONDS)
        self._loop.close()

    def _string(
        self,
        target: tuple[str, int],
        hear: Callable[[], Hear],
        tls: ssl.SSLContext | None = None,
    ) -> Wire:
        wire = Wire(target, hear, tls)
        self._await(wire.open())
        self._open.append(wire)
        return wire

    def _await(self, doing: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(_END_SECONDS)


def _hear_redis() -> Hear:
    commands = hiredis.Reader()
    names = _script_names()

    def hear(data: bytes) -> list[str]:
        commands.feed(data)
        steps = []
        while command := commands.gets():
            what = command[0].upper().decode()
            steps.append(names.get(command[1].decode(), what) if what == "EVALSHA" else what)
        return steps

    return hear


@functools.cache
def _script_names() -> dict[str, str]:
    return scripts.names_by_sha()


def _hear_http(data: bytes) -> list[str]:
    method, _, rest = data.partition(b" ")
    if method not in (b"GET", b"POST"):
        return []  # more of a body
    path = rest.partition(b" ")[0].partition(b"?")[0]
    return [f"{method.decode()} {path.decode()}"]

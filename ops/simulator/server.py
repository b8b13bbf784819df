"""Receives connections and hands each request to `api` or `control`, then sends the reply.

h11 parses the heads that come in; `sending` writes replies as plain bytes, so that one can drip,
hang or be cut at will. A body needs a Content-Length: a chunked one is answered 411.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field

import h11

from ops.simulator import api, control, replies, sending

_READ_BYTES = 65536
_HEAD_BYTES = 65536
_BACKLOG = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What the head of a request says."""

    method: str
    target: str = field(repr=False)
    length: int
    is_last: bool
    wants_continue: bool


class Server:
    """A listening simulator; `port` is known once it is open."""

    def __init__(self, answers: api.Api) -> None:
        self.api = answers
        self.port = 0
        self._listening: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> None:
        """Listen; port 0 is any free one."""
        self._listening = await asyncio.start_server(
            self._talk, host, port, backlog=_BACKLOG, limit=_HEAD_BYTES
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._listening is not None:
            self._listening.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs each connection in a task
        self._talks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        except asyncio.IncompleteReadError:
            pass  # the client has left
        except h11.RemoteProtocolError as error:
            writer.write(sending.refusal(error.error_status_hint))
        except asyncio.LimitOverrunError:
            writer.write(sending.refusal(431))
        finally:
            self._talks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request after the other, until somebody has had enough."""
        talk = sending.Talk(reader, writer, self.api.chosen.drip_seconds)
        while True:
            raw = await reader.readuntil(b"\r\n\r\n")
            head = _read_head(raw)
            if head.wants_continue:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(head.length) if head.length else b""
            reply = await self._answer(api.Request(head.method, head.target, body))
            if not await sending.send(reply, talk, is_last=head.is_last):
                return

    async def _answer(self, request: api.Request) -> replies.Reply:
        """The reply, in its time; the deed is done before the wait unless the scenario says so."""
        if control.is_control(request.target):
            return control.answer(self.api, request)
        if self.api.chosen.acts_late:
            await asyncio.sleep(self.api.latency_seconds())
            return self.api.answer(request)
        reply = self.api.answer(request)
        if delay := self.api.latency_seconds():
            await asyncio.sleep(delay)
        return reply


@functools.lru_cache(maxsize=1024)
def _read_head(raw: bytes) -> _Head:
    """One head, parsed; a client sends few different ones, so h11's work is mostly remembered."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
    connection.receive_data(raw)
    event = connection.next_event()
    if not isinstance(event, h11.Request):
        raise h11.RemoteProtocolError("no request")
    fields = {name: value.lower() for name, value in event.headers}
    if b"transfer-encoding" in fields:
        raise h11.RemoteProtocolError("send a Content-Length", error_status_hint=411)
    persists = event.http_version >= b"1.1" or b"keep-alive" in fields.get(b"connection", b"")
    return _Head(
        method=event.method.decode(),
        target=event.target.decode(),
        length=int(fields.get(b"content-length", b"0")),
        is_last=not persists or b"close" in fields.get(b"connection", b""),
        wants_continue=connection.they_are_waiting_for_100_continue,
    )

"""Receives a reply and puts it on the socket, in its manner; tells whether the talk goes on."""

from __future__ import annotations

import asyncio
import functools
import http
import socket
import struct
from dataclasses import dataclass

from ops.simulator import replies

_READ_BYTES = 65536
#: So many bytes a short reply promises above what it has.
_MISSING_BYTES = 16
#: SO_LINGER on, zero seconds: closing sends a reset.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Talk:
    """A connection with a request to answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    drip_seconds: float

    def reset(self) -> None:
        """Break the connection off."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    async def write(self, data: bytes) -> None:
        """Send it all at once."""
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes) -> None:
        """Send a byte at a time; raises ConnectionResetError once the client has left."""
        for at in range(len(data)):
            await asyncio.sleep(self.drip_seconds)
            if self.writer.transport.is_closing():
                raise ConnectionResetError
            await self.write(data[at : at + 1])


async def send(reply: replies.Reply, talk: Talk, *, is_last: bool) -> bool:
    """Send one reply, the last one if so wished; whether the connection takes another request."""
    head, body = _head(reply, len(reply.body), is_last), reply.body
    match reply.manner:
        case replies.Manner.WHOLE:
            talk.writer.write(head + body)
            await talk.writer.drain()
        case replies.Manner.DRIP:
            await talk.write(head)
            await talk.drip(body)
        case replies.Manner.DRIP_HEAD:
            await talk.drip(head)
            await talk.write(body)
        case _:
            await _break_off(reply, head, talk, is_last)
            return False
    return not is_last


async def _break_off(reply: replies.Reply, head: bytes, talk: Talk, is_last: bool) -> None:
    """Send what this manner sends of the reply, and end the connection as it does."""
    match reply.manner:
        case replies.Manner.CUT:
            talk.reset()
        case replies.Manner.CUT_DURING:
            await talk.write(head + reply.body[: len(reply.body) // 2])
            talk.reset()
        case replies.Manner.CUT_IDLE:
            # Not sooner: a client that looks at an idle connection would see it and not send.
            await talk.write(head + reply.body)
            if not is_last and await talk.reader.read(1):
                talk.reset()
        case replies.Manner.SHORT:
            promised = _head(reply, len(reply.body) + _MISSING_BYTES, is_last)
            await talk.write(promised + reply.body)
        case replies.Manner.HANG:
            while await talk.reader.read(_READ_BYTES):
                pass


def refusal(status: int) -> bytes:
    """The reply to what is no request we can read."""
    return _head(replies.Reply(status=status, content_type="text/plain"), 0, is_last=True)


def _head(reply: replies.Reply, length: int, is_last: bool) -> bytes:
    return _head_of(reply.status, reply.content_type, length, reply.headers, is_last)


@functools.lru_cache(maxsize=1024)
def _head_of(status: int, content_type: str, length: int, more: str, is_last: bool) -> bytes:
    """A head; most replies have one of a few."""
    close = "Connection: close\r\n" if is_last else "Connection: keep-alive\r\n"
    phrase = http.HTTPStatus(status).phrase
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\n{more}{close}\r\n"
    ).encode()

"""Answers create calls after a set latency, as cheaply as Python can: `python -m ops.bench.server`.

A benchmark must not measure its own server, so this one knows nothing of agents, tokens and limits:
create and getsession are answered with success once `latency` is over, token calls at once. It
counts the calls, and keeps which fan was given to whom and when the first call for each came. It
runs on uvloop, which takes a quarter off the cost of an answer.

Beside WeChat's paths it has its own: GET `/_bench/counts`, GET `/_bench/arrivals` (first call for
each fan, in seconds of the Unix clock), POST `/_bench/set` with `{"latency_ms": …}` (a negative one
hangs every call until it is set again) and `{"forget": true}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import typing
import urllib.parse
from typing import Any

import uvloop

_GRANT = b'{"access_token": "token-of-the-benchmark", "expires_in": 7200}'
_OK = b'{"errcode": 0, "errmsg": "ok"}'


def _http(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


_CREATED = _http(_OK)


class Book:
    """What was called so far, and how long an answer takes (None: for ever)."""

    def __init__(self, latency_seconds: float) -> None:
        self.latency_seconds: float | None = latency_seconds
        self.hanging: list[tuple[asyncio.Transport, bytes]] = []
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.creates = 0
        self.reads = 0
        self.given: dict[str, str] = {}
        self.doubled = 0
        self.arrivals: dict[str, float] = {}

    def create(self, openid: str, kf_account: str) -> None:
        """Count a call; a fan whom somebody else has too is one session too many."""
        self.creates += 1
        if openid not in self.given:
            self.given[openid] = kf_account
            self.arrivals[openid] = time.time()
        elif self.given[openid] != kf_account:
            self.doubled += 1

    def counts(self) -> dict[str, Any]:
        """What `/_bench/counts` tells."""
        return {
            "creates": self.creates,
            "reads": self.reads,
            "fans": len(self.given),
            "doubled": self.doubled,
        }


class Connection(asyncio.Protocol):
    """One keep-alive connection, a call at a time."""

    def __init__(self, book: Book, loop: asyncio.AbstractEventLoop) -> None:
        self._book = book
        self._loop = loop
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # It is a TCP connection; uvloop's is no subclass.
        self._transport = typing.cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = _content_length(head)
        if len(rest) < length:
            return
        self._buffer = b""
        if head.startswith(b"POST /customservice/kfsession/create"):
            wish = json.loads(rest)
            self._book.create(wish["openid"], wish["kf_account"])
            self._answer(_CREATED)
        else:
            self._answer_other(head, rest)

    def _answer_other(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.decode().split(" ", 2)
        url = urllib.parse.urlsplit(target)
        if url.path == "/_bench/counts":
            self._write(self._book.counts())
        elif url.path == "/_bench/arrivals":
            self._write(self._book.arrivals)
        elif url.path == "/_bench/set":
            self._set(json.loads(body))
            self._write({})
        elif url.path.endswith("token"):
            self._transport.write(_http(_GRANT))
        elif url.path.endswith("/getsession"):
            self._book.reads += 1
            (openid,) = urllib.parse.parse_qs(url.query)["openid"]
            answer = {"errcode": 0, "kf_account": self._book.given.get(openid, "")}
            self._answer(_http(json.dumps(answer).encode()))
        else:
            self._transport.close()
            raise ValueError(f"the benchmark's server knows no {method} {url.path}")

    def _answer(self, reply: bytes) -> None:
        seconds = self._book.latency_seconds
        if seconds is None:
            self._book.hanging.append((self._transport, reply))
        else:
            self._loop.call_later(seconds, self._transport.write, reply)

    def _set(self, wish: dict[str, Any]) -> None:
        book = self._book
        if wish.get("forget"):
            book.forget()
        if "latency_ms" in wish:
            book.latency_seconds = wish["latency_ms"] / 1000 if wish["latency_ms"] >= 0 else None
        if book.latency_seconds is not None:
            for transport, reply in book.hanging:
                if not transport.is_closing():  # else its caller has given up
                    transport.write(reply)
            book.hanging.clear()

    def _write(self, answer: Any) -> None:
        self._transport.write(_http(json.dumps(answer).encode()))


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"content-length:")
    if start < 0:
        return 0
    end = lower.find(b"\r\n", start)
    return int(lower[start + 15 : end if end > 0 else None])


async def _serve(port: int, latency_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    book = Book(latency_seconds)
    server = await loop.create_server(
        lambda: Connection(book, loop), "127.0.0.1", port, backlog=1024
    )
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.server")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency-ms", type=float, default=50.0)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.latency_ms / 1000))


if __name__ == "__main__":
    main()

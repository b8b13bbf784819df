"""A urllib3 connection that takes a call with a deadline, and gives each of its steps what is left.

requests' own timeouts restart with every byte, so that a server which drips one byte a second holds
a slot for ever. Here name lookup, connecting, TLS, sending and every single wait share one
deadline, without a thread to watch them: an open socket never blocks, and whoever has to wait for
it polls for no longer than the call may still take. Only the name lookup is beyond reach: it ends
when the resolver does, and the call fails after it. What has come by then is read all the same.

Calls are what a worker's CPU is spent on, so that one is made of few steps: a look at the idle
connection, one send, one wait, one receive, and one regular expression over a plain reply.
http.client and urllib3 read every other kind.
"""

import contextlib
import errno
import http.client
import io
import re
import select
import socket
import ssl
import time
from typing import Any

import urllib3
import urllib3.connection
import urllib3.util.connection

#: An idle connection older than this is not trusted: a server or a gateway may be dropping it.
IDLE_SECONDS = 20.0
#: For how long a reply that has come is read after the deadline.
LATE_SECONDS = 1.0
#: Most bytes of one reply that are taken off the wire, headers and all. http.client has no bound of
#: its own for some malformed replies: after a chunk size of -1 it reads to the end of the stream.
WIRE_LIMIT = 768 * 1024
#: Most bytes received at a time. A TLS record has no more, so that none stays where poll sees none.
CHUNK_BYTES = 16 * 1024

#: Header lines without a say in how long the body is, how it is packed, and what comes after it.
_OTHER_HEADERS = (
    rb"(?:(?!(?i:content-length|content-encoding|transfer-encoding|connection(?!: *keep-alive\r)))"
    rb"[!-9;-~]+:[^\r\n]*\r\n)*"
)
#: The head of a plain reply: one header tells the length of the body, which is not packed.
PLAIN_HEAD = re.compile(
    rb"HTTP/1\.1 (?!204|304)(?P<status>[2-9]\d\d)(?: [^\r\n]*)?\r\n"
    + _OTHER_HEADERS
    + rb"(?i:content-length): *(?P<length>\d{1,7}) *\r\n"
    + _OTHER_HEADERS
    + rb"\r\n"
)


class Call:
    """One call on its way: when it must be over, and whether WeChat may have seen it."""

    __slots__ = ("deadline", "has_left", "late_at", "started_at")

    def __init__(self, timeout_seconds: float) -> None:
        self.started_at = time.monotonic()
        self.deadline = self.started_at + timeout_seconds
        self.has_left = False
        #: When the deadline was first seen to be over.
        self.late_at: float | None = None

    def check_late(self) -> None:
        """Raise TimeoutError once a reply was read for longer than it may be after the deadline.

        What came while this process was stopped is taken, however late; what keeps coming is not.
        """
        now = time.monotonic()
        if now < self.deadline:
            return
        if self.late_at is None:
            self.late_at = now
        elif now > self.late_at + LATE_SECONDS:
            raise TimeoutError("no time left")

    def remaining_seconds(self) -> float:
        """What is left of the deadline; raises TimeoutError when nothing is."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no time left")
        return remaining

    def elapsed_ms(self) -> int:
        """What the call has taken so far."""
        return round((time.monotonic() - self.started_at) * 1000)


class Connection(urllib3.connection.HTTPConnection):
    """A connection that knows its call: it keeps the deadline and marks what has left."""

    call: Call
    _used_at = 0.0

    def exchange(self, request: bytes, *, limit: int) -> tuple[int, bytes]:
        """Send the request; the reply's status and at most `limit` bytes of its unpacked body.

        The connection is closed afterwards if the reply does not leave it fit for another call. It
        is up to the caller to close it after an error, which can be anything.
        """
        self.call.remaining_seconds()
        self.call.has_left = True
        self._used_at = time.monotonic()
        self.send(request)
        self._wait(select.POLLIN)  # no reply is here yet: to try first would be a system call more
        received = self.receive(CHUNK_BYTES)
        head = PLAIN_HEAD.match(received)
        if head is None or (length := int(head["length"])) > limit:
            return self._read_odd_reply(received, limit)
        return int(head["status"]), self._read_plain_body(received[head.end() :], length)

    def _read_plain_body(self, received: bytes, length: int) -> bytes:
        if len(received) == length:
            return received
        body = bytearray(received)
        while len(body) < length:
            more = self.receive(CHUNK_BYTES)
            if not more:
                raise http.client.IncompleteRead(bytes(body), length - len(body))
            body += more
        if len(body) > length:  # nobody knows what that is
            self.close()
        return bytes(body[:length])

    def _read_odd_reply(self, received: bytes, limit: int) -> tuple[int, bytes]:
        """Read a reply that is chunked, packed, broken into pieces or out of order."""
        reply = http.client.HTTPResponse(_Reader(self, received))  # type: ignore[arg-type] # as good
        reply.begin()
        headers = urllib3.HTTPHeaderDict(reply.headers.items())
        unpacked = urllib3.HTTPResponse(reply, headers, reply.status, preload_content=False)
        body = unpacked.read(limit, decode_content=True)
        if reply.will_close or not reply.isclosed():
            self.close()
        return reply.status, body

    def send(self, data: Any) -> None:
        """Send it all, as fast as the network takes it."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.sock.send(left) :]
                continue
            except (BlockingIOError, ssl.SSLWantWriteError):
                event = select.POLLOUT
            except ssl.SSLWantReadError:
                event = select.POLLIN
            self.call.remaining_seconds()
            self._wait(event)

    def receive(self, size: int) -> bytes:
        """Whatever has come of the reply, as soon as anything has; nothing at its end.

        What is here already is taken even after the deadline: this process may have been stopped
        meanwhile, and a reply is worth more than the doubt whether there was one.
        """
        while True:
            self.call.check_late()
            try:
                return self.sock.recv(size) or b""  # where TLS goes through TLS, its end is a 0
            except (BlockingIOError, ssl.SSLWantReadError):
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            self._wait(event)

    def _wait(self, event: int) -> None:
        seconds = max(0.0, self.call.deadline - time.monotonic())
        if not _poll(self.sock, event, seconds):
            raise TimeoutError("no time left")

    @property
    def is_connected(self) -> bool:
        """Whether to use this connection again: used a moment ago, open, and nothing to read."""
        return (
            self.sock is not None
            and time.monotonic() - self._used_at < IDLE_SECONDS
            and not _poll(self.sock, select.POLLIN, 0)
        )

    def connect(self) -> None:
        """Open the connection, TLS and a proxy's tunnel included."""
        super().connect()
        self.sock.settimeout(0)

    def _new_conn(self) -> socket.socket:
        """Try the host's addresses in turn; each gets an equal share of the time left."""
        family = urllib3.util.connection.allowed_gai_family()
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, family, socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        for left in range(len(found), 1, -1):
            with contextlib.suppress(OSError):
                return self._dial(found[-left], share=left)
        return self._dial(found[-1], share=1)

    def _dial(self, found: Any, *, share: int) -> socket.socket:
        """Connect to one address that getaddrinfo found, within a share of the time left.

        The socket is left with the whole of that time, for the handshake of TLS, which keeps it.
        """
        family, kind, protocol, _, address = found
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.call.remaining_seconds() / share)
            sock.connect(address)
            sock.settimeout(self.call.remaining_seconds())
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self) -> None:
        """Ask a proxy for the way to WeChat, and prepare for the handshake of TLS."""
        self.sock.settimeout(0)
        super()._tunnel()
        self.sock.settimeout(self.call.remaining_seconds())

    def response_class(self, _sock: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """What http.client reads a proxy's reply with."""
        return http.client.HTTPResponse(_Reader(self, b""), **kwargs)  # type: ignore[arg-type]


class TLSConnection(Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Reader(io.RawIOBase):
    """What http.client takes for a socket: a reply, `received` in part, up to WIRE_LIMIT."""

    def __init__(self, connection: Connection, received: bytes) -> None:
        self._connection, self._received = connection, received
        self._left = WIRE_LIMIT

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise OSError(errno.EMSGSIZE, "the reply is too large")
        data = self._received[: len(buffer)] or self._connection.receive(len(buffer))
        self._received = self._received[len(buffer) :]
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def _poll(sock: socket.socket, event: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(sock, event)
    return bool(poller.poll(seconds * 1000))

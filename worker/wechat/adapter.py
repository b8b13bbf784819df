"""A requests adapter that takes a call with a deadline, and gives each of its steps what is left.

requests' own timeouts restart with every byte, so that a server which drips one byte a second holds
a slot for ever. Here name lookup, connecting, TLS, sending and every single receive share one
deadline, without a thread to watch them: before each step the socket's timeout is set to the rest.
Only the name lookup is beyond reach: it ends when the resolver does, and the call fails after it.
"""

import contextlib
import contextvars
import errno
import http.client
import io
import os
import socket
import ssl
import time
from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.poolmanager
import urllib3.util.connection

#: Connections kept open; more calls than this at a time still work.
POOL_CONNECTIONS = 256
#: An idle connection older than this is not trusted: a server or a gateway may be dropping it.
IDLE_SECONDS = 20.0
#: Most bytes of one reply that are taken off the wire, headers and all. http.client has no bound of
#: its own for some malformed replies: after a chunk size of -1 it reads to the end of the stream.
WIRE_LIMIT = 768 * 1024


class Call:
    """One call on its way: when it must be over, and whether WeChat may have seen it."""

    __slots__ = ("deadline", "has_left", "started_at")

    def __init__(self, timeout_seconds: float) -> None:
        self.started_at = time.monotonic()
        self.deadline = self.started_at + timeout_seconds
        self.has_left = False

    def remaining_seconds(self) -> float:
        """What is left of the deadline; raises TimeoutError when nothing is."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no time left")
        return remaining

    def elapsed_ms(self) -> int:
        """What the call has taken so far."""
        return round((time.monotonic() - self.started_at) * 1000)


#: The call this thread is making. urllib3 has no way to hand it to a pooled connection.
_CALL: contextvars.ContextVar[Call] = contextvars.ContextVar("call")


class _PatientReader(io.RawIOBase):
    """Reads a socket, each time for no longer than the call may still take, up to WIRE_LIMIT."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock, self._call = raw, sock, _CALL.get()
        self._left = WIRE_LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise OSError(errno.EMSGSIZE, "the reply is too large")
        self._sock.settimeout(self._call.remaining_seconds())
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response, a proxy's reply to CONNECT too, read through a _PatientReader."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_PatientReader(self.fp.detach(), sock))


def _dial(found: Any, call: Call, *, share: int) -> socket.socket:
    """Connect to one address that getaddrinfo found, within a share of the time left."""
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(call.remaining_seconds() / share)
        sock.connect(address)
        sock.settimeout(call.remaining_seconds())
    except BaseException:
        sock.close()
        raise
    return sock


class _Connection(urllib3.connection.HTTPConnection):
    """A connection that knows its call: it keeps the deadline and marks what has left."""

    response_class = _Response
    _used_at = 0.0

    def _new_conn(self) -> socket.socket:
        """Try the host's addresses in turn; each gets an equal share of the time left."""
        call = _CALL.get()
        family = urllib3.util.connection.allowed_gai_family()
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, family, socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        for left in range(len(found), 1, -1):
            with contextlib.suppress(OSError):
                return _dial(found[-left], call, share=left)
        return _dial(found[-1], call, share=1)

    @property
    def is_connected(self) -> bool:
        """Whether to use this connection again: it is open, and was used a moment ago."""
        return time.monotonic() - self._used_at < IDLE_SECONDS and super().is_connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        call = _CALL.get()
        call.remaining_seconds()
        call.has_left = True
        self._used_at = time.monotonic()
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_CALL.get().remaining_seconds())
        super().send(data)


class _TLSConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Sends prepared requests; thread-safe; verifies TLS always and retries never.

    One TLS context serves all connections: to load the certificates costs tens of ms of CPU, which
    requests would spend on every new connection.
    """

    def __init__(self, *, ca_file: str | os.PathLike[str]) -> None:
        self._tls = ssl.create_default_context(cafile=ca_file)
        super().__init__(pool_maxsize=POOL_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.poolmanager.ProxyManager:
        if proxy.lower().startswith("socks"):  # its connections would not mark what has left
            raise OSError(errno.EPROTONOSUPPORT, "SOCKS proxies are not supported: use an HTTP one")
        manager: urllib3.poolmanager.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._tls, **kwargs
        )
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the TLS context demands and checks the certificate."""

    def close(self) -> None:
        """Close the idle connections now; urllib3 leaves that to the garbage collector."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - the container cannot be iterated
                manager.pools[key].close()
        super().close()

    def exchange(
        self, request: requests.PreparedRequest, call: Call, *, proxies: Any, limit: int
    ) -> tuple[int, bytes]:
        """Send the request, follow nothing; the status and at most `limit` bytes of the body.

        The limit counts after decompression. What was not read is dropped with its connection.
        Raises whatever requests, urllib3, http.client and the sockets raise, which is anything.
        """
        token = _CALL.set(call)
        try:
            response = self.send(
                request, stream=True, timeout=call.remaining_seconds(), proxies=proxies
            )
            try:
                body = response.raw.read(limit, decode_content=True)
            finally:
                # A response that was read to its end has given its connection back by now.
                response.raw.close()
                response.raw.release_conn()
            return response.status_code, body
        finally:
            _CALL.reset(token)

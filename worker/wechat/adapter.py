"""A requests adapter that finds the way to a host once, and makes each call over a kept connection.

requests chooses the proxy, checks the address and words the head of the request, once a path;
urllib3 keeps the connections. What both do besides, to serve every caller's every wish, would be
most of a call's CPU: a call goes past it, from the pool to the connection.
"""

import dataclasses
import errno
import os
import ssl
from collections.abc import Mapping
from typing import Any, cast

import requests
import requests.adapters
import urllib3.connectionpool
import urllib3.poolmanager
import urllib3.util

from worker.wechat import connection

#: Connections kept open; more calls than this at a time still work.
POOL_CONNECTIONS = 256


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = connection.Connection

    def exchange(self, call: connection.Call, request: bytes, *, limit: int) -> tuple[int, bytes]:
        """Send the request over an idle connection, or a new one; keep it if it still is of use."""
        chosen = cast(connection.Connection, self._get_conn())
        chosen.call = call
        try:
            if chosen.is_closed and self.proxy is not None:
                self._prepare_proxy(chosen)
            elif chosen.is_closed:
                chosen.connect()
            return chosen.exchange(request, limit=limit)
        except BaseException:
            chosen.close()
            raise
        finally:
            self._put_conn(chosen)


class _TLSPool(_Pool, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = connection.TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to one path of a host, and what all requests for it have in common."""

    pool: _Pool
    #: May hold the secrets of a token URL, as the headers may.
    target: bytes = dataclasses.field(repr=False)
    headers: bytes = dataclasses.field(repr=False)

    def exchange(
        self, call: connection.Call, *, query: str, data: bytes | None, limit: int
    ) -> tuple[int, bytes]:
        """POST `data`, GET without any; the status and at most `limit` bytes of the body.

        Nothing is followed and nothing sent twice. The limit counts after decompression. Raises
        whatever requests, urllib3, http.client and the sockets raise, which is anything.
        """
        return self.pool.exchange(call, self.request(query, data), limit=limit)

    def request(self, query: str, data: bytes | None) -> bytes:
        """The whole request, to be sent in one piece."""
        joint = b"" if not query else b"&" if b"?" in self.target else b"?"
        target = self.target + joint + query.encode()
        if data is None:
            return b"GET %b HTTP/1.1\r\n%b\r\n" % (target, self.headers)
        return (
            b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (target, self.headers, len(data), data)


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Finds routes and keeps their connections; thread-safe; verifies TLS always.

    One TLS context serves all connections: to load the certificates costs tens of ms of CPU, which
    requests would spend on every new connection.
    """

    def __init__(self, *, ca_file: str | os.PathLike[str]) -> None:
        self._tls = ssl.create_default_context(cafile=ca_file)
        super().__init__(pool_maxsize=POOL_CONNECTIONS)

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

    def close(self) -> None:
        """Close the idle connections now; urllib3 leaves that to the garbage collector."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - the container cannot be iterated
                manager.pools[key].close()
        super().close()

    def route(self, url: str, *, headers: Mapping[str, str], proxies: Any) -> Route:
        """The way to this address, through a proxy if it has one; raises whatever requests does."""
        request = requests.PreparedRequest()
        request.prepare(method="GET", url=url, headers=headers)
        pool: Any = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        parts = urllib3.util.parse_url(str(request.url))
        is_usual_port = parts.port in (None, pool.ConnectionCls.default_port)
        lines = {"Host": parts.host if is_usual_port else parts.netloc, **request.headers}
        return Route(
            pool=pool,
            target=request.path_url.encode("ascii"),
            headers="".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode(),
        )

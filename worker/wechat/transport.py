"""Takes a path, a token and a body, makes one HTTPS call, and hands on the reply or one error.

This is where foreign errors end: whatever requests, urllib3, TLS and sockets raise, and whatever a
server sends, leaves here as a class of `worker.errors`. Nothing is retried, no redirect followed.
"""

import functools
import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

import requests
import requests.utils
import urllib3.exceptions

from worker import errors
from worker.wechat import adapter, connection, redaction, reply

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "kfsession",
}

#: As json.dumps, which makes an encoder for each call.
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Transport:
    """Calls one API host; thread-safe, opens connections when first used and keeps them.

    `timeout_seconds` bounds a whole call, from the name lookup to the last byte. HTTPS_PROXY and
    NO_PROXY count as they stand now; plain http, which is for this machine, goes without a proxy;
    .netrc and cookies never count. TLS is verified against `ca_file`, by default
    REQUESTS_CA_BUNDLE or certifi's list.
    """

    def __init__(
        self, base_url: str, *, timeout_seconds: float, ca_file: str | None = None
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._base_url = base_url
        parts = urllib.parse.urlsplit(base_url)
        self._host = parts.hostname or "no host"
        is_tls = parts.scheme == "https"
        self._proxies = requests.utils.get_environ_proxies(base_url) if is_tls else {}
        self._adapter = adapter.DeadlineAdapter(
            ca_file=ca_file
            or os.environ.get("REQUESTS_CA_BUNDLE")
            or requests.utils.DEFAULT_CA_BUNDLE_PATH
        )
        self._routes: dict[str, adapter.Route] = {}
        redaction.guard_logs()

    def post(
        self,
        path: str,
        *,
        token: str | None,
        body: Mapping[str, Any] | bytes,
        expects: tuple[str, ...] = ("errcode",),
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """POST `body` as JSON; the reply, which has one of the fields `expects`, errcode 0 or none.

        Raises NeverLeft, a subclass of Unsure or one of Refused, with `elapsed_ms` set.
        """
        data = body if isinstance(body, bytes) else _encode(body).encode()
        return self._call(path, token, {}, data, expects, timeout_seconds)

    def get(
        self,
        path: str,
        *,
        token: str | None,
        params: Mapping[str, str],
        expects: tuple[str, ...],
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """GET `path` with `params`; answers and raises as `post` does."""
        return self._call(path, token, params, None, expects, timeout_seconds)

    def close(self) -> None:
        """Close the idle connections; running calls end by themselves."""
        self._routes.clear()
        self._adapter.close()

    def _call(
        self,
        path: str,
        token: str | None,
        params: Mapping[str, str],
        data: bytes | None,
        expects: tuple[str, ...],
        timeout_seconds: float | None,
    ) -> dict[str, Any]:
        call = connection.Call(timeout_seconds or self.timeout_seconds)
        try:
            status, content = self._exchange(call, path, _query(token, params), data)
            return reply.parse(status, content, expects=expects, token=token)
        except errors.WeChatError as error:
            error.elapsed_ms = call.elapsed_ms()
            raise

    def _exchange(
        self, call: connection.Call, path: str, query: str, data: bytes | None
    ) -> tuple[int, bytes]:
        try:
            route = self._routes.get(path) or self._find_route(path)
            return route.exchange(call, query=query, data=data, limit=reply.SIZE_LIMIT + 1)
        except Exception as error:  # a reply can make http.client raise even an OverflowError
            failure = _judge(error, call, f"{self._host}{path}")
        # Raised outside the handler: the library's error quotes the URL, token and all, and must
        # not ride along as __context__.
        raise failure

    def _find_route(self, path: str) -> adapter.Route:
        """The way to `path`, kept: to find it costs more CPU than to go it."""
        route = self._adapter.route(self._base_url + path, headers=_HEADERS, proxies=self._proxies)
        self._routes[path] = route
        return route


def _query(token: str | None, params: Mapping[str, str]) -> str:
    parts = [] if token is None else [_credentials(token)]
    if params:
        parts.append(urllib.parse.urlencode(params))
    return "&".join(parts)


@functools.lru_cache(maxsize=64)  # a token serves for two hours
def _credentials(token: str) -> str:
    return urllib.parse.urlencode({"access_token": token})


def _judge(error: Exception, call: connection.Call, target: str) -> errors.WeChatError:
    """What a failed exchange means: it depends on whether a byte of the request was sent."""
    reason = _reason(error)
    if not call.has_left:
        return errors.NeverLeft(f"{target}: not sent: {reason}")
    if isinstance(error, urllib3.exceptions.DecodeError):
        return errors.UnreadableReply(f"{target}: the body cannot be decompressed")
    return errors.LostReply(f"{target}: sent, but no whole reply came: {reason}")


def _reason(error: BaseException) -> str:
    """The innermost cause in words of the system, which quote no URL; else the error's type."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    for cause in reversed(causes):
        if isinstance(cause, TimeoutError):
            return "time is up"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate refused: {cause.verify_message}"
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            return redaction.clean(cause.strerror or str(cause))
    return type(causes[-1]).__name__

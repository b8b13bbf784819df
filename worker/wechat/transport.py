"""Takes a path, a token and a body, makes one HTTPS call, and hands on the reply or one error.

This is where foreign errors end: whatever requests, urllib3, TLS and sockets raise, and whatever a
server sends, leaves here as a class of `worker.errors`. Nothing is retried, no redirect followed.
"""

import http.client
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
from worker.wechat import adapter, redaction, reply

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "kfsession",
}

#: All that a call can raise below this module; http.client and urllib3 parse with int().
_WIRE_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class Transport:
    """Calls one API host; thread-safe, opens connections when first used and keeps them.

    `timeout_seconds` bounds a whole call, from the name lookup to the last byte. HTTPS_PROXY and
    NO_PROXY count as they stand now; .netrc and cookies never do. TLS is verified against
    `ca_file`, by default REQUESTS_CA_BUNDLE or certifi's list.
    """

    def __init__(
        self, base_url: str, *, timeout_seconds: float, ca_file: str | None = None
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._base_url = base_url
        self._host = urllib.parse.urlsplit(base_url).hostname or base_url
        self._proxies = requests.utils.get_environ_proxies(base_url)
        self._adapter = adapter.DeadlineAdapter(
            ca_file=ca_file
            or os.environ.get("REQUESTS_CA_BUNDLE")
            or requests.utils.DEFAULT_CA_BUNDLE_PATH
        )
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
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
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        request = self._request("POST", path, _query(token, {}))
        request.body = data
        request.headers["Content-Length"] = str(len(data))
        return self._call(request, path, expects, token, timeout_seconds)

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
        request = self._request("GET", path, _query(token, params))
        return self._call(request, path, expects, token, timeout_seconds)

    def close(self) -> None:
        """Close the idle connections; running calls end by themselves."""
        self._adapter.close()

    def _request(self, method: str, path: str, query: str) -> requests.PreparedRequest:
        """A request without its body: to copy a prepared one takes half the CPU of a new one."""
        prepared = self._prepared.get((method, path))
        if prepared is None:
            prepared = requests.PreparedRequest()
            prepared.prepare(method=method, url=self._base_url + path, headers=_HEADERS)
            if method == "POST":
                prepared.headers["Content-Type"] = "application/json"
            self._prepared[method, path] = prepared
        request = prepared.copy()
        if query:
            request.url = f"{prepared.url}{'&' if '?' in str(prepared.url) else '?'}{query}"
        return request

    def _call(
        self,
        request: requests.PreparedRequest,
        path: str,
        expects: tuple[str, ...],
        token: str | None,
        timeout_seconds: float | None,
    ) -> dict[str, Any]:
        call = adapter.Call(timeout_seconds or self.timeout_seconds)
        try:
            status, body = self._exchange(request, call, path.partition("?")[0])
            return reply.parse(status, body, expects=expects, secrets=(token,) if token else ())
        except errors.WeChatError as error:
            error.elapsed_ms = call.elapsed_ms()
            raise

    def _exchange(
        self, request: requests.PreparedRequest, call: adapter.Call, path: str
    ) -> tuple[int, bytes]:
        try:
            return self._adapter.exchange(
                request, call, proxies=self._proxies, limit=reply.SIZE_LIMIT + 1
            )
        except _WIRE_ERRORS as error:
            failure = _judge(error, call, f"{self._host}{path}")
        # Raised outside the handler: the library's error quotes the URL, token and all, and must
        # not ride along as __context__.
        raise failure


def _query(token: str | None, params: Mapping[str, str]) -> str:
    credentials = {} if token is None else {"access_token": token}
    return urllib.parse.urlencode({**credentials, **params})


def _judge(error: Exception, call: adapter.Call, target: str) -> errors.WeChatError:
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

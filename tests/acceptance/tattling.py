"""A WeChat, and an owner of tokens, that says back whatever it was told: URL, headers and body."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Any

#: How a page that is no JSON, a header or a status can say it; by the beginning of an openid.
MANNERS = ("html_", "page_", "huge_", "redirect_", "status_", "header_", "chunk_", "packed_")


class Tattler:
    """`with Tattler(tokens={appid: token}) as it: it.url`.

    A create call for `say40001_…` answers errcode 40001; a token call of an appid `wx40125…`
    errcode 40125, and one of any other appid hands out its token.
    """

    def __init__(self, *, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.calls = 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.tattler = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Tattler:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.server.tattler.calls += 1  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        if path.startswith("/token/"):
            self._hand_out(path.removeprefix("/token/"))
        elif path.endswith("/stable_token"):
            self._grant(json.loads(body)["appid"], body.decode())
        elif path.endswith("/create"):
            self._create(json.loads(body)["openid"], body.decode())
        elif path.endswith("/getonlinekflist"):
            self._json(kf_online_list=[{"kf_account": "anna@hbshop", "status": 1}])
        else:
            self._json(errcode=-1, errmsg=self._tale(0, body.decode()))

    def _tale(self, number: int, body: str) -> str:
        """One of the ways to repeat what came."""
        parts = urllib.parse.urlsplit(self.path)
        values = [value for _, value in urllib.parse.parse_qsl(parts.query)]
        if body:
            values += map(str, json.loads(body).values())
        _, _, login = self.headers.get("Authorization", "").partition(" ")
        told = " ".join((*values, base64.b64decode(login).decode("latin-1")))
        tales = (
            f"invalid credential {told} rid: 6528a1b2-0c3d4e5f",
            f"GET {self.path} from {dict(self.headers)}",
            f"{json.dumps({'token': told})} {body}",
            f"hints: [{told[:24]}]; {told[24:]}",
        )
        return tales[number % len(tales)]

    def _all_tales(self, body: str = "") -> str:
        return " ".join(self._tale(number, body) for number in range(4))

    def _hand_out(self, what: str) -> None:
        """As an owner of tokens: well, or in one of the ways to fail."""
        tokens: dict[str, str] = self.server.tattler.tokens  # type: ignore[attr-defined]
        if what in tokens:
            self._json(access_token=tokens[what], expires_in=7200)
        elif what == "slow":
            time.sleep(2)
            self._json(errcode=-1)
        elif what == "words":
            self._json(access_token=f"a b {self._tale(0, '')}", expires_in=7200)
        elif what == "seconds":
            self._json(access_token=tokens["wxurl"], expires_in=self._tale(1, ""))
        else:
            self._say(f"{what}_", 500, self._all_tales())

    def _grant(self, appid: str, body: str) -> None:
        tokens: dict[str, str] = self.server.tattler.tokens  # type: ignore[attr-defined]
        if appid in tokens:
            self._json(access_token=tokens[appid], expires_in=7200)
        else:
            errcode = int(appid.removeprefix("wx")[:5])
            number: int = self.server.tattler.calls  # type: ignore[attr-defined]
            self._json(errcode=errcode, errmsg=self._tale(number, body))

    def _create(self, openid: str, body: str) -> None:
        for manner in MANNERS:
            if openid.startswith(manner):
                self._say(manner, 502 if manner == "html_" else 200, self._all_tales(body))
                return
        if not openid.startswith("say"):
            self._json(errcode=0, errmsg=self._tale(1, body))
            return
        errcode, _, number = openid.removeprefix("say").partition("_")
        self._json(errcode=int(errcode), errmsg=self._tale(int(number), body))

    def _say(self, manner: str, status: int, tale: str) -> None:
        text = tale.encode()
        line = text.decode("latin-1").replace("\n", " ")
        match manner:
            case "redirect_":
                self._send(302, b"", Location=f"{self.server.tattler.url}/?{line}")  # type: ignore[attr-defined]
            case "status_":
                self._raw(f"HTTP/1.1 {line}\r\n\r\n")
            case "header_":
                self._raw(f"HTTP/1.1 200 {line}\r\n{line}\r\n\r\n")
            case "chunk_":
                self._raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\n")
            case "packed_":
                self._send(status, text, **{"Content-Encoding": "gzip"})
            case "huge_":
                self._send(status, text * (700_000 // len(text)))
            case _:
                self._send(status, b"<html>" + text)

    def _json(self, **fields: Any) -> None:
        self._send(200, json.dumps(fields).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _raw(self, text: str) -> None:
        self.wfile.write(text.encode("latin-1"))
        self.close_connection = True

"""Receives what a call came to and hands on the reply: status, bytes, and how they are sent."""

from __future__ import annotations

import enum
import functools
import gzip
import json
from dataclasses import dataclass

#: What WeChat writes next to its codes; a code that is not here says "unknown error".
ERRMSG = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40013: "invalid appid",
    40014: "invalid access_token",
    40066: "invalid url",
    40125: "invalid appsecret",
    40164: "invalid ip 127.0.0.1, not in whitelist",
    40243: "AppSecret has been frozen",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    42001: "access_token expired",
    42007: "access_token and refresh_token invalid: the user changed the password",
    43001: "require GET method",
    43002: "require POST method",
    43004: "require subscribe",
    44002: "empty post data",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    48001: "api unauthorized",
    48004: "api forbidden for irregularities",
    50001: "user unauthorized",
    50002: "user limited",
    61003: "component is not authorized by this account",
    61004: "access clientip is not registered",
    61458: "customer accepted by",
    61459: "the worker is not online",
    65400: "please enable new custom service or wait for a while if you have enabled",
    65401: "invalid custom service account",
    65402: "the custom service account need to bind a wechat user",
    65413: "the session does not exist",
    65414: "the customer is served by another custom service account",
    65415: "the worker is not online",
    65416: "invalid parameter",
    76021: "cgi_path not found",
}


class Refused(Exception):
    """The call is answered with an errcode other than 0; `detail` goes behind the text."""

    def __init__(self, errcode: int, detail: str = "") -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.detail = detail


class Manner(enum.Enum):
    """How a reply goes out."""

    #: All at once.
    WHOLE = "whole"
    #: Head at once, body a byte at a time.
    DRIP = "drip"
    #: Head a byte at a time, body at once.
    DRIP_HEAD = "drip_head"
    #: Not at all: the connection is reset.
    CUT = "cut"
    #: Head and half of the body; then the connection is reset.
    CUT_DURING = "cut_during"
    #: All at once; the connection is reset as soon as the client uses it again.
    CUT_IDLE = "cut_idle"
    #: All at once, under a head that promises more; then the connection is closed.
    SHORT = "short"
    #: Not at all: the connection stays open until the client leaves.
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out on the socket."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json; encoding=utf-8"
    manner: Manner = Manner.WHOLE
    #: Further lines of the head, each with its end.
    headers: str = ""


#: Pages and bodies of the faults.
HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
HTML_200 = (
    b"<html>\r\n<head><title>Login</title></head>\r\n<body>\r\n"
    b"<h1>Welcome to this network</h1>\r\n</body>\r\n</html>\r\n"
)
GARBAGE = b'{"errcode":ok,"errmsg":"o\x01k'
HUGE_BYTES = 10_000_000
#: Where a redirect leads: no call of WeChat's, so it answers 40066, and the book shows who came.
REDIRECTED_PATH = "/redirected"


def errmsg(errcode: int, detail: str, rid: str) -> str:
    """The text next to an errcode other than 0; it ends in its rid."""
    text = ERRMSG.get(errcode, "unknown error")
    return f"{text} {detail} rid: {rid}" if detail else f"{text} rid: {rid}"


def dump(payload: object) -> bytes:
    """JSON as WeChat sends it: UTF-8, no blanks; half a surrogate stays an escape."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


#: What most replies are.
OK = dump({"errcode": 0, "errmsg": "ok"})


@functools.cache
def huge() -> Reply:
    """A reply that is true and far too long."""
    return Reply(_too_long())


@functools.cache
def bomb() -> Reply:
    """The same reply, packed: small on the wire."""
    packed = gzip.compress(_too_long(), mtime=0)
    return Reply(packed, headers="Content-Encoding: gzip\r\n")


def _too_long() -> bytes:
    return b'{"errcode":0,"errmsg":"' + b"o" * HUGE_BYTES + b'"}'

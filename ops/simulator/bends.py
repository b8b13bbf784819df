"""Receives the good reply to a call and hands on a bent one: the table of all faults, data only.

A row says whether the deed is done, and which of three things is bent on the way to the socket: the
code that is told (`tells`), the JSON around it (`says`), or the HTTP reply (`sends`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ops.simulator import replies

Payload = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way for a call to go wrong; `name` is its key in a scenario and in the book."""

    name: str
    #: What happens, for people.
    does: str
    #: Whether WeChat does what was asked before it fails to say so.
    is_done: bool
    #: From the true errcode to the one that is told.
    tells: Callable[[int], int] | None = None
    #: From the true JSON to what is said.
    says: Callable[[Payload], Payload] | None = None
    #: From the good reply to what is sent.
    sends: Callable[[replies.Reply], replies.Reply] | None = None
    #: Whether the client is told an errcode in the end; the book says so.
    is_told: bool = True
    #: Every token of the account dies first; what it died of is told.
    kills_tokens: bool = False


def _code(errcode: int) -> Callable[[int], int]:
    return lambda _true: errcode


def _instead(reply: replies.Reply) -> Callable[[replies.Reply], replies.Reply]:
    return lambda _good: reply


def _in(manner: replies.Manner) -> Callable[[replies.Reply], replies.Reply]:
    return lambda good: replace(good, manner=manner)


def _with_errcode(make: Callable[[Payload], object]) -> Callable[[Payload], Payload]:
    return lambda said: {**said, "errcode": make(said)}


def _without_errcode(said: Payload) -> Payload:
    return {key: value for key, value in said.items() if key != "errcode"}


def _errcode(said: Payload) -> int:
    return int(str(said.get("errcode", 0)))


def _half(good: replies.Reply) -> replies.Reply:
    return replace(good, body=good.body[: len(good.body) // 2])


_Manner = replies.Manner
_BAD_GATEWAY = replies.Reply(replies.HTML_502, 502, "text/html")
_REDIRECT = replies.Reply(
    status=302, content_type="text/html", headers=f"Location: {replies.REDIRECTED_PATH}\r\n"
)

#: New ones go to the end: a seed's faults depend on the order.
_ROWS = (
    Fault(name="busy", does="nothing done; errcode -1", is_done=False, tells=_code(-1)),
    Fault(
        name="html_502",
        does="nothing done; HTTP 502 with a page of HTML",
        is_done=False,
        sends=_instead(_BAD_GATEWAY),
        is_told=False,
    ),
    Fault(
        name="cut_before",
        does="nothing done; the connection is reset",
        is_done=False,
        sends=_in(_Manner.CUT),
        is_told=False,
    ),
    Fault(
        name="cut_after",
        does="done; then the connection is reset in place of a reply",
        is_done=True,
        sends=_in(_Manner.CUT),
        is_told=False,
    ),
    Fault(name="lied", does="done; the reply says -1", is_done=True, tells=_code(-1)),
    Fault(
        name="hang",
        does="nothing done, and no reply until the client leaves",
        is_done=False,
        sends=_in(_Manner.HANG),
        is_told=False,
    ),
    Fault(
        name="drip",
        does="done; the body comes a byte at a time",
        is_done=True,
        sends=_in(_Manner.DRIP),
    ),
    Fault(
        name="garbage",
        does="done; the reply is no JSON",
        is_done=True,
        sends=_instead(replies.Reply(replies.GARBAGE)),
        is_told=False,
    ),
    Fault(
        name="huge",
        does="done; the reply has 10 MB",
        is_done=True,
        sends=lambda _good: replies.huge(),
        is_told=False,
    ),
    Fault(
        name="cut_idle",
        does="done, a good reply; what the client sends next on its connection meets a reset",
        is_done=True,
        sends=_in(_Manner.CUT_IDLE),
    ),
    Fault(
        name="cut_during",
        does="done; the connection is reset after the head and half of the body",
        is_done=True,
        sends=_in(_Manner.CUT_DURING),
        is_told=False,
    ),
    Fault(
        name="short",
        does="done; Content-Length says more than comes before the connection is closed",
        is_done=True,
        sends=_in(_Manner.SHORT),
        is_told=False,
    ),
    Fault(
        name="drip_head",
        does="done; the head comes a byte at a time",
        is_done=True,
        sends=_in(_Manner.DRIP_HEAD),
    ),
    Fault(
        name="bomb",
        does="done; a small gzip body that has 10 MB unpacked",
        is_done=True,
        sends=lambda _good: replies.bomb(),
        is_told=False,
    ),
    Fault(
        name="truncated",
        does="done; a whole HTTP reply with half of its JSON",
        is_done=True,
        sends=_half,
        is_told=False,
    ),
    Fault(
        name="errcode_text",
        does='done; the errcode is a text: "0"',
        is_done=True,
        says=_with_errcode(lambda said: str(_errcode(said))),
    ),
    Fault(
        name="errcode_missing",
        does="done; the reply has no errcode",
        is_done=True,
        says=_without_errcode,
        is_told=False,
    ),
    Fault(
        name="errcode_float",
        does="done; the errcode has a fraction: 0.0",
        is_done=True,
        says=_with_errcode(lambda said: float(_errcode(said))),
    ),
    Fault(
        name="errcode_nan",
        does="done; the errcode is NaN",
        is_done=True,
        says=_with_errcode(lambda _said: float("nan")),
        is_told=False,
    ),
    Fault(
        name="html_200",
        does="done; HTTP 200 with a page of HTML",
        is_done=True,
        sends=_instead(replies.Reply(replies.HTML_200, 200, "text/html")),
        is_told=False,
    ),
    Fault(
        name="redirect",
        does=f"nothing done; HTTP 302 to {replies.REDIRECTED_PATH}, which does nothing either",
        is_done=False,
        sends=_instead(_REDIRECT),
        is_told=False,
    ),
    Fault(
        name="same_65414",
        does="done; the reply says 65414 although it is the asked agent who serves the fan",
        is_done=True,
        tells=lambda true: true or 65414,
    ),
    Fault(
        name="lied_502",
        does="done; HTTP 502 with a page of HTML",
        is_done=True,
        sends=_instead(_BAD_GATEWAY),
        is_told=False,
    ),
    Fault(
        name="expired_token",
        does="nothing done; the account's tokens die, by turns of 40001 and of 42001",
        is_done=False,
        kills_tokens=True,
    ),
)

#: Every fault by its name.
TABLE: Final[Mapping[str, Fault]] = {row.name: row for row in _ROWS}


def refusal(errcode: int) -> Fault:
    """The fault that answers one errcode and does nothing; the book names it after the code."""
    return Fault(
        name=f"errcode_{errcode}",
        does=f"nothing done; errcode {errcode}",
        is_done=False,
        tells=_code(errcode),
    )

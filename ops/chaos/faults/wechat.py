"""A WeChat that is busy, silent, lying or out of order."""

from __future__ import annotations

import itertools
import time

from ops.chaos import fault, haste, site
from ops.chaos.faults import workers
from worker.contract import errcodes

_CREATE = "/customservice/kfsession/create"
_SESSION_CALLS = [_CREATE, "/customservice/kfsession/getsession"]
ALL_CALLS = [*_SESSION_CALLS, "/cgi-bin/customservice/getonlinekflist"]

#: How many calls go wrong; fewer where each holds a slot for a whole deadline, or costs 10 MB.
_OFTEN, _SELDOM = 0.15, 0.02
#: A token that dies fails all calls under way, and whoever meets two in a row holds the account.
TOKEN_CHANCE = 0.001

#: What happens to a call, by the simulator's name, and in the words of the table.
HAPPENS = {
    "busy": "-1, nothing done",
    "lied": "a session opened although the reply said -1",
    "lied_502": "a session opened although the reply was 502",
    "html_502": "502 with a page of HTML, nothing done",
    "cut_before": "reset after sending, nothing done",
    "cut_after": "reset after sending, a session opened",
    "cut_idle": "a kept connection is reset at the next call",
    "cut_during": "reset during the reply",
    "short": "a reply shorter than it says",
    "hang": "no reply until the deadline",
    "drip": "a byte a second in the body",
    "drip_head": "a byte a second in the header",
    "huge": "replies of 10 MB",
    "bomb": "gzip bombs",
    "garbage": "replies that are no JSON",
    "truncated": "truncated JSON",
    "html_200": "a page of HTML with 200",
    "redirect": "redirects",
    "errcode_text": "errcode as a string",
    "errcode_missing": "no errcode",
    "errcode_float": "errcode as a float",
    "errcode_nan": "errcode NaN",
    "same_65414": "65414 although the agent asked serves the fan",
    "expired_token": "tokens that die at any moment",
}
_SLOW = frozenset({"hang", "drip", "drip_head", "huge", "bomb"})

#: What WeChat says of one call, as far as that is not about the account or its token.
_OF_REQUESTS = [
    code
    for code, row in errcodes.TABLE.items()
    if row.verdict
    in (
        errcodes.Verdict.TRANSIENT,
        errcodes.Verdict.FAN_INVALID,
        errcodes.Verdict.AGENT_OUT,
        errcodes.Verdict.AGENT_OFFLINE,
        errcodes.Verdict.SERVED_ELSEWHERE,
        errcodes.Verdict.BAD_REQUEST,
        errcodes.Verdict.UNKNOWN,
    )
]
#: What it says of an account, which holds all of its requests.
_OF_ACCOUNTS = [code for code in errcodes.TABLE if code not in (0, *_OF_REQUESTS)]
#: How long an account is refused, in seconds.
_REFUSED_SECONDS = 1.5
#: How often the time until the next probe is made to pass, and how long a probe takes, in seconds:
#: calls under way may hold the account again, and a machine hears of it every five seconds.
_PROBES, _PROBE_SECONDS = 14, 0.5


class Refusals(fault.Tool):
    """An account whose calls, or whose token calls, are answered by one code after the other."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._codes = itertools.cycle(_OF_ACCOUNTS)

    def strike(self, at: site.Site) -> None:
        """Refuse for a while; the time until the next probe is made to pass."""
        tell = at.stack.simulator.tell
        tell("accounts", **{self._field: next(self._codes)})
        if self._field == "token_errcode":
            tell("tokens/expire")
        time.sleep(at.scaled(_REFUSED_SECONDS))
        tell("accounts", **{self._field: 0})
        at.mark()
        for _ in range(_PROBES):
            haste.pass_holds(at.client, site.PREFIX)
            time.sleep(_PROBE_SECONDS)


def _show_wrong_certificate(at: site.Site) -> None:
    """Another host's certificate, or a stranger's, by turns; kept connections are cut."""
    assert at.certificates is not None  # noqa: S101 - the fault asks for TLS
    at.certificates.show_wrong(len(at.struck_at))
    at.wires.cut()
    time.sleep(at.scaled(_REFUSED_SECONDS))
    at.certificates.show_right()
    at.mark()


class Struck(fault.Tool):
    """Calls go wrong by themselves, as the simulator's chances have it."""

    def check(self, at: site.Site) -> None:
        """Count them, by WeChat's book."""
        calls = [each for path in ALL_CALLS for each in at.stack.simulator.book(path)["calls"]]
        at.times = sum(bool(each["fault"]) for each in calls)


def _chance(name: str) -> float:
    if name == "expired_token":
        return TOKEN_CHANCE
    return _SELDOM if name in _SLOW else _OFTEN


def _fault(name: str, what: str) -> fault.Fault:
    return fault.Fault(
        name=f"wechat-{name.replace('_', '-')}",
        what=what,
        chances={name: _chance(name), "paths": ALL_CALLS},
        tool=Struck,
        recovery="session",
    )


FAULTS = (
    *(_fault(name, what) for name, what in HAPPENS.items()),
    fault.Fault(
        name="wechat-handover",
        what="sessions opened unseen, where WeChat hands a fan over instead of answering 65414",
        tool=Struck,
        recovery="session",
        scenario=workers.HANDOVER,
        chances={"cut_after": 0.1, "lied": 0.1, "lied_502": 0.1},
    ),
    fault.Fault(
        name="wechat-read-back-fails",
        what="getsession fails while the fan is unsure",
        chances={"cut_after": 0.15, "html_502": 0.15, "paths": _SESSION_CALLS},
        tool=Struck,
        recovery="session",
    ),
    fault.Fault(
        name="wechat-61458",
        what="61458 for who is served by another agent",
        scenario='served_elsewhere = "61458"\n',
        chances={"cut_after": 0.1},
        tool=Struck,
        recovery="session",
    ),
    fault.Fault(
        name="wechat-codes",
        what="every code that is about one request",
        chances={
            "errcodes": {str(code): 0.2 / len(_OF_REQUESTS) for code in _OF_REQUESTS},
            "paths": _SESSION_CALLS,
        },
        ttl_seconds=900,  # who heard strange codes of all the others waits for who is away
        tool=Struck,
        recovery="session",
    ),
    fault.Fault(
        name="wechat-account-refused",
        what="every code that is about the account or its token",
        tool=lambda: Refusals("errcode"),
        times=len(_OF_ACCOUNTS),
        recovery="waiting",
    ),
    fault.Fault(
        name="wechat-token-refused",
        what="every one of these from the token call",
        tool=lambda: Refusals("token_errcode"),
        times=len(_OF_ACCOUNTS),
        recovery="waiting",
    ),
    fault.Fault(
        name="wechat-certificate",
        what="wrong certificates: another host's, or a stranger's",
        tool=fault.plain(_show_wrong_certificate),
        times=20,
        recovery="waiting",
        has_tls=True,
    ),
)

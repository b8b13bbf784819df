"""Everything that can go wrong on purpose, as one tree; each class says what its catcher can do.

KfsessionError
├── WeChatError                a call of WeChat's API failed
│   ├── NeverLeft              WeChat has not seen it
│   ├── Unsure                 it may have taken effect
│   │   ├── SystemBusy
│   │   ├── LostReply
│   │   ├── UnreadableReply
│   │   └── UnknownErrcode
│   └── Refused                it did not take effect, and a code says why
│       ├── TokenRejected
│       ├── AccountBlocked
│       ├── MachineRefused
│       ├── RateLimited
│       ├── QuotaExhausted
│       ├── FanInvalid
│       ├── AgentOut
│       ├── AgentOffline
│       ├── ServedElsewhere
│       └── BadRequest
├── TokenUnavailable           no access token to call with
│   └── CredentialsMissing
├── NobodyFree                 no agent of a request can be asked now
├── LedgerUnavailable          Redis did not answer
│   └── TooFewReplicas
├── DoorbellUnavailable        the Celery broker did not take a message
├── LeaseLost                  somebody else works on this request
└── SchemaTooNew               the ledger belongs to a newer release

Texts and attributes never hold a token, a secret or a password.
"""

import enum
import re
from typing import ClassVar

from worker.contract import errcodes, record


class Ended(enum.StrEnum):
    """Where a failed call ended, which decides whether somebody must look before going on."""

    #: On this machine or on its way: WeChat has not seen it.
    NEVER_LEFT = "never_left"
    #: Nobody knows: it may have taken effect.
    UNSURE = "unsure"
    #: At WeChat, which said no: it did not take effect.
    REFUSED = "refused"


class KfsessionError(Exception):
    """The root: catch it to tell what this project raises on purpose from a bug."""


class WeChatError(KfsessionError):
    """A call of WeChat's API failed; its three branches say what it may have left behind.

    `errcode` and `errmsg` are WeChat's words, None when it sent none; `rid` is WeChat's own id of
    the call, for its diagnosis tool; `elapsed_ms` is what the call took, None when nobody measured.
    """

    #: Where the call ended.
    ended: ClassVar[Ended]
    #: What an attempt's `error` field says: snake_case, at most 14 characters, never changed.
    name: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        errcode: int | None = None,
        errmsg: str | None = None,
        rid: str | None = None,
        elapsed_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.errcode = errcode
        self.errmsg = errmsg
        self.rid = rid
        self.elapsed_ms = elapsed_ms


class NeverLeft(WeChatError):
    """No name, no connection, no TLS: this machine has no way to WeChat; another one may have."""

    ended = Ended.NEVER_LEFT
    name = "never_left"


class Unsure(WeChatError):
    """It may have taken effect: ask the same again, or read back before asking for another."""

    ended = Ended.UNSURE
    name = "unsure"


class SystemBusy(Unsure):
    """WeChat answered -1: try again a little later."""

    name = "busy"


class LostReply(Unsure):
    """The call was sent and no whole reply came back in time: try again."""

    name = "lost_reply"


class UnreadableReply(Unsure):
    """A reply came that is no answer (no 200, no JSON, too large, no errcode): try again."""

    name = "unreadable"


class UnknownErrcode(Unsure):
    """A code the table does not judge: read back, then give up and keep the code for a person."""

    name = "unknown_code"


class Refused(WeChatError):
    """It did not take effect; the subclass says who can change that."""

    ended = Ended.REFUSED
    name = "refused"


class TokenRejected(Refused):
    """The access token is no longer good: renew it and ask once more at once."""

    name = "token"


class AccountBlocked(Refused):
    """Nothing works for this account: hold its requests, tell the operator, probe now and then."""

    name = "blocked"


class MachineRefused(Refused):
    """WeChat refuses this machine, by its address or its credentials: another one may get through.

    Where none does, the account is blocked.
    """

    name = "machine"


class RateLimited(Refused):
    """Too many calls this minute: hold the account to the next one."""

    name = "rate_limited"


class QuotaExhausted(Refused):
    """The day's calls are used up: hold the account and probe hourly."""

    name = "quota"


class FanInvalid(Refused):
    """No such fan for this account: fail the request."""

    name = "bad_openid"


class AgentOut(Refused):
    """This agent cannot serve (65401 unknown, 65402 not bound): take the next target, else fail."""

    name = "bad_agent"


class AgentOffline(Refused):
    """The agent is not online: take the next target, else wait for the agent."""

    name = "offline"


class ServedElsewhere(Refused):
    """Another agent serves the fan: read back who."""

    name = "served"


class BadRequest(Refused):
    """WeChat cannot read what we sent: fail the request and log a bug."""

    name = "bad_request"


class TokenUnavailable(KfsessionError):
    """No access token could be had: hold the account for a token, or as `cause_error` says.

    `cause_error` is how the token call failed, None when there was none: a Refused says
    that WeChat refuses the appid, the secret or this machine's address. `hint` tells a person the
    mend.
    """

    def __init__(self, message: str, *, hint: str, cause_error: WeChatError | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.cause_error = cause_error


class CredentialsMissing(TokenUnavailable):
    """This worker does not know the account: another one may."""


class NobodyFree(KfsessionError):
    """Every agent a request asks for is offline, full, paused or wrong: hold it for `reason`."""

    def __init__(self, reason: record.Reason) -> None:
        super().__init__(f"nobody can be asked now: {reason}")
        self.reason = reason


class LedgerUnavailable(KfsessionError):
    """Redis at `url` cannot be reached or did not answer in time: try again later.

    User and password of the URL are left out. `maybe_written` tells whether the write may have
    been done all the same; to send the same write again is safe.
    """

    def __init__(self, url: str, reason: str, *, maybe_written: bool) -> None:
        self.url = _CREDENTIALS.sub("", url)
        super().__init__(f"Redis at {self.url}: {_CREDENTIALS.sub('', reason)}")
        self.maybe_written = maybe_written


class TooFewReplicas(LedgerUnavailable):
    """What was written is on too few replicas, who are behind or away: Redis itself is there."""


class DoorbellUnavailable(KfsessionError):
    """The Celery broker did not take a doorbell: carry on, the waiting room rings again."""


class LeaseLost(KfsessionError):
    """Another holder has the claim, or the request is over: drop it, and write nothing."""


class SchemaTooNew(KfsessionError):
    """The ledger was written by a newer release: stop, and upgrade this one."""


#: User and password of a URL, and its query, where a password can stand too; all of it where both
#: have an @ or a ?, since nobody can tell then where the password ends.
_CREDENTIALS = re.compile(r"(?<=://)\S*\?\S*@\S*|(?<=://)\S*@|\?\S*")

#: `rid: 6528a1b2-0c3d4e5f-1a2b3c4d` at the end of an errmsg, in the spellings seen.
_RID = re.compile(
    r"[\s,;.]*\brid\s*[:：=]\s*(?P<rid>[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*)", re.IGNORECASE
)

_CLASS_OF: dict[errcodes.Verdict, type[WeChatError]] = {
    errcodes.Verdict.TRANSIENT: SystemBusy,
    errcodes.Verdict.TOKEN: TokenRejected,
    errcodes.Verdict.ACCOUNT_BLOCKED: AccountBlocked,
    errcodes.Verdict.MACHINE_REFUSED: MachineRefused,
    errcodes.Verdict.RATE_LIMITED: RateLimited,
    errcodes.Verdict.QUOTA: QuotaExhausted,
    errcodes.Verdict.FAN_INVALID: FanInvalid,
    errcodes.Verdict.AGENT_OUT: AgentOut,
    errcodes.Verdict.AGENT_OFFLINE: AgentOffline,
    errcodes.Verdict.SERVED_ELSEWHERE: ServedElsewhere,
    errcodes.Verdict.BAD_REQUEST: BadRequest,
    errcodes.Verdict.UNKNOWN: UnknownErrcode,
}


#: Longest text that is kept of what a request or a machine waits for, in characters.
MAX_IN_SHORT = 200


def in_short(error: Exception) -> str:
    """The errcode (or -) and the words of what went wrong."""
    errcode, errmsg = getattr(error, "errcode", None), getattr(error, "errmsg", None)
    return f"{'-' if errcode is None else errcode} {errmsg or error}"[:MAX_IN_SHORT]


def from_errcode(errcode: int, errmsg: str | None) -> WeChatError:
    """The error of a code other than 0, with WeChat's rid split off its errmsg."""
    row = errcodes.lookup(errcode)
    text, rid = _split_rid(errmsg or "")
    return _CLASS_OF[row.verdict](
        f"errcode {errcode}: {row.meaning}",
        errcode=errcode,
        errmsg=text or None,
        rid=rid,
    )


def _split_rid(errmsg: str) -> tuple[str, str | None]:
    found = _RID.search(errmsg)
    if found is None:
        return errmsg.strip(), None
    return (errmsg[: found.start()] + errmsg[found.end() :]).strip(), found["rid"]

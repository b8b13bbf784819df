"""Takes an errcode and gives what it means: a verdict, a sentence, what a person should do.

One table, data only. Its sources are WeChat's pages of `kfsession/create`, of its sibling calls and
of the token calls, and the list of general return codes.
"""

import dataclasses
import enum

#: Seconds an account is held before one request tries again, where no code says otherwise.
DEFAULT_PROBE_SECONDS = 60


class Verdict(enum.StrEnum):
    """What a code says about the call, the fan, the agent or the account."""

    #: Done, or it had been done before.
    OK = "ok"
    #: WeChat was busy; the call may or may not have taken effect.
    TRANSIENT = "transient"
    #: The access token is missing, has expired or was replaced; a newer one helps.
    TOKEN = "token"  # noqa: S105 - a verdict, no password
    #: No call for this account succeeds until somebody changes something.
    ACCOUNT_BLOCKED = "account_blocked"
    #: This machine may not call, by its address or its credentials; another one may.
    MACHINE_REFUSED = "machine_refused"
    #: Too many calls this minute; the next minute is free again.
    RATE_LIMITED = "rate_limited"
    #: The day's calls are used up; no source says when the count starts again.
    QUOTA = "quota"
    #: The openid is wrong, or its fan does not follow this account.
    FAN_INVALID = "fan_invalid"
    #: This agent does not exist or cannot serve anybody; another one may.
    AGENT_OUT = "agent_out"
    #: The agent is not online now.
    AGENT_OFFLINE = "agent_offline"
    #: Another agent serves this fan.
    SERVED_ELSEWHERE = "served_elsewhere"
    #: WeChat could not read the call: a mistake in this program.
    BAD_REQUEST = "bad_request"
    #: No session call should answer this; the call may have taken effect.
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Errcode:
    """One row of the table: a code, what it means, and what a person should do (`hint`).

    `probe_seconds` says how long to hold the account before one request tries again. It matters
    for the verdicts that hold an account (ACCOUNT_BLOCKED, MACHINE_REFUSED, RATE_LIMITED, QUOTA,
    TOKEN).
    """

    errcode: int
    verdict: Verdict
    meaning: str
    hint: str
    probe_seconds: int = DEFAULT_PROBE_SECONDS


def lookup(errcode: int) -> Errcode:
    """The row of a code; a code outside the table gets verdict UNKNOWN and a hint of its own."""
    known = TABLE.get(errcode)
    if known is not None:
        return known
    return Errcode(
        errcode=errcode,
        verdict=Verdict.UNKNOWN,
        meaning="a code this program does not know",
        hint=f"look up {errcode} in WeChat's list of general return codes, then retry",
    )


_NONE = "nothing to do"
_WAIT = "nothing to do: it is tried again by itself"
_TOKEN = "if it repeats, find what else fetches tokens for this appid"  # noqa: S105 - a sentence
_CONSOLE = "read the notices in WeChat's console (mp.weixin.qq.com) and appeal there"
_ENABLE = "enable the new customer service in WeChat's console; the account must be verified"
_GRANT = "ask the merchant to authorise the platform again (permission set 1, 6 or 100-101)"
_TICKET = "check that component_verify_ticket arrives; WeChat pushes it every 10 minutes"
_ADDRESS = "add this machine's public address to the IP whitelist in WeChat's console"
_ADMIN = "ask the account's administrator to allow this machine's address"
_ACCOUNT = "correct kf_account (prefix@account), or create the agent in WeChat's console"
_BIND = "bind a WeChat user to this agent in WeChat's console"
_SIGN_IN = "nothing to do: it goes on when the agent signs in"
_BUG = "report it with its rid: this program sent what WeChat cannot read"
_STRANGE = "look at errmsg, then retry: session calls do not answer this as a rule"

_ROWS: dict[Verdict, tuple[tuple[int, str, str], ...]] = {
    Verdict.OK: ((0, "done", _NONE),),
    Verdict.TRANSIENT: ((-1, "WeChat is busy", _WAIT),),
    Verdict.TOKEN: (
        (40001, "access token invalid, or not the latest", _TOKEN),
        (40014, "access token invalid", _TOKEN),
        (41001, "access token missing", "report it: a call was sent without a token"),
        (42001, "access token expired", _TOKEN),
    ),
    Verdict.ACCOUNT_BLOCKED: (
        (40013, "appid wrong", "correct KF_APPID"),
        (40125, "app secret wrong", "correct KF_APPSECRET"),
        (40243, "app secret frozen", "unfreeze it in WeChat's console"),
        (41002, "appid missing", "set KF_APPID"),
        (41004, "app secret missing", "set KF_APPSECRET"),
        (42007, "authorisation ended: the account's password was changed", _GRANT),
        (48001, "the account may not use this API", _ENABLE),
        (48004, "the API was taken from the account for a violation", _CONSOLE),
        (50001, "the account has not granted this API", _GRANT),
        (50002, "the account is limited", _CONSOLE),
        (61003, "the account has not authorised this platform", _GRANT),
        (61005, "component ticket expired", _TICKET),
        (61006, "component ticket invalid", _TICKET),
        (61007, "the account has not granted this API to the platform", _GRANT),
        (61023, "refresh token invalid", _GRANT),
        (65400, "customer service is not enabled, or was enabled just now", _ENABLE),
    ),
    Verdict.MACHINE_REFUSED: (
        (40164, "this machine's address is not in the whitelist", _ADDRESS),
        (61004, "this machine's address is not in the platform's whitelist", _ADDRESS),
        (89501, "this machine's address waits for the administrator", _ADMIN),
        (89502, "this machine's address is not allowed", _ADMIN),
        (89503, "this machine's address needs the administrator's consent", _ADMIN),
        (89504, "this machine's address is not allowed", _ADMIN),
        (89505, "this machine's address is not allowed", _ADMIN),
        (89506, "the administrator refused this address twice: barred for 24 hours", _ADMIN),
        (89507, "the administrator refused this address: barred for an hour", _ADMIN),
    ),
    Verdict.RATE_LIMITED: ((45011, "too many calls this minute", _WAIT),),
    Verdict.QUOTA: (
        (45009, "the day's calls are used up", "raise or clear the quota in WeChat's console"),
    ),
    Verdict.FAN_INVALID: (
        (40003, "openid wrong", "check that this openid was issued for this appid"),
        (43004, "the user does not follow the account", "the fan must follow the account first"),
    ),
    Verdict.AGENT_OUT: (
        (65401, "no such agent", _ACCOUNT),
        (65402, "the agent is not bound to a WeChat user", _BIND),
    ),
    Verdict.AGENT_OFFLINE: (
        (61459, "the agent is not online", _SIGN_IN),
        (65415, "the agent is not online", _SIGN_IN),
    ),
    Verdict.SERVED_ELSEWHERE: (
        (61458, "another agent serves the fan", _NONE),
        (65414, "another agent serves the fan", _NONE),
    ),
    Verdict.BAD_REQUEST: (
        (40002, "grant_type wrong", _BUG),
        (43002, "the call must be a POST", _BUG),
        (44002, "the body is empty", _BUG),
        (47001, "the body is not the JSON expected", _BUG),
        (65416, "invalid parameter", _BUG),
    ),
    Verdict.UNKNOWN: (
        (65403, "illegal nickname", _STRANGE),
        (65404, "illegal agent account", _STRANGE),
        (65405, "limit of agents reached", _STRANGE),
        (65406, "the agent exists already", _STRANGE),
        (65407, "the user is an agent already", _STRANGE),
        (65408, "the user is invited already", _STRANGE),
        (65409, "invalid WeChat account", _STRANGE),
        (65410, "the user is bound to too many accounts", _STRANGE),
        (65411, "an invitation is pending", _STRANGE),
        (65412, "the agent is bound already", _STRANGE),
        (65413, "the fan has no session", _STRANGE),
        (65417, "the time range is too long", _STRANGE),
    ),
}

_PROBE_SECONDS: dict[int, int] = {
    45009: 3_600,  # nobody publishes when a quota starts again: ask hourly
    61005: 600,  # the next ticket comes within ten minutes
    61006: 600,
    89506: 86_400,
    89507: 3_600,
}

#: Every code this program knows.
TABLE: dict[int, Errcode] = {
    errcode: Errcode(
        errcode=errcode,
        verdict=verdict,
        meaning=meaning,
        hint=hint,
        probe_seconds=_PROBE_SECONDS.get(errcode, DEFAULT_PROBE_SECONDS),
    )
    for verdict, rows in _ROWS.items()
    for errcode, meaning, hint in rows
}

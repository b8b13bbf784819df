"""Takes where a request stands, and why, and says what a person should do."""

from __future__ import annotations

from worker.contract import errcodes, record

#: What ends by itself, as long as there is time.
_GOES_ON = record.OF_AGENTS | {record.Reason.TRANSIENT, record.Reason.RATE_LIMITED}

_ADVICE = {
    record.Reason.AGENT_OFFLINE: errcodes.lookup(65415).hint,
    record.Reason.AGENT_FULL: (
        "It goes on when an agent has room; KF_AGENT_CAPACITY and the accounts file set how much."
    ),
    record.Reason.PAUSED: "An operator paused it: kfsession resume lets it go on.",
    record.Reason.UNCONFIRMED: (
        "Look in WeChat whether this fan has a session: a call was lost and could not be read back."
    ),
    record.Reason.INTERNAL_ERROR: "A bug of ours: look for delivery_crashed in the worker's log.",
    record.Reason.GAVE_UP: "WeChat kept failing; see the attempts, and retry when it works again.",
    record.Reason.TOKEN: "No usable access token: errmsg says what is wrong, or unreachable.",
}


def of_machine(reason: str, errcode: int | None) -> str:
    """What a person should do about a machine that stepped back for `reason`."""
    if errcode is not None:
        return errcodes.lookup(errcode).hint
    if reason == record.Reason.TOKEN:
        return "give this machine a token that works: its file, its address or its secret is wrong"
    return "check this machine's name lookup, its proxy, its certificates and its way to WeChat"


def what_to_do(status: str, reason: str, errcode: int | None) -> str | None:
    """The reason's own advice, else the code table's; None where there is nothing to say."""
    if status not in (record.Status.WAITING, record.Status.FAILED, record.Status.EXPIRED):
        return _ADVICE[record.Reason.UNCONFIRMED] if reason == record.Reason.UNCONFIRMED else None
    if status == record.Status.EXPIRED and reason in _GOES_ON:
        return "Its deadline came first: retry it, give it more time, or name fallbacks."
    if reason in _ADVICE:
        return _ADVICE[record.Reason(reason)]
    return errcodes.lookup(errcode).hint if errcode else None

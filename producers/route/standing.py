"""Takes a request as it stands and says whether its fan is left alone, or may soon be elsewhere.

Pure: the time comes as an argument.
"""

from __future__ import annotations

import datetime
from enum import StrEnum

from worker.contract import record
from worker.ledger import agents

#: A fan whose request ended so lately is left alone.
REST = datetime.timedelta(minutes=10)
#: WeChat's lists may show the truth of so long ago; the workers' claims count with the same.
LAG = datetime.timedelta(milliseconds=agents.LAG_MS)
#: A queued request that nobody touched for so long waits for something else than its turn; the
#: longest pause between two tries of a transient failure is 60 s.
PATIENCE = datetime.timedelta(seconds=90)
#: A request that found its agent full or offline may still find a place so long after its submit.
SETTLING = datetime.timedelta(seconds=30)

_PASSING = (record.Reason.TRANSIENT, record.Reason.RATE_LIMITED)
_SETTLING = (record.Reason.AGENT_FULL, record.Reason.AGENT_OFFLINE)


class Why(StrEnum):
    """Why a fan who waits is not routed now."""

    #: The fan has a live request, of whoever.
    LIVE_REQUEST = "live_request"
    #: A request of the last ten minutes brought a session; it may have ended since.
    SERVED_RECENTLY = "served_recently"
    #: A request of the last ten minutes failed for good; `kfsession show --openid` says why.
    FAILED_RECENTLY = "failed_recently"
    #: A request of the last ten minutes expired or was cancelled.
    ENDED_RECENTLY = "ended_recently"
    #: What WeChat lists is no openid.
    INVALID_OPENID = "invalid_openid"
    #: No agent who is online has room.
    NO_ROOM = "no_room"


def why_not(newest: record.Record | None, now: datetime.datetime) -> Why | None:
    """Why a fan with this newest request is left alone; None when nothing speaks against it."""
    if newest is None:
        return None
    if not newest.final:
        return Why.LIVE_REQUEST
    if now - (newest.finished_at or newest.updated_at) >= REST:
        return None
    if newest.is_success:
        return Why.SERVED_RECENTLY
    is_failed = newest.status is record.Status.FAILED
    return Why.FAILED_RECENTLY if is_failed else Why.ENDED_RECENTLY


def is_moving(one: record.Record, now: datetime.datetime) -> bool:
    """Whether looking again soon may show another picture because of this request."""
    match one.status:
        case record.Status.QUEUED | record.Status.CALLING:
            return now - one.updated_at < PATIENCE
        case record.Status.WAITING if one.reason in _PASSING:
            return now - one.updated_at < PATIENCE
        case record.Status.WAITING:
            return one.reason in _SETTLING and now - one.submitted_at < SETTLING
        case record.Status.CREATED | record.Status.ALREADY_SERVED:
            return now - one.updated_at < LAG
        case _:
            return False

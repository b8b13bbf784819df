"""Takes numbers of fans and puts them into the ledger as an offline agent leaves them: waiting.

No worker takes part, and WeChat is not asked.
"""

from __future__ import annotations

import datetime

from ops.chaos import stack, trial
from worker.contract import errcodes, record, request, settings
from worker.ledger import claims, ledger, request_ids

#: How many requests one round trip writes.
_CHUNK = 1000
_HOLDER = "bench"


def book_of(running: stack.Stack) -> ledger.Ledger:
    """The ledger of a running system, to write into it from here."""
    config = settings.load(_env_file=None, redis_url=running.environment["KF_REDIS_URL"])
    return ledger.Ledger(running.client, config)


def submit(
    book: ledger.Ledger, fans: range, *, appid: str = trial.APPID, ttl_seconds: float = 36_000
) -> list[str]:
    """Submit a request for each of these fans; their ids."""
    pairs = [(_wish(number, appid, ttl_seconds), request_ids.new_id()) for number in fans]
    for at in range(0, len(pairs), _CHUNK):
        book.submit_many(pairs[at : at + _CHUNK])
    return [request_id for _, request_id in pairs]


def let_wait(
    book: ledger.Ledger, ids: list[str], *, attempts: int = 1, wait_seconds: float = 7200
) -> None:
    """Bring these requests into their agent's room, with so many attempts on record."""
    settlement = _settlement(attempts, wait_seconds)
    left = set(ids)
    taken = book.claim((), _HOLDER)
    while taken.claim or taken.has_more:
        if taken.claim:
            left.discard(taken.claim.id)
            taken = book.settle(taken.claim, settlement, _HOLDER, take_next=bool(left))
        else:
            taken = book.claim((), _HOLDER)


def _wish(number: int, appid: str, ttl_seconds: float) -> request.SessionRequest:
    return request.SessionRequest(
        appid=appid,
        openid=trial.openid(number),
        kf_account=trial.AGENT,
        lane=request.Lane.BATCH,
        ttl_seconds=ttl_seconds,
    )


def _settlement(attempts: int, wait_seconds: float) -> claims.Settlement:
    refusal = errcodes.TABLE[65415]
    tried = record.Attempt(
        at=datetime.datetime.now(datetime.UTC),
        kf_account=trial.AGENT,
        errcode=refusal.errcode,
        errmsg="kf is not online",
        rid="6743a1b2-0c3d4e5f-1a2b3c4d",
        error="offline",
        elapsed_ms=48,
    )
    return claims.Settlement(
        status=record.Status.WAITING,
        reason=record.Reason.AGENT_OFFLINE,
        holds=claims.Holds.ROOM,
        wait_seconds=wait_seconds,
        strikes=1,
        progress=claims.Progress(attempt_count=0, api_calls=attempts, attempts=(tried,) * attempts),
    )

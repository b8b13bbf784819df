"""Takes a record's hash, and where it stands in its room, and hands on the Record."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping

from worker.contract import record, request
from worker.ledger import attempts, hints


def moment(ms: str | float) -> datetime.datetime:
    """A time of the ledger."""
    return datetime.datetime.fromtimestamp(float(ms) / 1000, datetime.UTC)


def iso(at: datetime.datetime) -> str:
    """A time as readers get it: ISO 8601, UTC, milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: The states in which a reason says something; while queued or calling it is only what came before.
_HAS_REASON = frozenset(
    {record.Status.WAITING, record.Status.FAILED, record.Status.EXPIRED, record.Status.CANCELLED}
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a request stands that waits in a room."""

    #: How many stand before it.
    ahead: int | None = None
    #: The room's wake time.
    wakes_at_ms: float | None = None
    #: "errcode errmsg" of what the account is held for.
    because: str | None = None


def compose(request_id: str, fields: Mapping[str, str], standing: Standing) -> record.Record:
    """The record of this hash; it is as old as the answers that it is made of."""
    kept = attempts.unpack(fields)
    last = kept[-1] if kept else None
    status = record.word(record.Status, fields["status"])
    is_known = isinstance(status, record.Status)
    said = fields["reason"] if status in _HAS_REASON or not is_known else ""
    targets = tuple(fields["targets"].split("|"))
    errcode, errmsg = (last.errcode, last.errmsg) if last else (None, None)
    of_account = None if said in record.OF_AGENTS else standing.because
    if because := of_account or fields.get("because"):
        code, _, text = because.partition(" ")
        errcode, errmsg = None if code == "-" else int(code), text or None
    next_ms = fields.get("next_attempt_at", standing.wakes_at_ms)
    return record.Record(
        id=request_id,
        schema_=record.SCHEMA,
        appid=fields["appid"],
        openid=fields["openid"],
        kf_account=targets[0],
        targets=targets,
        lane=record.word(request.Lane, fields["lane"]),
        status=status,
        final=status.is_final if isinstance(status, record.Status) else "finished_at" in fields,
        reason=record.word(record.Reason, said) if said else None,
        errcode=errcode,
        errmsg=errmsg,
        hint=hints.what_to_do(status, said, errcode),
        served_by=fields.get("served_by"),
        ahead=standing.ahead,
        attempts=kept,
        attempt_count=int(fields.get("attempts", 0)),
        api_calls=int(fields.get("calls", 0)),
        generation=int(fields.get("generation", 1)),
        submitted_at=moment(fields["submitted_at"]),
        updated_at=moment(fields["updated_at"]),
        next_attempt_at=moment(next_ms) if next_ms is not None else None,
        deadline_at=moment(fields["deadline_at"]),
        finished_at=moment(fields["finished_at"]) if "finished_at" in fields else None,
        key=fields.get("key"),
        metadata=json.loads(fields["metadata"]) if "metadata" in fields else None,
    )

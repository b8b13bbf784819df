"""Writes one attempt as two short strings of the record's hash, and reads it back.

Short, because a hash stays small only while every value has at most 64 bytes: `a<slot>` is
"at target errcode elapsed_ms error" and `m<slot>` is "rid errmsg", `-` standing for none. The
target is its place among the record's targets (from 0), or `=` and a name, percent-encoded, where
`any` chose it.
"""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import Mapping, Sequence

from worker.contract import record

#: Longest errmsg that is kept, in characters.
MAX_ERRMSG = 200


def pack(attempt: record.Attempt, call_number: int, targets: Sequence[str]) -> tuple[int, str, str]:
    """The slot of the `call_number`th call (from 0), and the two strings."""
    name = attempt.kf_account
    target = targets.index(name) if name in targets else f"={urllib.parse.quote(name, safe='@')}"
    at_ms = round(attempt.at.timestamp() * 1000)
    errcode = "-" if attempt.errcode is None else attempt.errcode
    call = f"{at_ms} {target} {errcode} {attempt.elapsed_ms} {attempt.error or '-'}"
    message = f"{attempt.rid or '-'} {(attempt.errmsg or '')[:MAX_ERRMSG]}"
    return call_number % record.KEPT_ATTEMPTS, call, message


def unpack(fields: Mapping[str, str]) -> tuple[record.Attempt, ...]:
    """The attempts in a record's hash, oldest first."""
    targets = fields["targets"].split("|")
    kept = [
        _read(targets, fields[f"a{slot}"], fields.get(f"m{slot}", "- "))
        for slot in range(record.KEPT_ATTEMPTS)
        if f"a{slot}" in fields
    ]
    newest_slot = (int(fields.get("calls", 0)) - 1) % record.KEPT_ATTEMPTS
    return tuple(kept[newest_slot + 1 :] + kept[: newest_slot + 1])


def _read(targets: Sequence[str], call: str, message: str) -> record.Attempt:
    at_ms, target, errcode, elapsed_ms, error = call.split(" ")
    rid, _, errmsg = message.partition(" ")
    return record.Attempt(
        at=datetime.datetime.fromtimestamp(int(at_ms) / 1000, datetime.UTC),
        kf_account=_name(targets, target),
        errcode=None if errcode == "-" else int(errcode),
        errmsg=errmsg or None,
        rid=None if rid == "-" else rid,
        error=None if error == "-" else error,
        elapsed_ms=int(elapsed_ms),
    )


def _name(targets: Sequence[str], target: str) -> str:
    if target.startswith("="):
        return urllib.parse.unquote(target[1:])
    return targets[int(target)]

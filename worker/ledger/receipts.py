"""Turns what `submit.lua` answers into a `Receipt`, or into an error that says what to mend."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from worker.contract import record, request
from worker.ledger import accounts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a submit came to: `how` is new, joined (a live request) or repeated (a key)."""

    id: str
    #: A plain str where only a newer release knows the word.
    status: record.Status | str
    how: str


def read(
    answer: Sequence[str], wish: request.SessionRequest, request_id: str
) -> Receipt | request.InvalidRequest:
    """What the answer to `wish` says; the error tells what to mend when the ledger refuses it."""
    how, detail, status = answer
    if how == "refused":
        return request.InvalidRequest(_mend(detail, status, wish, request_id))
    return Receipt(id=detail, status=record.word(record.Status, status), how=how)


def _mend(why: str, known: str, wish: request.SessionRequest, request_id: str) -> str:
    match why:
        case "which_account" | "unknown_account":
            return accounts.unknown_account(why, known, wish.appid)
        case "key_reused":
            return (
                f"key: {wish.key!r} was used for another request, {known}, which {request_id}"
                " differs from; use a new key, or send the same request"
            )
        case _:
            return f"id: {known!r} is another fan's request; make a new id"

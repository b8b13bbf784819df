"""What a submit raises when Redis did not answer: may it have been accepted, and as which id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker import errors

if TYPE_CHECKING:
    from worker.contract import request
    from worker.ledger import receipts


class SubmitFailed(errors.LedgerUnavailable):
    """The ledger did not answer a submit: send the same again, under the same id.

    `ids` are the requests in question (one, from `submit`); `maybe_written` says whether they may
    have been accepted. `results` is what `submit_many` had got before.
    """

    def __init__(
        self,
        cause: errors.LedgerUnavailable,
        *,
        ids: Sequence[str],
        results: Sequence[receipts.Receipt | request.InvalidRequest] = (),
        advice: str | None = None,
    ) -> None:
        super(errors.LedgerUnavailable, self).__init__(
            f"{str(cause).rstrip('.')}; {advice or _advice(ids, cause)}"
        )
        self.cause = cause
        self.url = cause.url
        self.maybe_written = cause.maybe_written
        self.ids = tuple(ids)
        self.results = list(results)


def _advice(ids: Sequence[str], cause: errors.LedgerUnavailable) -> str:
    if len(ids) == 1:
        if cause.maybe_written:
            return f"request {ids[0]} may have been accepted: send it again under this id"
        return f"request {ids[0]} was not accepted: send it again, under this id if you like"
    if cause.maybe_written:
        return f"{len(ids)} requests may have been accepted: send them again; a live one is joined"
    return f"{len(ids)} requests were not accepted: send them again"

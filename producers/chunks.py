"""Takes many wishes, writes them to the ledger by chunks, and hands on what became of each.

One chunk is checked while those before it are written, since either takes about as long.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from producers import failures, link
from worker import errors
from worker.contract import record, request
from worker.ledger import receipts, request_ids

#: How many requests one round trip writes.
SIZE = 500
#: How many chunks are on their way at once: one to spare, so that Redis need not wait for the next
#: while the thread that rings has its turn.
AT_ONCE = 3

Wish: TypeAlias = request.SessionRequest | Mapping[str, Any]
Result: TypeAlias = receipts.Receipt | request.InvalidRequest


class _Chunk:
    """Wishes under way, each checked or refused; the checked ones with the id they go under."""

    def __init__(self, wishes: Iterable[Wish], current: link.Link, *, is_first: bool) -> None:
        self._link = current
        self._is_first = is_first
        #: Whether it is known what became of it.
        self.is_over = False
        self._checked = [_checked_or_error(wish) for wish in wishes]
        good = [wish for wish in self._checked if not isinstance(wish, request.InvalidRequest)]
        self.ids = request_ids.new_ids(len(good))
        self._good = list(zip(good, self.ids, strict=True))
        self._end = current.begin(lambda: current.ledger.submit_many(self._good))

    def results(self) -> list[Result]:
        """What became of each wish, in their order; rings for those that are queued now."""
        self.is_over = True  # or it fails, and the error tells
        written = self._end()
        self._ring(written)
        answers = iter(written)
        return [
            wish if isinstance(wish, request.InvalidRequest) else next(answers)
            for wish in self._checked
        ]

    def _ring(self, written: list[Result]) -> None:
        ids: dict[request.Lane, list[str]] = {lane: [] for lane in request.Lane}
        for (wish, _), result in zip(self._good, written, strict=True):
            if isinstance(result, receipts.Receipt) and is_to_ring(wish, result):
                ids[wish.lane].append(result.id)
        for lane in request.Lane:
            self._link.ring(lane, ids[lane], wakes_all=self._is_first)


def submit(wishes: Iterable[Wish], current: link.Link) -> Iterator[Result]:
    """Write `wishes` as they come; raises SubmitFailed when Redis did not answer."""
    rest = iter(wishes)
    under_way: collections.deque[_Chunk] = collections.deque()
    is_first = True
    try:
        while chunk := list(itertools.islice(rest, SIZE)):
            under_way.append(_Chunk(chunk, current, is_first=is_first))
            is_first = False
            if len(under_way) == AT_ONCE:
                yield from under_way[0].results()
                under_way.popleft()
        while under_way:
            yield from under_way[0].results()
            under_way.popleft()
    except errors.LedgerUnavailable as error:
        error.maybe_written |= any(not each.is_over for each in under_way)
        ids = [request_id for each in under_way for request_id in each.ids]
        raise failures.SubmitFailed(error, ids=ids) from None
    current.drain()


def is_to_ring(wish: request.SessionRequest, receipt: receipts.Receipt) -> bool:
    """Whoever joined in the batch lane was rung before; an escalation may have raised the lane."""
    is_first = receipt.how == "new" or wish.lane is request.Lane.ESCALATION
    return is_first and receipt.status is record.Status.QUEUED


def checked(wish: Wish) -> request.SessionRequest:
    """`wish` as a request; raises InvalidRequest when it breaks a rule."""
    if not isinstance(wish, dict) and isinstance(wish, request.SessionRequest):
        return wish  # a dict is told at once; of its own models pydantic takes a while to tell
    return request.SessionRequest.parse(wish)


def _checked_or_error(wish: Wish) -> request.SessionRequest | request.InvalidRequest:
    try:
        return checked(wish)
    except request.InvalidRequest as error:
        return error

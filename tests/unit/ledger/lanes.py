"""The model's lanes: whose turn it is, and who of an account goes first."""

from __future__ import annotations

from collections.abc import Iterable

from tests.unit.ledger.standing import Request

#: The classes of a lane in the order in which they are taken: of escalations, then of batches,
#: those who are only read back, those tried for the first time, those tried again.
TRIED_AGAIN, BATCHES_BEGIN = 2, 3


def class_of(one: Request, now: int) -> int:
    """Where in its lane a request belongs that enters it now."""
    first = 0 if one.lane == "escalation" else BATCHES_BEGIN
    if one.is_cancelled or now >= one.deadline_at:
        return first
    return first + (TRIED_AGAIN if one.attempts else 1)


def in_order(queued: Iterable[Request]) -> list[Request]:
    """Those of one account, as they stand in its lane."""
    return sorted(queued, key=lambda each: (each.lane_class, each.submitted_at, each.id))


def is_pressing(queued: Iterable[Request]) -> bool:
    """Whether an escalation is among those queued for an account."""
    return any(each.lane_class < BATCHES_BEGIN for each in queued)


def first_of(queued: Iterable[Request], *, prefers_tried: bool) -> Request:
    """Who is taken in this turn of an account."""
    row = in_order(queued)
    if prefers_tried:
        lane_class = TRIED_AGAIN + (0 if is_pressing(row) else BATCHES_BEGIN)
        row = [each for each in row if each.lane_class == lane_class] or row
    return row[0]


def most_slots(slots: int, accounts: int) -> int:
    """About twice an account's share of a worker's slots, seven eighths at most, and always one."""
    return max(1, min(max(2, 2 * slots // accounts), 7 * slots // 8))

"""Believes a stored time only as far as it can be right, as the scripts do.

What lies ahead of now was written before the server's clock was set back.
"""

from __future__ import annotations

#: As in `scripts/prelude.lua`: a moment that is so little ahead is now.
SLACK_MS = 1000
#: As in `scripts/prelude.lua`: the longest pause between two readings, where the ledger does not
#: tell when it was set.
LONGEST_PAUSE_MS = 3600 * 1000


def past(at_ms: str | float, now_ms: float) -> float:
    """A moment as far as it can be right: one ahead of now was written before the clock was set
    back, and counts as long ago (0)."""
    return float(at_ms) if float(at_ms) <= now_ms + SLACK_MS else 0


def next_reading_ms(next_ms: str | None, tried_ms: str | None, now_ms: float) -> int:
    """When an account's agents may be read again; 0 where that is not believed."""
    at_ms = int(next_ms or 0)
    if tried_ms is not None:
        return at_ms if past(tried_ms, now_ms) > 0 else 0
    return at_ms if at_ms <= now_ms + LONGEST_PAUSE_MS else 0

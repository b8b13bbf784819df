"""How long recovery took is read off the events."""

from __future__ import annotations

from ops.chaos import recovery
from ops.chaos.ledger_book import Change


def course(id_: str, *steps: tuple[int, str]) -> list[Change]:
    """One request's changes of state."""
    return [Change(at_ms, id_, status) for at_ms, status in steps]


def test_a_strike_counts_for_what_it_met() -> None:
    """The longest of those that were in the state then; others do not matter."""
    changes = [
        *course("a", (1000, "queued"), (2000, "calling"), (9000, "queued"), (9500, "calling")),
        *course("b", (1000, "calling"), (2500, "created")),
        *course("c", (3500, "calling"), (60_000, "created")),
    ]
    assert recovery.after_strikes(changes, [3000], "calling") == 6.0
    assert recovery.after_strikes(changes, [1500], "queued") == 0.5
    assert recovery.after_strikes(changes, [70_000], "calling") is None


def test_without_strikes_it_is_the_way_from_the_first_call_to_the_session() -> None:
    """Who gets none does not count."""
    changes = [
        *course("a", (1000, "queued"), (2000, "calling"), (3000, "waiting"), (7500, "created")),
        *course("b", (1000, "calling"), (90_000, "expired")),
    ]
    assert recovery.from_first_call(changes) == 5.5
    assert recovery.from_first_call(changes[4:]) is None

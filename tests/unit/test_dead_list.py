"""dead_list: what is refused gets to the ledger, also when that is away for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import structlog.testing
import structlog.typing

from worker import dead_list, errors
from worker.ledger import keys

Logs = list[structlog.typing.EventDict]


class Ledger:
    """Takes what is buried while it is there."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = 0
        self.buried: list[tuple[str, str, str]] = []

    def bury(self, entry: str, *, queue: str, why: str) -> None:
        self.asked += 1
        if self.is_away:
            raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=True)
        self.buried.append((entry, queue, why))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def dead(ledger: Ledger) -> dead_list.DeadList:
    return dead_list.DeadList(ledger)  # type: ignore[arg-type]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as found:
        yield found


def events(logs: Logs) -> list[str]:
    return [str(each["event"]) for each in logs]


def test_a_refused_entry_is_buried_and_logged(
    dead: dead_list.DeadList, ledger: Ledger, logs: Logs
) -> None:
    """Whatever bytes it holds; the log has the field alone."""
    dead.refuse(b"\xff half", "kf.batch", "openid: 'oFAN' is none")
    assert ledger.buried == [("\ufffd half", "kf.batch", "openid: 'oFAN' is none")]
    (told,) = logs
    assert (told["event"], told["error"]) == ("entry_refused", "openid")


def test_what_an_absent_ledger_cannot_take_is_kept_and_buried_later(
    dead: dead_list.DeadList, ledger: Ledger, logs: Logs
) -> None:
    """In its order; and who refuses does not wait for a ledger that is known to be away."""
    ledger.is_away = True
    for entry in (b"1", b"2", b"3"):
        dead.refuse(entry, "kf.batch", "is no JSON")
    assert ledger.asked == 1
    dead.bury_kept()
    assert (ledger.asked, ledger.buried) == (2, [])
    ledger.is_away = False
    dead.bury_kept()
    assert [entry for entry, _, _ in ledger.buried] == ["1", "2", "3"]
    dead.refuse(b"4", "kf.batch", "is no JSON")
    assert len(ledger.buried) == 4
    assert events(logs).count("entries_kept") == 2
    assert "entry_lost" not in events(logs)


def test_no_more_is_kept_than_the_ledger_would(
    dead: dead_list.DeadList, ledger: Ledger, logs: Logs
) -> None:
    """A flood of malformed entries must not fill the memory; each that is lost is told."""
    ledger.is_away = True
    for _ in range(keys.DEAD_ENTRIES + 2):
        dead.refuse(b"x", "kf.batch", "is no JSON")
    assert events(logs).count("entry_lost") == 2
    ledger.is_away = False
    dead.bury_kept()
    assert len(ledger.buried) == keys.DEAD_ENTRIES


def test_a_worker_that_ends_meanwhile_says_what_is_lost(
    dead: dead_list.DeadList, ledger: Ledger, logs: Logs
) -> None:
    """It tries once more before."""
    ledger.is_away = True
    dead.refuse(b"x", "kf.batch", "is no JSON")
    dead.close()
    assert ledger.asked == 2
    assert events(logs)[-1] == "entry_lost"
    ledger.is_away = False
    dead.close()
    assert ledger.buried == []


def test_two_threads_bury_an_entry_once(ledger: Ledger, dead: dead_list.DeadList) -> None:
    """The waiting room's, and the one that refuses."""
    ledger.is_away = True
    dead.refuse(b"x", "kf.batch", "is no JSON")
    ledger.is_away = False
    is_inside, may_go = threading.Event(), threading.Event()
    bury = ledger.bury

    def slowly(entry: str, *, queue: str, why: str) -> None:
        is_inside.set()
        assert may_go.wait(10)
        bury(entry, queue=queue, why=why)

    ledger.bury = slowly  # type: ignore[method-assign]
    other = threading.Thread(target=dead.bury_kept)
    other.start()
    assert is_inside.wait(10)
    dead.bury_kept()
    may_go.set()
    other.join()
    assert [entry for entry, _, _ in ledger.buried] == ["x"]

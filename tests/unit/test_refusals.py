"""refusals: what is refused gets to the dead list, also when the ledger is away for a while."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
import structlog.testing
import structlog.typing

from worker import errors, refusals
from worker.ledger import dead_list, keys

Logs = list[structlog.typing.EventDict]
QUEUE, WHY = "kf.batch", "is no JSON"


class DeadList:
    """Takes what is buried while the ledger is there."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = 0
        self.buried: list[dead_list.Refused] = []

    def bury(self, refused: Sequence[dead_list.Refused]) -> None:
        self.asked += 1
        if self.is_away:
            raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=True)
        if any(each.entry == "bug" for each in refused):
            raise ValueError
        self.buried += refused

    @property
    def entries(self) -> list[str]:
        return [each.entry for each in self.buried]


@pytest.fixture
def dead() -> DeadList:
    return DeadList()


@pytest.fixture
def refused(dead: DeadList) -> refusals.Refusals:
    return refusals.Refusals(dead)  # type: ignore[arg-type]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as found:
        yield found


def lost(logs: Logs) -> int:
    return sum(each["count"] for each in logs if each["event"] == "entry_lost")


def test_a_refused_entry_is_buried_and_logged(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """Whatever bytes it holds; the log has the field alone."""
    before = time.time() * 1000
    refused.add(b"\xff half", QUEUE, "openid: 'oFAN' is none")
    (one,) = dead.buried
    assert one[1:] == (QUEUE, "openid: 'oFAN' is none", "\ufffd half")
    assert before - 1 <= one.at <= time.time() * 1000
    (told,) = logs
    assert (told["event"], told["error"]) == ("entry_refused", "openid")


def test_what_an_absent_ledger_cannot_take_is_kept_and_buried_later(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """In its order; and who refuses does not wait for a ledger that is known to be away."""
    dead.is_away = True
    for entry in (b"1", b"2", b"3"):
        refused.add(entry, QUEUE, WHY)
        time.sleep(0.002)
    assert dead.asked == 1
    refused.bury_kept()
    assert (dead.asked, dead.buried) == (2, [])
    dead.is_away = False
    refused.bury_kept()
    assert dead.entries == ["1", "2", "3"]
    refused.add(b"4", QUEUE, WHY)
    assert dead.entries == ["1", "2", "3", "4"], "it is known to be back"
    refused.close()
    assert lost(logs) == 0


def test_no_more_is_kept_than_the_dead_list_would(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """A flood of huge malformed entries must not fill the memory; the newest are kept."""
    dead.is_away = True
    tracemalloc.start()
    for number in range(keys.DEAD_ENTRIES + 2):
        refused.add(b"%06d" % number + b"x" * 500_000, QUEUE, WHY)
    assert tracemalloc.get_traced_memory()[0] < 16 * 1024 * 1024
    tracemalloc.stop()
    assert lost(logs) == 2
    dead.is_away = False
    dead.asked = 0
    refused.bury_kept()
    assert dead.asked == 10, "a hundred a step"
    assert sorted(entry[:6] for entry in dead.entries)[0] == "000002"
    assert {len(entry) for entry in dead.entries} == {keys.DEAD_ENTRY_CHARACTERS}
    assert len(dead.buried) == keys.DEAD_ENTRIES


def test_a_worker_that_ends_meanwhile_says_what_is_lost(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """And waits for nobody."""
    dead.is_away = True
    refused.add(b"x", QUEUE, WHY)
    refused.close()
    assert dead.asked == 1
    assert lost(logs) == 1


def test_an_entry_that_cannot_be_buried_keeps_no_other_waiting(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """A bug of ours ends neither kombu's loop nor the waiting room's; it is told, with the loss."""
    for entry in (b"1", b"bug", b"2"):
        refused.add(entry, QUEUE, WHY)
    assert dead.entries == ["1", "2"]
    assert [each["event"] for each in logs][2:4] == ["bury_crashed", "entry_lost"]


def test_many_threads_lose_nothing_of_a_ledger_that_is_there(
    refused: refusals.Refusals, dead: DeadList, logs: Logs
) -> None:
    """Each buries its own, and so does not run ahead of the ledger."""

    def flood(thread: int) -> None:
        for number in range(500):
            refused.add(b"%d/%d" % (thread, number), QUEUE, WHY)

    threads = [threading.Thread(target=flood, args=(each,)) for each in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(dead.entries)) == len(dead.entries) == 4000
    assert lost(logs) == 0


def test_two_threads_bury_an_entry_once(refused: refusals.Refusals, dead: DeadList) -> None:
    """The waiting room's, and the one that ends the worker."""
    dead.is_away = True
    refused.add(b"x", QUEUE, WHY)
    dead.is_away = False
    is_inside, may_go = threading.Event(), threading.Event()
    bury = dead.bury

    def slowly(entries: Sequence[dead_list.Refused]) -> None:
        is_inside.set()
        assert may_go.wait(10)
        bury(entries)

    dead.bury = slowly  # type: ignore[method-assign]
    other = threading.Thread(target=refused.bury_kept)
    other.start()
    assert is_inside.wait(10)
    refused.bury_kept()
    may_go.set()
    other.join()
    assert dead.entries == ["x"]

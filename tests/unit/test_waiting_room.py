"""waiting_room: one pass after the other, whatever is out of reach."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog.testing

from worker import errors, machine, waiting_room
from worker.contract import request
from worker.ledger import waiting

ESCALATION, BATCH = request.Lane
AWAY = errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)
SILENT = errors.DoorbellUnavailable("the broker did not tell")


def woken(
    taken: int = 0,
    *,
    escalations: Sequence[str] = (),
    batch: Sequence[str] = (),
    expired: int = 0,
    lost: Sequence[str] = (),
) -> waiting.Woken:
    ring = {ESCALATION: tuple(escalations), BATCH: tuple(batch)}
    return waiting.Woken(taken=taken, expired=expired, lost_leases=tuple(lost), ring=ring)


def opened(
    *, escalations: Sequence[str] = (), batch: Sequence[str] = (), has_more: bool = False
) -> waiting.Opened:
    ring = {ESCALATION: tuple(escalations), BATCH: tuple(batch)}
    return waiting.Opened(has_more=has_more, ring=ring)


class FakeLedger:
    """Plays what each pass finds; the last for ever."""

    def __init__(self) -> None:
        self.passes: list[waiting.Woken | Exception] = [woken()]
        self.rooms: list[waiting.Opened | Exception] = [opened()]
        self.opened = 0
        self.purged: list[int] = [0]
        self.left: dict[request.Lane, tuple[str, ...]] = {}
        self.asked = 0
        self.purges = 0
        self.adopted = [False]
        self.adoptions = 0

    def wake(self, limit: int) -> waiting.Woken:
        assert limit == waiting_room.PASS_IDS
        self.asked += 1
        found = self.passes.pop(0) if len(self.passes) > 1 else self.passes[0]
        if isinstance(found, Exception):
            raise found
        return found

    def open_rooms(self, limit: int, *, rest_seconds: float) -> waiting.Opened:
        assert limit == waiting_room.PASS_IDS
        assert 5 <= rest_seconds <= 6
        self.opened += 1
        found = self.rooms.pop(0) if len(self.rooms) > 1 else self.rooms[0]
        if isinstance(found, Exception):
            raise found
        return found

    def left_queued(self, limit: int, _taker: Any) -> dict[request.Lane, tuple[str, ...]]:
        assert limit == waiting_room.PASS_IDS
        return self.left

    def adopt(self, limit: int) -> bool:
        assert limit == waiting_room.PASS_IDS
        self.adoptions += 1
        return self.adopted.pop(0) if len(self.adopted) > 1 else self.adopted[0]

    def purge(self, limit: int) -> int:
        self.purges += 1
        return self.purged.pop(0) if len(self.purged) > 1 else self.purged[0]


class FakeDoorbell:
    """Notes what it rings; `failure` is the broker's trouble."""

    def __init__(self) -> None:
        self.rung: list[tuple[request.Lane, tuple[str, ...]]] = []
        self.lengths = {ESCALATION: 0, BATCH: 0}
        self.slots = 2
        self.asked = 0
        self.failure: Exception | None = None

    def length(self, lane: request.Lane) -> int:
        self.asked += 1
        if self.failure:
            raise self.failure
        return self.lengths[lane]

    def ring(self, lane: request.Lane, ids: Sequence[str], *, slots: int) -> int:
        assert slots == self.slots
        if self.failure:
            raise self.failure
        self.rung.append((lane, tuple(ids)))
        self.lengths[lane] += len(ids)
        return 1


class Gathering:
    """A closing flag whose waits take no time; things may happen in them."""

    def __init__(self, flag: threading.Event) -> None:
        self._flag = flag
        self.waited: list[float | None] = []
        self.meanwhile: list[Callable[[], None]] = []

    def wait(self, timeout: float | None = None) -> bool:
        if not self._flag.is_set():
            self.waited.append(timeout)
            for each in self.meanwhile:
                each()
        return self._flag.is_set()

    def is_set(self) -> bool:
        return self._flag.is_set()

    def set(self) -> None:
        self._flag.set()


class Room:
    """A waiting room of 2 slots over fakes."""

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.ledger, self.doorbell = FakeLedger(), FakeDoorbell()
        self.announced = 0
        self.looks = 0
        #: What is wrong with looking who is online.
        self.blindness: Exception | None = None
        self.room = waiting_room.WaitingRoom(
            self.ledger,  # type: ignore[arg-type]
            self.doorbell,  # type: ignore[arg-type]
            machine.Machine("w1", ["wx1"]),
            slots=2,
            announce=announce or self.announce,
            look=self.look,
        )

    def announce(self) -> None:
        self.announced += 1

    def look(self) -> None:
        self.looks += 1
        if self.blindness:
            raise self.blindness

    def watch(self, until: Callable[[], bool]) -> list[str]:
        """Run the thread until something has happened; the events it logged."""
        with structlog.testing.capture_logs() as logs:
            self.room.start()
            deadline = time.monotonic() + 10
            while not until() and time.monotonic() < deadline:
                time.sleep(0.005)
            self.room.stop()
            assert until()
        return [entry["event"] for entry in logs]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """Ticks of a hundredth of a second."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 0.01)
    return Room()


def test_a_pass_rings_what_is_due_in_its_lane(room: Room) -> None:
    """And nothing for an empty lane."""
    room.ledger.passes = [woken(3, escalations=["a"], batch=["b", "c"]), woken()]
    room.room.tick()
    assert room.doorbell.rung == [(ESCALATION, ("a",)), (BATCH, ("b", "c"))]
    room.room.tick()
    assert len(room.doorbell.rung) == 2


def test_a_full_pass_goes_again_at_once(room: Room) -> None:
    """5,000 deadlines a second need more than one script a tick."""
    full = woken(waiting_room.PASS_IDS, expired=waiting_room.PASS_IDS)
    room.ledger.passes = [full, full, woken(3)]
    room.ledger.purged = [waiting_room.PASS_IDS, 7]
    room.room.tick()
    assert room.ledger.asked == 3
    assert room.ledger.purges == 2


def test_whom_a_room_lets_out_is_rung_in_the_same_pass(room: Room) -> None:
    """A presence that brings somebody forward must not wait for the next tick."""
    room.ledger.rooms = [opened(escalations=["a"], batch=["b", "c"]), opened()]
    room.room.tick()
    assert room.doorbell.rung == [(ESCALATION, ("a",)), (BATCH, ("b", "c"))]


def test_rooms_are_opened_until_nobody_is_left_to_go(room: Room) -> None:
    """Each time with the lanes as long as they are by then."""
    many = [str(n) for n in range(waiting_room.PASS_IDS)]
    room.ledger.rooms = [
        opened(escalations=["a"], has_more=True),
        opened(batch=many, has_more=True),
        opened(),
    ]
    room.room.tick()
    assert room.ledger.opened == 3


def test_deadlines_come_before_rooms_and_rooms_before_readings(room: Room) -> None:
    """What ends is not let out first; a reading is begun whatever was found."""
    order: list[str] = []
    for name in ("wake", "open_rooms"):
        step = getattr(room.ledger, name)
        setattr(room.ledger, name, _noting(order, name, step))
    room.room._look = _noting(order, "look", room.look)
    room.room.tick()
    assert order == ["wake", "open_rooms", "look"]


def _noting(order: list[str], name: str, step: Callable[..., object]) -> Callable[..., object]:
    def noted(*args: object, **kwargs: object) -> object:
        order.append(name)
        return step(*args, **kwargs)

    return noted


@pytest.mark.parametrize(("length", "is_rung"), [(0, True), (7, True), (8, False), (900, False)])
def test_whoever_is_queued_just_now_is_rung_where_doorbells_are_no_more_than_slots_can_take(
    room: Room, length: int, is_rung: bool
) -> None:
    """Whoever is rung works through the lane: 100,000 that fall due need no 100,000 doorbells."""
    room.ledger.passes = [woken(batch=["a"], escalations=["b"])]
    room.ledger.rooms = [opened(batch=["c"])]
    room.doorbell.lengths[BATCH] = length
    room.room.tick()
    assert ((BATCH, ("a",)) in room.doorbell.rung) is is_rung
    assert (ESCALATION, ("b",)) in room.doorbell.rung, "each lane by its own length"
    assert ((BATCH, ("c",)) in room.doorbell.rung) is (is_rung and length < 7)


@pytest.mark.parametrize(("length", "is_rung"), [(0, True), (15, True), (16, False)])
def test_those_left_queued_are_rung_where_a_free_slot_might_find_no_doorbell(
    room: Room, length: int, is_rung: bool
) -> None:
    """A killed worker takes its doorbells with it; a turn ends before a long lane does."""
    room.room._slots = room.doorbell.slots = 64
    room.ledger.left = {ESCALATION: (), BATCH: ("a", "b")}
    room.doorbell.lengths[BATCH] = length
    room.room.tick()
    assert room.doorbell.rung == ([(BATCH, ("a", "b"))] if is_rung else [])


def test_without_a_broker_deadlines_and_leases_are_still_kept(room: Room) -> None:
    """Nobody is rung meanwhile, nor the broker asked again; the trouble comes out at the end."""
    room.ledger.passes = [woken(batch=["a"])]
    room.ledger.left = {ESCALATION: ("b",)}
    room.doorbell.failure = SILENT
    for _ in range(2):
        with pytest.raises(errors.DoorbellUnavailable):
            room.room.tick()
    assert (room.ledger.asked, room.ledger.opened) == (2, 2)
    assert (room.ledger.purges, room.looks, room.doorbell.asked) == (1, 2, 1)


def test_lost_leases_and_expiries_are_logged(room: Room) -> None:
    """Each lost lease by its id, expiries by their number."""
    room.ledger.passes = [woken(3, expired=2, lost=["x"]), woken()]
    with structlog.testing.capture_logs() as logs:
        room.room.tick()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("lease_taken_back", "warning"),
        ("requests_expired", "info"),
    ]
    assert logs[0]["id"] == "x"


def test_a_clock_that_was_set_back_is_logged(room: Room) -> None:
    """Once, by the worker that saw it first."""
    room.ledger.passes = [dataclasses.replace(woken(), set_back_seconds=3600.5), woken()]
    with structlog.testing.capture_logs() as logs:
        room.room.tick()
        room.room.tick()
    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("clock_set_back", 3600.5)]


def test_a_sign_of_life_is_given_now_and_then(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with every tick."""
    now = [100.0]
    monkeypatch.setattr(waiting_room.time, "monotonic", lambda: now[0])
    for _ in range(3):
        room.room.tick()
    assert room.announced == 1
    now[0] += waiting_room.CHORES_SECONDS
    room.room.tick()
    assert room.announced == 2


def test_who_has_something_to_say_does_not_wait_for_the_next_sign(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no more than twice a second, whatever flaps."""
    now = [100.0]
    monkeypatch.setattr(waiting_room.time, "monotonic", lambda: now[0])
    room.room.tick()
    room.room.announce_soon()
    room.room.tick()
    assert room.announced == 1
    now[0] += waiting_room.ANNOUNCE_SECONDS
    room.room.tick()
    assert room.announced == 2
    now[0] += 1
    room.room.announce_soon()
    room.room.tick()
    assert room.announced == 3


def test_what_was_said_while_the_sign_was_given_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where the ledger was away."""
    now, said = [100.0], []

    def announce() -> None:
        said.append(now[0])
        if len(said) == 1:
            made.room.announce_soon()
        if len(said) == 2:
            raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)

    made = Room(announce)
    monkeypatch.setattr(waiting_room.time, "monotonic", lambda: now[0])
    made.room.tick()
    now[0] += waiting_room.ANNOUNCE_SECONDS
    with pytest.raises(errors.LedgerUnavailable):
        made.room.tick()
    now[0] += waiting_room.ANNOUNCE_SECONDS
    made.room.tick()
    assert len(said) == 3


def test_those_of_an_older_release_are_put_into_their_lanes_one_script_a_pass(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until none is left; an older producer may bring more, which is looked after now and then."""
    now = [100.0]
    monkeypatch.setattr(waiting_room.time, "monotonic", lambda: now[0])
    room.ledger.adopted = [True, True, False]
    for expected in (1, 2, 3, 3, 3):
        room.room.tick()
        assert room.ledger.adoptions == expected
        assert room.room._has_news.is_set() is (expected < 3)
        room.room._has_news.clear()
    now[0] += waiting_room.CHORES_SECONDS
    room.room.tick()
    assert room.ledger.adoptions == 4


def passes(room: Room, number: int) -> Callable[[], bool]:
    return lambda: room.ledger.asked >= number


@pytest.mark.parametrize("trouble", ["ledger", "broker"])
def test_something_out_of_reach_is_noted_once_and_so_is_its_return(
    room: Room, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ticks it lasts; the watch goes on, and a silent broker is left alone a while."""
    monkeypatch.setattr(waiting_room, "CHORES_SECONDS", 0.02)
    if trouble == "ledger":
        room.ledger.passes = [AWAY] * 6 + [woken()]
        events = room.watch(passes(room, 10))
    else:
        room.doorbell.failure = SILENT
        room.ledger.left = {BATCH: ("a",)}

        def is_back() -> bool:
            if passes(room, 6)():
                room.doorbell.failure = None
            return passes(room, 12)()

        events = room.watch(is_back)
    assert events == ["out_of_reach", "back_in_reach"]


def test_news_bring_the_next_pass_forward(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the next tick is."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 3600)
    room.ledger.rooms = [opened(escalations=["a"]), opened()]
    room.room.hurry()
    room.watch(passes(room, 1))
    assert room.doorbell.rung == [(ESCALATION, ("a",))]
    assert room.looks == 1


def test_news_that_come_together_make_one_pass(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty readings a second must not make twenty passes a second; what comes later is seen."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 3600)
    gathering = Gathering(room.room._is_closing)
    monkeypatch.setattr(room.room, "_is_closing", gathering)

    def more_comes_meanwhile() -> None:
        for _ in range(20):
            room.room.hurry()

    gathering.meanwhile = [more_comes_meanwhile]
    room.room.hurry()
    room.watch(passes(room, 1))
    assert gathering.waited == [waiting_room.NEWS_SECONDS]
    assert room.looks == 1


def test_news_during_a_pass_make_another_one(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have looked already."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 3600)

    def hurries() -> None:
        if room.ledger.asked == 1:
            room.room.hurry()

    room.room._look = hurries
    room.room.hurry()
    room.watch(passes(room, 2))
    assert room.ledger.asked == 2


@pytest.mark.parametrize(
    ("failure", "events"),
    [(AWAY, ["out_of_reach"]), (ZeroDivisionError("a bug"), ["waiting_room_crashed"] * 3)],
)
def test_a_look_that_fails_does_not_stop_the_watch(
    room: Room, failure: Exception, events: list[str]
) -> None:
    """Each pass looks again, and wakes and opens rooms before it."""
    room.blindness = failure
    seen = room.watch(lambda: room.looks >= 3)
    assert seen[: len(events)] == events
    assert room.looks == room.ledger.asked == room.ledger.opened


def test_rooms_that_cannot_be_opened_do_not_stop_the_watch(room: Room) -> None:
    """Deadlines and leases are kept first."""
    room.ledger.rooms = [AWAY]
    assert room.watch(passes(room, 3)) == ["out_of_reach"]


def test_a_bug_is_logged_and_the_watch_goes_on(room: Room) -> None:
    """With its traceback; a single bad pass must not end everything."""
    room.ledger.passes = [ZeroDivisionError("a bug"), woken()]
    assert room.watch(passes(room, 3)) == ["waiting_room_crashed"]


def test_stopping_ends_the_thread_after_the_pass_under_way(room: Room) -> None:
    """Also one that would go again at once."""
    room.ledger.passes = [woken(waiting_room.PASS_IDS)]
    room.ledger.rooms = [opened(has_more=True)]
    room.watch(passes(room, 3))
    assert "waiting-room" not in {thread.name for thread in threading.enumerate()}


def test_stopping_makes_no_further_pass(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that shuts down rings nobody and begins no reading; it also ends at once."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 3600)
    room.room.start()
    room.room.stop()
    assert not room.room._thread.is_alive()
    assert (room.ledger.asked, room.looks) == (0, 0)


def test_stopping_a_room_that_never_started_is_harmless(room: Room) -> None:
    """A worker may shut down before its steps were started."""
    room.room.stop()


def test_a_newer_release_that_takes_the_ledger_over_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stops as by SIGTERM: running calls end, and an unknown layout is left alone."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(waiting_room.os, "kill", lambda pid, number: told.append((pid, number)))

    def refused() -> None:
        raise errors.SchemaTooNew("the ledger has schema 2, this release knows 1: upgrade it")

    room = Room(refused)
    assert room.watch(lambda: bool(told)) == ["schema_too_new"]
    assert told == [(os.getpid(), signal.SIGTERM)]
    assert room.ledger.asked == 0

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import pytest

from producers import ringer
from tests.unit.producers import conftest
from worker.contract import request

BATCH = request.Lane.BATCH


class HangingBell(conftest.FakeBell):
    """Hangs in `ring` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = threading.Event()
        self.let_go = threading.Event()

    def ring(self, lane: request.Lane, ids: Sequence[str], /, *, slots: int | None = None) -> int:
        self.has_begun.set()
        assert self.let_go.wait(10)
        return super().ring(lane, ids, slots=slots)


def test_a_ring_is_done_when_the_caller_has_time_for_it(bell: conftest.FakeBell) -> None:
    ringing = ringer.Ringer(lambda: bell, many_messages=256)
    ringing.ring(BATCH, ["r1"], within_seconds=5)
    assert bell.rings == [(BATCH, ["r1"])]


def test_nothing_is_opened_before_the_first_ring() -> None:
    opened = []
    ringer.Ringer(lambda: opened.append(1) or conftest.FakeBell(), many_messages=1)  # type: ignore[func-returns-value]
    assert opened == []


def test_many_rings_go_out_in_their_order_and_drain_waits_for_them(bell: conftest.FakeBell) -> None:
    ringing = ringer.Ringer(lambda: bell, many_messages=256)
    for n in range(20):
        ringing.ring(BATCH, [f"r{n}"], within_seconds=0)
    ringing.drain(5)
    assert [ids for _, ids in bell.rings] == [[f"r{n}"] for n in range(20)]


def test_a_lane_with_many_messages_is_not_rung_until_it_has_fewer(bell: conftest.FakeBell) -> None:
    """Nobody waits for that; each lane counts for itself, and its length is asked now and then."""
    ringing = ringer.Ringer(lambda: bell, many_messages=3)
    for n in range(3):
        ringing.ring(BATCH, [f"r{n}"], within_seconds=5)
    assert (len(bell.rings), bell.looks) == (3, 1)
    bell.lengths[BATCH] = 3
    for n in range(5):
        ringing.ring(BATCH, [f"many{n}"], within_seconds=5)
    assert (len(bell.rings), bell.looks) == (3, 6)
    ringing.ring(request.Lane.ESCALATION, ["person"], within_seconds=5)
    bell.lengths[BATCH] = 1
    ringing.ring(BATCH, ["again"], within_seconds=5)
    assert bell.rings[3:] == [(request.Lane.ESCALATION, ["person"]), (BATCH, ["again"])]


def test_while_the_broker_hangs_nobody_waits_and_nothing_piles_up() -> None:
    bell = HangingBell()
    ringing = ringer.Ringer(lambda: bell, many_messages=256)
    ringing.ring(BATCH, ["r1"], within_seconds=0.05)
    assert bell.has_begun.is_set()
    started = time.monotonic()
    for n in range(100):
        ringing.ring(BATCH, [f"later{n}"], within_seconds=5)
    ringing.drain(5)
    assert time.monotonic() - started < 0.5
    bell.let_go.set()
    ends = time.monotonic() + 5
    while (BATCH, ["after"]) not in bell.rings:
        assert time.monotonic() < ends
        ringing.ring(BATCH, ["after"], within_seconds=0.05)
    assert bell.rings[0] == (BATCH, ["r1"])
    assert not any(ids[0].startswith("later") for _, ids in bell.rings)


def test_a_failing_broker_is_told_once_a_spell_and_tried_again(
    bell: conftest.FakeBell, caplog: pytest.LogCaptureFixture
) -> None:
    bell.broken = True
    ringing = ringer.Ringer(lambda: bell, many_messages=256)
    with caplog.at_level(logging.WARNING, "kfsession.producers"):
        for _ in range(5):
            ringing.ring(BATCH, ["r1"], within_seconds=1)
    assert len(caplog.records) == 1
    bell.broken = False
    ends = time.monotonic() + 5
    while not bell.rings:
        assert time.monotonic() < ends
        ringing.ring(BATCH, ["r2"], within_seconds=0.05)


def test_a_closed_ringer_closes_its_bell_and_rings_no_more(bell: conftest.FakeBell) -> None:
    ringing = ringer.Ringer(lambda: bell, many_messages=256)
    ringing.ring(BATCH, ["r1"], within_seconds=5)
    ringing.close()
    ringing.ring(BATCH, ["r2"], within_seconds=5)
    ends = time.monotonic() + 5
    while not bell.is_closed:
        assert time.monotonic() < ends
        time.sleep(0.005)
    assert len(bell.rings) == 1

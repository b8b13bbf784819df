"""Chance strikes each fan alike, in whatever order the calls come."""

from __future__ import annotations

from collections import Counter

from ops.simulator import faults, scenario

HALF = faults.chances(scenario.Faults(busy=0.3, cut_after=0.2))


def test_the_same_seed_gives_the_same_faults() -> None:
    calls = [(f"fan{fan}", number) for fan in range(50) for number in range(3)]

    forwards = {call: faults.draw(HALF, 1, *call) for call in calls}
    backwards = {call: faults.draw(HALF, 1, *call) for call in reversed(calls)}

    assert forwards == backwards
    assert forwards != {call: faults.draw(HALF, 2, *call) for call in calls}


def test_faults_are_as_frequent_as_chosen() -> None:
    drawn = Counter(faults.draw(HALF, 0, f"fan{fan}", 0) for fan in range(4000))

    assert 1100 < drawn[faults.Fault.BUSY] < 1300
    assert 700 < drawn[faults.Fault.CUT_AFTER] < 900
    assert set(drawn) == {None, faults.Fault.BUSY, faults.Fault.CUT_AFTER}


def test_no_chance_is_no_fault_and_certainty_always_strikes() -> None:
    never = faults.chances(scenario.Faults())
    always = faults.chances(scenario.Faults(hang=1))

    assert {faults.draw(never, 0, "fan", number) for number in range(100)} == {None}
    assert {faults.draw(always, 0, "fan", number) for number in range(100)} == {faults.Fault.HANG}


def test_every_chance_of_a_scenario_is_a_fault() -> None:
    assert {fault.value for fault in faults.Fault} == set(scenario.Faults.__slots__) - {"paths"}

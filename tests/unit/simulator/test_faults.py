"""Chance strikes each fan alike, in whatever order the calls come."""

from __future__ import annotations

from collections import Counter

from ops.simulator import bends, faults, scenario

HALF = faults.chances(scenario.Faults(chances={"cut_after": 0.2, "busy": 0.3}))
BUSY, CUT_AFTER = bends.TABLE["busy"], bends.TABLE["cut_after"]


def test_the_same_seed_gives_the_same_faults() -> None:
    calls = [(f"fan{fan}", number) for fan in range(50) for number in range(3)]

    forwards = {call: faults.draw(HALF, 1, *call) for call in calls}
    backwards = {call: faults.draw(HALF, 1, *call) for call in reversed(calls)}

    assert forwards == backwards
    assert forwards != {call: faults.draw(HALF, 2, *call) for call in calls}


def test_the_order_of_a_scenario_is_of_no_account() -> None:
    assert [fault for fault, _ in HALF] == [BUSY, CUT_AFTER]


def test_faults_are_as_frequent_as_chosen() -> None:
    drawn = Counter(faults.draw(HALF, 0, f"fan{fan}", 0) for fan in range(4000))

    assert 1100 < drawn[BUSY] < 1300
    assert 700 < drawn[CUT_AFTER] < 900
    assert set(drawn) == {None, BUSY, CUT_AFTER}


def test_errcodes_are_drawn_with_the_faults() -> None:
    possible = faults.chances(
        scenario.Faults(chances={"busy": 0.2}, errcodes={45011: 0.3, 40003: 0.1})
    )
    drawn = Counter(
        fault.name if (fault := faults.draw(possible, 0, f"fan{fan}", 0)) else None
        for fan in range(4000)
    )

    assert 1100 < drawn["errcode_45011"] < 1300
    assert 300 < drawn["errcode_40003"] < 500
    assert 700 < drawn["busy"] < 900


def test_no_chance_is_no_fault_and_certainty_always_strikes() -> None:
    never = faults.chances(scenario.Faults(chances={"busy": 0}))
    always = faults.chances(scenario.Faults(chances={"hang": 1}))

    assert {faults.draw(never, 0, "fan", number) for number in range(100)} == {None}
    assert {faults.draw(always, 0, "fan", number) for number in range(100)} == {bends.TABLE["hang"]}


def test_a_fault_that_does_nothing_says_so() -> None:
    for fault in bends.TABLE.values():
        assert fault.does.startswith("done" if fault.is_done else "nothing done")

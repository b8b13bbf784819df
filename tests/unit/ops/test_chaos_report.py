"""A row says what came of a fault, and is right only where the fault was tried."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ops.chaos import audit, fault, report, run

ROW = run.Row(
    of=fault.Fault(name="worker-killed", what="SIGKILL of a worker"),
    times=200,
    requests=20_000,
    findings=audit.Findings(),
    recovery=7.46,
    seconds=300.0,
    outcomes={"created": 20_000},
    notes={"on the dead list": 3},
    complaints=(),
)


def changed(**fields: object) -> run.Row:
    """The same row with other fields."""
    return dataclasses.replace(ROW, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"times": 0},
        {"requests": 0},
        {"complaints": ("a worker has ended by itself",)},
        {"findings": audit.Findings(lost=("x",))},
        {"findings": audit.Findings(doubled=("x",))},
        {"findings": audit.Findings(strays=("x",))},
    ],
)
def test_a_row_is_wrong_for_each_breach_and_where_nothing_was_tried(fields: object) -> None:
    """And it says what is wrong."""
    assert ROW.is_clean
    wrong = changed(**fields)  # type: ignore[arg-type]
    assert not wrong.is_clean
    assert next(report.lines(wrong)).startswith("WRONG worker-killed ")


def test_an_excuse_is_for_fans_who_were_given_away_twice_alone() -> None:
    """Whoever is lost stays lost."""
    excused = dataclasses.replace(ROW.of, excuse="only 65414 rules it out")
    assert changed(of=excused, findings=audit.Findings(doubled=("x",))).is_clean
    assert not changed(of=excused, findings=audit.Findings(lost=("x",))).is_clean


def test_a_row_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    """The command that repeats it is its key; a fault without a row is an error."""
    readme = tmp_path / "README.md"
    readme.write_text("head\n| `python -m ops.chaos worker-killed` | old |\ntail\n")
    report.write(ROW, readme)
    head, row, tail = readme.read_text().splitlines()
    assert (head, tail) == ("head", "tail")
    assert row.endswith(" worker-killed` | SIGKILL of a worker | 200 | 20000 | 0 | 0 | 7.5 s |")
    with pytest.raises(SystemExit, match="there is no row"):
        report.write(changed(of=fault.Fault(name="other", what="")), readme)

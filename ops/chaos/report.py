"""Takes rows and hands on lines: of a terminal, or of the table in README.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ops.chaos import run

README = Path(__file__).with_name("README.md")
#: A row begins with the command that repeats it.
_COMMAND = "| `python -m ops.chaos {name}` |"


def lines(row: run.Row) -> Iterator[str]:
    """One row for a terminal, and below it what is worth knowing besides."""
    verdict, found = "ok" if row.is_clean else "WRONG", row.findings
    yield (
        f"{verdict:<6}{row.of.name:<26} times {row.times:<6} requests {row.requests:<6}"
        f" lost {len(found.lost):<3} doubled {len(found.doubled):<3} left {len(found.strays):<3}"
        f" recovery {_seconds(row):>6}  in {row.seconds:g} s"
    )
    yield f"      outcomes {row.outcomes}"
    for name, value in sorted(row.notes.items()):
        yield f"      {name}: {value}"
    for complaint in (*row.complaints, *str(found).splitlines()):
        yield f"      {complaint}"


def write(row: run.Row, readme: Path = README) -> None:
    """Put a row into the table, in place of that of the same fault."""
    text, start = readme.read_text().splitlines(), _COMMAND.format(name=row.of.name)
    at = next((number for number, line in enumerate(text) if line.startswith(start)), None)
    if at is None:
        raise SystemExit(f"{readme}: there is no row that begins with {start}")
    text[at] = f"{start} {_cells(row)} |"
    readme.write_text("\n".join(text) + "\n")


def _cells(row: run.Row) -> str:
    cells = (
        row.of.what,
        row.times,
        row.requests,
        len(row.findings.lost),
        len(row.findings.doubled),
        _seconds(row),
    )
    return " | ".join(str(each) for each in cells)


def _seconds(row: run.Row) -> str:
    return "-" if row.recovery is None else f"{row.recovery:.1f} s"

"""Puts what a command has to say where it belongs: data on stdout, talk on stderr.

Data is JSON unless a person reads it at a terminal; a person gets tables.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers import moments

if TYPE_CHECKING:
    import rich.table

#: How a process ends whose reader went away: 128 + SIGPIPE, as shells say it.
PIPE_CLOSED = 141

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON even at a terminal; elsewhere it is JSON anyway.")
]


def is_json(asked: bool) -> bool:
    """Whether stdout gets JSON."""
    return asked or not sys.stdout.isatty()


def say(text: str) -> None:
    """A line of talk."""
    print(printable(text), file=sys.stderr, flush=True)


def emit(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own; what would steer a terminal is escaped in it."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    text = json.dumps(values, ensure_ascii=encoding != "utf8")
    _write(_replaced(text, lambda each: json.dumps(each)[1:-1]) + "\n")


def line(text: str) -> None:
    """A line of data for a person."""
    _write(printable(text) + "\n")


def _write(text: str) -> None:
    """Text on stdout; a reader that went away ends the command quietly."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        raise typer.Exit(PIPE_CLOSED) from None


def forget_stdout() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(*parts: rich.table.Table) -> None:
    """Tables for a person, on stdout."""
    import rich.console

    console = rich.console.Console(file=sys.stdout, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    _write(captured.get())


def table(
    *columns: str, rows: Sequence[Sequence[object]], title: str | None = None
) -> rich.table.Table:
    """A plain table; every value is shown whole, folded where it is too wide."""
    import rich.box
    import rich.table
    import rich.text

    made = rich.table.Table(
        *(rich.table.Column(name, overflow="fold") for name in columns),
        box=rich.box.SIMPLE_HEAD,
        title=rich.text.Text(printable(title)) if title else None,
        title_justify="left",
        show_header=any(columns),
        pad_edge=False,
    )
    for row in rows:
        made.add_row(*(rich.text.Text(printable(_text(value))) for value in row))
    return made


def printable(text: str) -> str:
    """`text` without what would steer a terminal; line ends stay."""
    return _replaced(text, lambda each: each if each == "\n" else "�")


def _replaced(text: str, replace: Callable[[str], str]) -> str:
    """`text` with another text for each character that would steer a terminal.

    Those are all that Unicode calls no graphic character, but for its spaces: controls, also of the
    upper half (C1), what turns the direction of writing, and what nobody sees.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else replace(each)
        for each in text
    )


def ago(moment: datetime.datetime) -> str:
    """How long ago, or in how long."""
    age = (datetime.datetime.now(datetime.UTC) - moment).total_seconds()
    return f"{moments.spoken(age)} ago" if age >= 0 else f"in {moments.spoken(-age)}"


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case datetime.datetime():
            return f"{value.astimezone().isoformat(sep=' ', timespec='seconds')} ({ago(value)})"
        case _:
            return str(value)

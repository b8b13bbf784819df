"""`kfsession batch`: a file of requests; bad rows are told by line, the others are sent."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from producers import chunks, failures, files, producer, terminal
from producers.commands import options
from worker.contract import request

#: Exit status when some rows were bad.
_PART_FAILED = 1
#: How often the progress bar moves, in rows.
_BAR_ROWS = 200


@dataclasses.dataclass(slots=True)
class Summary:
    """What became of the rows."""

    rows: int = 0
    new: int = 0
    joined: int = 0
    repeated: int = 0
    bad: int = 0


def batch(
    file: Annotated[str, typer.Argument(help="CSV with a header or JSON lines; - is stdin.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="KF_ACCOUNT", help="The agent of rows that name none, or of bare openids."
        ),
    ] = None,
    lane: Annotated[
        request.Lane, typer.Option(help="The lane of rows that name none.")
    ] = request.Lane.BATCH,
    json: terminal.JsonOption = False,
) -> None:
    """Send a file of requests."""
    if to is not None:  # once, and not for each row
        request.SessionRequest.parse({"kf_account": to, "openid": "o"})
    with options.opened() as producing, _reading(file) as stream, _progress(stream) as advance:
        summary = _Sender(producing, lane, advance).send(files.read(stream, kf_account=to))
    if terminal.is_json(json):
        terminal.emit(dataclasses.asdict(summary))
    else:
        counted = dataclasses.asdict(summary)
        terminal.show(terminal.table(*counted, rows=[list(counted.values())]))
    if summary.bad:
        raise typer.Exit(_PART_FAILED)


class _Sender:
    """Sends rows and keeps count, with the line of every row that is under way."""

    def __init__(
        self,
        producing: producer.SessionProducer,
        lane: request.Lane,
        advance: Callable[[int], None],
    ) -> None:
        self._producing = producing
        self._lane = lane
        self._advance = advance
        self._under_way: collections.deque[int] = collections.deque()
        self._summary = Summary()

    def send(self, rows: Iterator[files.Row]) -> Summary:
        try:
            for result in self._producing.stream(self._wishes(rows)):
                self._take(result)
        except failures.SubmitFailed as error:
            first = self._under_way[0]
            advice = f"send the rows from line {first} on again: what was accepted is joined"
            raise failures.SubmitFailed(error.cause, ids=error.ids, advice=advice) from None
        return self._summary

    def _wishes(self, rows: Iterator[files.Row]) -> Iterator[dict[str, Any]]:
        for row in rows:
            self._summary.rows += 1
            if self._summary.rows % _BAR_ROWS == 0:
                self._advance(row.position)
            if row.error is not None:
                self._refuse(row.line_number, row.error)
                continue
            self._under_way.append(row.line_number)
            yield {"lane": self._lane, **row.fields}

    def _take(self, result: chunks.Result) -> None:
        line_number = self._under_way.popleft()
        if isinstance(result, request.InvalidRequest):
            self._refuse(line_number, str(result))
        elif result.how == "new":
            self._summary.new += 1
        elif result.how == "joined":
            self._summary.joined += 1
        else:
            self._summary.repeated += 1

    def _refuse(self, line_number: int, why: str) -> None:
        self._summary.bad += 1
        terminal.say(f"line {line_number}: {why}")


@contextlib.contextmanager
def _reading(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with _opened(file) as stream:
        yield stream


def _opened(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise options.WrongInput(f"cannot read {file!r}: {error.strerror}") from None


@contextlib.contextmanager
def _progress(stream: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr for a file whose size is known; gives what moves it."""
    size = _size(stream) if sys.stderr.isatty() else None
    if size is None:
        yield lambda _position: None
        return
    import rich.console
    import rich.progress

    console = rich.console.Console(file=sys.stderr)
    with rich.progress.Progress(console=console, transient=True) as bar:
        task = bar.add_task("sending", total=size)
        yield lambda position: bar.update(task, completed=position)


def _size(stream: BinaryIO) -> int | None:
    about = os.fstat(stream.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None

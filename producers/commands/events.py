"""`kfsession events`: the stream of changes of state."""

from __future__ import annotations

import datetime
import re
from typing import Annotated

import typer

from producers import terminal
from producers.commands import options


def events(
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="2h (ago), ISO 8601, or an event's position."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    json: terminal.JsonOption = False,
) -> None:
    """Print changes of state, oldest first: all that are kept, or with --follow those to come."""
    with options.opened() as producing:
        start = _start(since)
        if start is None:
            with producing.reading() as reads:
                start = reads.newest_position() if follow else "0"
        for one in producing.events(start, follow=follow):
            if terminal.is_json(json):
                terminal.emit(one.as_json())
            else:
                at = one.at.astimezone().strftime("%m-%d %H:%M:%S")
                reason = f" ({one.reason})" if one.reason else ""
                terminal.line(f"{at}  {one.id}  {one.status}{reason}")


def _start(since: str | None) -> str | datetime.datetime | None:
    if since is None:
        return since
    if re.fullmatch(r"\d+-\d+", since):
        if any(int(part) >= 2**64 for part in since.split("-")):
            raise options.WrongInput(f"--since: {since!r}: no position is that large")
        return since
    return options.moment(since)

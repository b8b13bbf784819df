"""Takes pictures of a demo and shows them on stderr: live on a terminal, else as lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import rich.bar
import rich.console
import rich.live
import rich.table
import rich.text

from ops.demonstration import course
from worker.contract import record

#: Time between two lines where there is no terminal, in seconds.
LINE_SECONDS = 4.0

_STYLES = {
    record.Status.QUEUED: "white",
    record.Status.CALLING: "cyan",
    record.Status.WAITING: "yellow",
    record.Status.CREATED: "green",
    record.Status.ALREADY_SERVED: "green",
    record.Status.FAILED: "red",
    record.Status.EXPIRED: "magenta",
    record.Status.CANCELLED: "magenta",
}


@contextlib.contextmanager
def opened() -> Iterator[Callable[[course.Picture], None]]:
    """What to call with each picture."""
    console = rich.console.Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(console).show
        return
    with rich.live.Live(console=console, refresh_per_second=8) as live:
        yield lambda seen: live.update(scene(seen))


class Lines:
    """Plain lines for a log, and one at the end."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console
        self._next = 0.0

    def show(self, seen: course.Picture) -> None:
        """Print a line when it is time for one."""
        if seen.elapsed < self._next and seen.over < seen.fans:
            return
        self._next = seen.elapsed + LINE_SECONDS
        states = "  ".join(f"{status} {size}" for status, size in seen.counts.items() if size)
        online = ", ".join(each.kf_account for each in seen.agents if each.online)
        self._console.print(
            f"{seen.elapsed:4.0f} s  {seen.arrived}/{seen.fans} fans  {states}  online: {online}",
            soft_wrap=True,
        )


def scene(seen: course.Picture) -> rich.console.Group:
    """The whole as a terminal sees it."""
    head = rich.text.Text.assemble(
        (f"{seen.elapsed:4.1f} s ", "bold"),
        f"  {seen.arrived} of {seen.fans} fans have come, {seen.over} have their outcome",
    )
    bar = rich.bar.Bar(size=seen.fans, begin=0, end=seen.over, width=70, color="green")
    side_by_side = rich.table.Table.grid(padding=(0, 4))
    side_by_side.add_row(_agents(seen), _states(seen))
    return rich.console.Group(head, bar, "", side_by_side, "", _events(seen))


def _agents(seen: course.Picture) -> rich.table.Table:
    made = _table("agent", "", "serving")
    for agent in seen.agents:
        made.add_row(
            agent.kf_account,
            rich.text.Text("online", "green") if agent.online else rich.text.Text("away", "dim"),
            str(agent.serving),
        )
    return made


def _states(seen: course.Picture) -> rich.table.Table:
    made = _table("state", "fans")
    for status, size in seen.counts.items():
        style = _STYLES[status] if size else "dim"
        made.add_row(rich.text.Text(status, style), rich.text.Text(str(size), style))
    return made


def _events(seen: course.Picture) -> rich.table.Table:
    made = _table("newest", "fan", "", "")
    for event in reversed(seen.newest):
        made.add_row(
            f"{event.at:4.1f} s",
            event.fan.openid,
            event.fan.kind.value,
            rich.text.Text(
                f"{event.status} ({event.reason})" if event.reason else event.status,
                _STYLES[event.status],
            ),
        )
    return made


def _table(*columns: str) -> rich.table.Table:
    return rich.table.Table(*columns, box=None, pad_edge=False, header_style="dim")

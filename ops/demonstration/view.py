"""Takes pictures of a demo and shows them on stderr: live on a terminal, else as lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import rich.bar
import rich.console
import rich.live
import rich.table
import rich.text

from ops.demonstration import pictures
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
#: What fans wait for in every demo; these have their rows from the start.
_WAITS = (
    record.Reason.AGENT_OFFLINE,
    record.Reason.AGENT_FULL,
    record.Reason.PAUSED,
    record.Reason.TRANSIENT,
)
#: Nobody takes a request back in a demo.
_RARE = record.Status.CANCELLED


@contextlib.contextmanager
def opened() -> Iterator[Callable[[pictures.Picture], None]]:
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
        self._has_ended = False

    def show(self, seen: pictures.Picture) -> None:
        """Print a line when it is time for one."""
        is_end = seen.over == seen.everybody and not self._has_ended
        if seen.elapsed < self._next and not is_end:
            return
        self._has_ended |= is_end
        self._next = seen.elapsed + LINE_SECONDS
        told = [f"{seen.elapsed:4.0f} s", f"{seen.arrived}/{seen.fans} fans"]
        told += [_with_reasons(seen, status) for status in record.Status if seen.of(status)]
        if wanted := [_wanted(agent) for agent in seen.agents if agent.waiting]:
            told.append(f"for {', '.join(wanted)}")
        if seen.queue:
            told.append(f"in WeChat's queue {seen.queue}")
        self._console.print("  ".join(told), soft_wrap=True)


def _with_reasons(seen: pictures.Picture, status: record.Status) -> str:
    told = f"{status} {seen.of(status)}"
    if status is not record.Status.WAITING:
        return told
    return f"{told} ({', '.join(f'{why} {size}' for why, size in seen.counts[status].items())})"


def _wanted(agent: pictures.Agent) -> str:
    how = "full" if _room(agent) == "0" else _presence(agent).plain
    return f"{agent.kf_account} ({how}) {agent.waiting}"


def scene(seen: pictures.Picture) -> rich.console.Group:
    """The whole as a terminal of 80 columns and 24 lines sees it."""
    head = rich.text.Text.assemble(
        (f"{seen.elapsed:4.1f} s ", "bold"),
        f"  {seen.arrived}/{seen.fans} fans have come, {seen.over} have their outcome,"
        f" {seen.queue} wait in WeChat's queue",
    )
    bar = rich.bar.Bar(size=seen.everybody, begin=0, end=seen.over, width=70, color="green")
    side_by_side = rich.table.Table.grid(padding=(0, 4))
    side_by_side.add_row(_agents(seen), _states(seen))
    return rich.console.Group(head, bar, "", side_by_side, "", _events(seen))


def _agents(seen: pictures.Picture) -> rich.table.Table:
    made = _table("agent", "", "serves", "room", "waited for by")
    for agent in seen.agents:
        made.add_row(
            agent.kf_account,
            _presence(agent),
            str(agent.serving),
            _room(agent),
            rich.text.Text(str(agent.waiting), "yellow" if agent.waiting else "dim"),
        )
    return made


def _room(agent: pictures.Agent) -> str:
    if agent.is_paused or not agent.is_online:
        return ""
    return "∞" if agent.room is None else str(agent.room)


def _presence(agent: pictures.Agent) -> rich.text.Text:
    if agent.is_paused:
        return rich.text.Text("paused", "yellow")
    return rich.text.Text("online", "green") if agent.is_online else rich.text.Text("away", "dim")


def _states(seen: pictures.Picture) -> rich.table.Table:
    made = _table("state", "fans")
    for status in record.Status:
        if status is record.Status.WAITING:
            sizes = dict.fromkeys(_WAITS, 0) | dict(seen.counts[status])
            rows = {f"{status} ({why})": size for why, size in sizes.items()}
        else:
            rows = {status: seen.of(status)}
        for name, size in rows.items():
            if size or status is not _RARE:
                style = _STYLES[status] if size else "dim"
                made.add_row(rich.text.Text(name, style), rich.text.Text(str(size), style))
    return made


def _events(seen: pictures.Picture) -> rich.table.Table:
    made = _table("sec", "newest", "", "")
    for event in reversed(seen.newest):
        made.add_row(
            f"{event.at:4.1f}",
            event.fan.openid,
            event.fan.kind.value,
            rich.text.Text(
                f"{event.status} ({event.reason})" if event.reason else event.status,
                _STYLES[record.Status(event.status)],
            ),
        )
    return made


def _table(*columns: str) -> rich.table.Table:
    headers = (rich.table.Column(name, no_wrap=True) for name in columns)
    return rich.table.Table(*headers, box=None, pad_edge=False, header_style="dim")

"""Takes what a run of `route` plans and comes to, and shows it: a bar, lines, JSON, tables."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from producers import terminal
from producers.route import plan, run

if TYPE_CHECKING:
    import rich.console
    import rich.progress


class Talk:
    """A bar on a terminal's stderr while a run lasts, and a line whenever nothing is to be done."""

    def __init__(self, *, is_watching: bool) -> None:
        self._is_watching = is_watching
        self._bar: rich.progress.Progress | None = None

    def show(self, summary: run.Summary) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                total=summary.routed + summary.left,
                completed=summary.routed,
                told=f"{summary.routed} routed, {summary.open} under way, {summary.left} waiting",
            )

    def tell(self, rest: plan.Rest, planned: plan.Plan) -> None:
        """Say why there is nothing to do."""
        terminal.say(_why(rest, planned) + ("; watching" if self._is_watching else ""))

    def __enter__(self) -> Talk:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> rich.progress.Progress:
    import rich.console
    import rich.progress

    made = rich.progress.Progress(
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.fields[told]}"),
        console=rich.console.Console(file=sys.stderr),
        transient=True,
    )
    made.add_task("", total=None, told="reading who waits")
    return made


def _why(rest: plan.Rest, planned: plan.Plan) -> str:
    match rest:
        case plan.Rest.NOBODY_WAITS:
            return "nobody waits"
        case plan.Rest.NOBODY_ONLINE:
            return f"{_fans_wait(planned)}, and no agent who may serve them is online"
        case plan.Rest.NO_ROOM:
            return f"{_fans_wait(planned)}, and nobody has room"
        case plan.Rest.NOT_MOVING:
            return (
                "requests of this run stand in their lane, and nobody takes them: does a worker"
                " run? (kfsession status)"
            )
        case plan.Rest.ALL_SKIPPED:
            return _all_skipped(planned)


def _fans_wait(planned: plan.Plan) -> str:
    return "1 fan waits" if planned.count == 1 else f"{planned.count} fans wait"


def _all_skipped(planned: plan.Plan) -> str:
    whys = collections.Counter(planned.skipped.values())
    told = ", ".join(f"{size} {why}" for why, size in whys.most_common())
    shown, hidden = len(planned.fans), planned.count - len(planned.fans)
    who = (
        "the only fan whom WeChat shows is"
        if shown == 1
        else f"all {shown} fans whom WeChat shows are"
    )
    text = f"{who} left alone ({told})"
    if hidden <= 0:
        return text
    return (
        f"{text}; it shows only the oldest, and hides {hidden} more until these get a session or"
        " leave"
    )


def print_plan(appid: str, planned: plan.Plan, json: bool) -> None:
    """What --dry-run found, as one JSON object or as tables."""
    if terminal.is_json(json):
        terminal.emit(
            {
                "appid": appid,
                "assignments": [
                    {"openid": openid, "kf_account": name}
                    for openid, name in planned.chosen.items()
                ],
                "skipped": [
                    {"openid": openid, "why": why} for openid, why in planned.skipped.items()
                ],
                "left": planned.count - len(planned.chosen),
                "agents": {name: dataclasses.asdict(each) for name, each in planned.places.items()},
            }
        )
        return
    rows = [(openid, name, _since(planned, openid)) for openid, name in planned.chosen.items()]
    rows += [
        (openid, f"- ({why})", _since(planned, openid)) for openid, why in planned.skipped.items()
    ]
    terminal.show(
        terminal.table("fan", "goes to", "has waited since", rows=rows),
        _agents(planned.places, {}),
    )
    terminal.line(
        f"{len(planned.chosen)} would be routed, {planned.count - len(planned.chosen)} left"
    )


def _since(planned: plan.Plan, openid: str) -> datetime.datetime | None:
    with contextlib.suppress(ValueError, OverflowError, OSError):  # a year that no calendar has
        if at := planned.fans[openid]:
            return datetime.datetime.fromtimestamp(at, datetime.UTC)
    return None


def print_summary(appid: str, summary: run.Summary, ended: str, json: bool) -> None:
    """What a run came to, as one JSON object or as tables."""
    said: dict[str, Any] = {
        "appid": appid,
        "ended": ended,
        "seen": summary.seen,
        "routed": summary.routed,
        "failed": summary.failed,
        "expired": summary.expired,
        "cancelled": summary.cancelled,
        "open": summary.open,
        "skipped": dict(summary.skipped),
        "left": summary.left,
    }
    names = sorted({*summary.places, *summary.routed_by_agent})
    if terminal.is_json(json):
        agents = {name: _agent(summary, name) for name in names}
        terminal.emit({**said, "agents": agents})
        return
    said["skipped"] = ", ".join(f"{size} {why}" for why, size in summary.skipped.items()) or 0
    terminal.show(
        terminal.table("", "", rows=list(said.items())),
        _agents(summary.places, summary.routed_by_agent),
    )


def _agent(summary: run.Summary, name: str) -> dict[str, Any]:
    place = summary.places.get(name)
    known = dataclasses.asdict(place) if place else {}
    return {
        "routed": summary.routed_by_agent.get(name, 0),
        "is_online": place is not None,
        **known,
    }


def _agents(places: Mapping[str, plan.Place], routed: Mapping[str, int]) -> rich.table.Table:
    rows = [
        (
            name,
            routed.get(name, 0),
            place.serving if place else "offline",
            (place.capacity or "unknown") if place else None,
            ("paused" if place.is_paused else place.room) if place else None,
        )
        for name in sorted({*places, *routed})
        for place in [places.get(name)]
    ]
    return terminal.table("agent", "routed", "serves", "of", "room", rows=rows)

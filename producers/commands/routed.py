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

from producers import planning, routing, terminal

if TYPE_CHECKING:
    import rich.console
    import rich.progress


class Talk:
    """A bar on a terminal's stderr while a run lasts, and a line whenever nothing is to be done."""

    def __init__(self, *, is_watching: bool) -> None:
        self._is_watching = is_watching
        self._bar: rich.progress.Progress | None = None

    def show(self, summary: routing.Summary) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                total=summary.routed + summary.left,
                completed=summary.routed,
                told=f"{summary.routed} routed, {summary.open} under way, {summary.left} wait",
            )

    def tell(self, rest: planning.Rest, plan: planning.Plan) -> None:
        """Say why there is nothing to do."""
        terminal.say(_why(rest, plan) + ("; watching" if self._is_watching else ""))

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


def _why(rest: planning.Rest, plan: planning.Plan) -> str:
    match rest:
        case planning.Rest.NOBODY_WAITS:
            return "nobody waits"
        case planning.Rest.NOBODY_ONLINE:
            return f"{plan.count} fans wait, and no agent who may serve them is online"
        case planning.Rest.NO_ROOM:
            return f"{plan.count} fans wait, and nobody has room"
        case planning.Rest.NOT_MOVING:
            return (
                "requests of this run stand in their lane, and nobody takes them: does a worker"
                " run? (kfsession status)"
            )
        case planning.Rest.ALL_SKIPPED:
            return _all_skipped(plan)


def _all_skipped(plan: planning.Plan) -> str:
    whys = collections.Counter(plan.skipped.values())
    told = ", ".join(f"{size} {why}" for why, size in whys.most_common())
    text = f"all {len(plan.fans)} fans whom WeChat shows are left alone ({told})"
    hidden = plan.count - len(plan.fans)
    if hidden <= 0:
        return text
    return (
        f"{text}; it shows only the oldest, so the {hidden} behind them are invisible until these"
        " get a session or leave"
    )


def print_plan(appid: str, plan: planning.Plan, json: bool) -> None:
    """What --dry-run found, as one JSON object or as tables."""
    if terminal.is_json(json):
        terminal.emit(
            {
                "appid": appid,
                "assignments": [
                    {"openid": openid, "kf_account": name} for openid, name in plan.chosen.items()
                ],
                "skipped": [{"openid": openid, "why": why} for openid, why in plan.skipped.items()],
                "left": plan.count - len(plan.chosen),
                "agents": {name: dataclasses.asdict(each) for name, each in plan.places.items()},
            }
        )
        return
    rows = [(openid, name, _since(plan, openid)) for openid, name in plan.chosen.items()]
    rows += [(openid, f"- ({why})", _since(plan, openid)) for openid, why in plan.skipped.items()]
    terminal.show(
        terminal.table("fan", "goes to", "has waited since", rows=rows),
        _agents(plan.places, {}),
        f"{len(plan.chosen)} would be routed, {plan.count - len(plan.chosen)} left",
    )


def _since(plan: planning.Plan, openid: str) -> datetime.datetime | None:
    with contextlib.suppress(ValueError, OverflowError, OSError):  # a year that no calendar has
        if at := plan.fans[openid]:
            return datetime.datetime.fromtimestamp(at, datetime.UTC)
    return None


def print_summary(appid: str, summary: routing.Summary, ended: str, json: bool) -> None:
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


def _agent(summary: routing.Summary, name: str) -> dict[str, Any]:
    place = summary.places.get(name)
    known = dataclasses.asdict(place) if place else {}
    return {
        "routed": summary.routed_by_agent.get(name, 0),
        "is_online": place is not None,
        **known,
    }


def _agents(
    places: Mapping[str, planning.Place], routed: Mapping[str, int]
) -> rich.console.RenderableType:
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

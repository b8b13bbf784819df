"""Takes what was measured and draws two small pictures: the race, and the way to the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.axes
import matplotlib.figure

from ops.bench import latency, race, spread

RACE, LATENCY = "race.png", "latency.png"
_DOTS_AN_INCH = 90
#: The bars of who costs more than this many ms are cut, or the others' could not be seen.
_MOST_MS = 12.0

#: Who is drawn, by the title of each.
Turns = Mapping[str, Sequence[race.Turn]]


def draw_race(file: Path, turns: Turns) -> None:
    """Sessions a second, with the least and the most of the rounds; and what a session costs."""
    figure = matplotlib.figure.Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_speeds(left, turns)
    _draw_costs(right, turns)
    left.invert_yaxis()
    figure.savefig(file, dpi=_DOTS_AN_INCH)


def draw_latency(file: Path, measured: latency.Latencies) -> None:
    """Which share of the escalations reached the server within how many ms."""
    figure = matplotlib.figure.Figure(figsize=(6, 2.8), layout="constrained")
    plot = figure.subplots()
    plot.ecdf(measured.idle, label="nothing else to do")
    plot.ecdf(measured.under_load, label="a batch on all slots")
    plot.set_xscale("log")
    plot.xaxis.set_major_formatter("{x:g}")
    plot.xaxis.set_minor_formatter("")
    plot.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500])
    plot.set_xlabel("ms from submit to the call at the server")
    plot.set_ylabel("share of escalations")
    plot.grid(visible=True, alpha=0.3)
    plot.legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=_DOTS_AN_INCH)


def _draw_speeds(plot: matplotlib.axes.Axes, turns: Turns) -> None:
    speeds = [spread.of(turn.sessions_a_second for turn in each) for each in turns.values()]
    medians = [each.median for each in speeds]
    reach = [
        [each.median - each.least for each in speeds],
        [each.most - each.median for each in speeds],
    ]
    colours = ["C0" if "kfsession" in title else "C7" for title in turns]
    plot.barh(list(turns), medians, xerr=reach, color=colours, ecolor="0.3", capsize=2)
    plot.set_xlabel("sessions a second: median, least, most")


def _draw_costs(plot: matplotlib.axes.Axes, turns: Turns) -> None:
    totals = [0.0] * len(turns)
    for label, colour, cost in _COSTS:
        medians = [spread.of(map(cost, each)).median for each in turns.values()]
        plot.barh(list(turns), medians, left=totals, label=label, color=colour)
        totals = [sum(pair) for pair in zip(totals, medians, strict=True)]
    for place, total in enumerate(totals):
        if total < _MOST_MS:
            plot.text(total, place, f" {total:.1f}", va="center", fontsize=8)
        else:
            told = f"… {total:.1f}"
            plot.text(_MOST_MS, place, told, va="center", fontsize=8, backgroundcolor="w")
    plot.set_xlim(0, _MOST_MS * 1.15)
    plot.set_xlabel("ms of CPU a session, medians")
    plot.legend(loc="upper right", fontsize=8)


_COSTS: tuple[tuple[str, str, Callable[[race.Turn], float]], ...] = (
    ("workers", "C0", lambda turn: turn.worker_cpu_ms),
    ("Valkey", "C3", lambda turn: turn.valkey_cpu_ms),
    ("the API's server", "0.8", lambda turn: turn.server_cpu_ms),
)

"""Takes samples of a soak, and draws them: memory over time, with a mark for each trouble."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.axes
import matplotlib.figure

from ops.chaos.soak import sampling

PICTURE, FIGURES = "soak.png", "soak.json"
_DOTS_AN_INCH = 90
_COLOURS = {"kills": "C3", "freezes": "C0", "cuts": "C2"}

Moments = Sequence[tuple[float, str]]


def write(
    directory: Path,
    settings: dict[str, object],
    samples: Sequence[sampling.Sample],
    moments: Moments,
    *,
    warm_up: float,
) -> None:
    """The picture, and every sample beside it; what is compared after `warm_up` seconds is grey."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(one) for one in samples]
    said = {"settings": settings, "samples": rows, "moments": moments}
    (directory / FIGURES).write_text(json.dumps(said, default=str, indent=1) + "\n")
    figure = matplotlib.figure.Figure(figsize=(10, 6), layout="constrained")
    workers, valkey, live = plots = figure.subplots(3, 1, sharex=True)
    _draw_lines(workers, valkey, live, samples)
    for plot in plots:
        _draw_moments(plot, moments)
        if samples[-1].seconds > warm_up:
            for first, last in sampling.compared(samples, warm_up):
                plot.axvspan(first / 60, last / 60, color="0.93", zorder=0)
        plot.set_ylim(bottom=0)
        plot.grid(visible=True, alpha=0.3)
    workers.legend(handles=workers.lines[:2], loc="center right", fontsize=8)
    valkey.legend(handles=valkey.lines[:2], loc="center right", fontsize=8)
    live.legend(loc="upper right", fontsize=8, ncols=5)
    figure.savefig(directory / PICTURE, dpi=_DOTS_AN_INCH)


def _draw_lines(
    workers: matplotlib.axes.Axes,
    valkey: matplotlib.axes.Axes,
    live: matplotlib.axes.Axes,
    samples: Sequence[sampling.Sample],
) -> None:
    minutes = [one.seconds / 60 for one in samples]
    killed = [float("nan") if one.killed_worker is None else one.killed_worker for one in samples]
    workers.plot(minutes, [one.kept_worker for one in samples], label="never killed")
    workers.plot(minutes, killed, ".", markersize=3, color="C7", label="killed and replaced")
    workers.set_ylabel("worker, MiB")
    valkey.plot(minutes, [one.valkey_rss for one in samples], label="resident")
    valkey.plot(minutes, [one.valkey_used for one in samples], label="used_memory")
    valkey.set_ylabel("Valkey, MiB")
    live.plot(minutes, [one.live for one in samples], color="0.4", label="live requests")
    live.plot(minutes, [one.doorbells for one in samples], color="C1", label="doorbells")
    live.set_ylabel("requests, messages")
    live.set_xlabel("minutes")


def _draw_moments(plot: matplotlib.axes.Axes, moments: Moments) -> None:
    """A mark at the foot of the picture for each."""
    for name, colour in _COLOURS.items():
        at = [seconds / 60 for seconds, what in moments if what == name]
        foot = [0.03] * len(at)
        plot.plot(at, foot, "|", color=colour, transform=plot.get_xaxis_transform(), label=name)

"""Runs the comparison: `python -m ops.bench`, on a machine that does nothing else.

Contenders do the same work against the same server, in rounds; then come latency and submitting.
Prints tables, and, when all of it ran in full, writes them with their pictures into this directory.
Exit status 1 when a figure was missed, or some work was not done as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
import tempfile
import time
from pathlib import Path

from ops.bench import charts, judging, latency, machine, race, report, serving, submitting
from ops.bench.contenders import contender, entries
from ops.chaos import children, trial

#: Fewest rounds that a page may quote.
_ROUNDS = 5
_LATENCY, _SUBMITTING = "latency", "submitting"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write, judge."""
    given = _parser().parse_args(arguments)
    trial.show_settings(argparse.Namespace(**{**vars(given), "only": " ".join(given.only)}))
    contenders = [one for one in entries.racers(given.scale) if one.name in given.only]
    started = time.monotonic()
    try:
        measured = _measure(given, contenders)
    except (race.WorkNotDone, trial.TooLate) as error:
        print(f"the work was not done: {error}", file=sys.stderr)
        return 1
    trial.show(
        sessions=sum(turn.sessions for turns in measured.turns.values() for turn in turns),
        minutes=f"{(time.monotonic() - started) / 60:.1f}",
    )
    judged = judging.judge(measured) if given.scale >= 1 else []
    figures = _figures(given, contenders, measured, judged)
    print(figures)
    is_complete = given.scale >= 1 and given.rounds >= _ROUNDS and set(given.only) == set(_names())
    if directory := given.output or (report.PAGE.parent if is_complete else None):
        _write(directory, contenders, measured, figures)
    return int(any(not verdict.is_reached for verdict in judged))


def _measure(given: argparse.Namespace, contenders: list[contender.Contender]) -> judging.Measured:
    with contextlib.ExitStack() as end:
        end.enter_context(trial.ended_by_signals())
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="kfsession-bench-")))
        some = end.enter_context(children.Children(folder))
        server = end.enter_context(
            contextlib.closing(serving.Server(some, latency_ms=given.latency_ms))
        )
        field = contender.Field(directory=folder, some=some, server=server)
        rates = latencies = None
        if _SUBMITTING in given.only:
            rates = submitting.measure(field, rounds=given.rounds, scale=given.scale)
        if _LATENCY in given.only:
            latencies = latency.measure(field, scale=given.scale)
        turns = _race(field, contenders, rounds=given.rounds)
    return judging.Measured(turns=turns, latencies=latencies, rates=rates)


def _race(
    field: contender.Field, contenders: list[contender.Contender], *, rounds: int
) -> dict[str, list[race.Turn]]:
    with contextlib.ExitStack() as end:
        for one in contenders:
            end.callback(one.close)
            race.start(one, field)
        return race.run(contenders, field.server, rounds=rounds, show=_show_turn)


def _show_turn(number: int, one: contender.Contender, turn: race.Turn) -> None:
    cpu = f"{turn.worker_cpu_ms:.2f} + {turn.valkey_cpu_ms:.2f} + {turn.server_cpu_ms:.2f} ms"
    trial.show(
        **{f"{number + 1} {one.name}": f"{turn.sessions_a_second:8.1f} sessions/s, CPU {cpu}"}
    )


def _figures(
    given: argparse.Namespace,
    contenders: list[contender.Contender],
    measured: judging.Measured,
    judged: list[judging.Verdict],
) -> str:
    """What the page says, and the terminal."""
    paragraphs = [
        f"Machine: {machine.hardware()}. Versions: {machine.versions()}.",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {given.rounds} rounds; the server answers"
        f" after {given.latency_ms:g} ms. Figures are the median of the rounds (least–most).",
    ]
    if given.scale < 1:
        paragraphs.append(f"A scale of {given.scale:g} shows that it runs; it judges nothing.")
    if judged:
        paragraphs.append(report.verdicts(judged))
    if contenders:
        paragraphs.append(report.costs(contenders, measured.turns))
        paragraphs.append(f"![Sessions a second and CPU a session]({charts.RACE})")
    if measured.latencies:
        paragraphs.append(f"![From submit to the call]({charts.LATENCY})")
    return "\n\n".join(paragraphs)


def _write(
    directory: Path,
    contenders: list[contender.Contender],
    measured: judging.Measured,
    figures: str,
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / report.PAGE.name).write_text(report.page(directory, figures))
    if contenders:
        turns = {one.title: measured.turns[one.name] for one in contenders}
        charts.draw_race(directory / charts.RACE, turns)
    if measured.latencies:
        charts.draw_latency(directory / charts.LATENCY, measured.latencies)


def _names() -> list[str]:
    return [*(one.name for one in entries.racers(1)), _LATENCY, _SUBMITTING]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="less than 1: less work, nothing is judged"
    )
    parser.add_argument("--only", nargs="+", choices=_names(), default=_names(), metavar="NAME")
    parser.add_argument("--latency-ms", type=float, default=50.0, help="of the server")
    parser.add_argument("--output", type=Path, help="write there, however little was run")
    return parser


if __name__ == "__main__":
    sys.exit(main())

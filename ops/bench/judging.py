"""Takes what was measured and hands on the figures that are asked for, each reached or missed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from ops.bench import latency, race, spread, submitting

#: Least that the first's sessions a second are by those of the second.
_SPEEDS = (
    ("batch", "bare", 1.0),
    ("batch", "celery-threads", 4.0),
    ("batch", "celery-prefork", 1.0),
    ("batch", "rq", 1.0),
    ("batch", "rq-pool", 1.0),
    ("batch", "dramatiq", 1.0),
    ("escalation", "celery-threads", 2.0),
    ("batch-2", "batch", 1.6),
)
#: Most that the CPU of a batch session is by that of the bare loop's.
_MOST_CPU = 1.1
#: Most ms from submit to call, and the percentile that is meant.
_MOST_IDLE_MS = {50: 10, 99: 50}
_MOST_LOADED_MS = {99: 250}
#: Least requests a second of `submit_many`, and by those of `.delay()`.
_LEAST_SUBMITS, _LEAST_BY_DELAY = 10_000, 8
#: Most memory of a worker process, and most that it may grow after the first round.
_MOST_MIB, _MOST_GROWTH_PERCENT = 120, 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything of one run; what was left out is empty or None."""

    turns: Mapping[str, Sequence[race.Turn]]
    latencies: latency.Latencies | None = None
    rates: submitting.Rates | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One figure, what is asked of it, and how it came out."""

    name: str
    asked: str
    told: str
    is_reached: bool


def judge(measured: Measured) -> list[Verdict]:
    """The figures that this run has, in the order in which they are asked for."""
    return [
        *_speeds(measured.turns),
        *_cpu(measured.turns),
        *(_latencies(measured.latencies) if measured.latencies else ()),
        *(_submits(measured.rates) if measured.rates else ()),
        *_memory(measured.turns.get("batch", ())),
    ]


def _speeds(turns: Mapping[str, Sequence[race.Turn]]) -> Iterator[Verdict]:
    for one, other, least in _SPEEDS:
        if one in turns and other in turns:
            ratio = spread.of_ratios(
                (turn.sessions_a_second for turn in turns[one]),
                (turn.sessions_a_second for turn in turns[other]),
            )
            yield _at_least(f"sessions/s, {one} : {other}", least, ratio.median, ratio.told(2))


def _cpu(turns: Mapping[str, Sequence[race.Turn]]) -> Iterator[Verdict]:
    if "batch" in turns and "bare" in turns:
        ratio = spread.of_ratios(
            (turn.worker_cpu_ms for turn in turns["batch"]),
            (turn.worker_cpu_ms for turn in turns["bare"]),
        )
        name = "CPU of the workers a session, batch : bare"
        yield _at_most(name, _MOST_CPU, ratio.median, ratio.told(2))
        whole = spread.of_ratios(
            (turn.worker_cpu_ms + turn.valkey_cpu_ms for turn in turns["batch"]),
            (turn.worker_cpu_ms for turn in turns["bare"]),
        )
        yield _at_most("the same with Valkey's", _MOST_CPU, whole.median, whole.told(2))


def _latencies(measured: latency.Latencies) -> Iterator[Verdict]:
    for when, figures, bounds in (
        ("idle", measured.idle, _MOST_IDLE_MS),
        ("beside a batch on all slots", measured.under_load, _MOST_LOADED_MS),
    ):
        for percent, most_ms in bounds.items():
            value = spread.percentile(figures, percent)
            name = f"ms from submit to call, {when}, p{percent}"
            yield _at_most(name, most_ms, value, f"{value:.1f}")


def _submits(rates: submitting.Rates) -> Iterator[Verdict]:
    found = spread.of(rates.submit_many)
    yield _at_least("submit_many, requests/s", _LEAST_SUBMITS, found.median, found.told(0))
    ratio = spread.of_ratios(rates.submit_many, rates.delay)
    yield _at_least(
        "requests/s, submit_many : .delay()", _LEAST_BY_DELAY, ratio.median, ratio.told(1)
    )


def _memory(turns: Sequence[race.Turn]) -> Iterator[Verdict]:
    if turns:
        mib = [turn.rss_bytes / 2**20 for turn in turns]
        told = ", ".join(f"{each:.1f}" for each in mib)
        yield _at_most("MiB of a batch worker, after each round", _MOST_MIB, max(mib), told)
        percent = 100 * (mib[-1] / mib[0] - 1)
        name = "its growth after the first round, in %"
        yield _at_most(name, _MOST_GROWTH_PERCENT, percent, f"{percent:.1f}")


def _at_least(name: str, least: float, value: float, told: str) -> Verdict:
    return Verdict(name=name, asked=f"≥ {least:,g}", told=told, is_reached=value >= least)


def _at_most(name: str, most: float, value: float, told: str) -> Verdict:
    return Verdict(name=name, asked=f"≤ {most:,g}", told=told, is_reached=value <= most)

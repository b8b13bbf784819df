"""Takes what was measured and how it was judged, and hands on tables and the page they stand on.

The page, `README.md`, is kept by hand, but for what stands between two marks: that is written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.bench import judging, race, spread
from ops.bench.contenders import contender

PAGE = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- figures: `python -m ops.bench` writes them -->", "<!-- end of figures -->"


def verdicts(judged: Sequence[judging.Verdict]) -> str:
    """The figures that are asked for, a row each."""
    rows = [
        (each.name, each.asked, each.told, "reached" if each.is_reached else "**MISSED**")
        for each in judged
    ]
    return _table(("figure", "asked", "measured", ""), rows)


def costs(
    contenders: Sequence[contender.Contender], turns: Mapping[str, Sequence[race.Turn]]
) -> str:
    """What a session took with each contender, a row each."""
    rows = [(one.title, f"{one.sessions:,}", *_costs(turns[one.name])) for one in contenders]
    heads = ("contender", "sessions a round", "sessions/s", "CPU ms a session: workers")
    return _table((*heads, "its Valkey", "the server", "MiB of its workers"), rows)


def page(directory: Path, figures: str) -> str:
    """The page in this directory, or where there is none ours, with these figures."""
    here = directory / PAGE.name
    before, begin, rest = (here if here.exists() else PAGE).read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{here}: must hold the marks {_BEGIN} and {_END}")
    return f"{before}{begin}\n\n{figures}\n\n{end}{after}"


def _costs(turns: Sequence[race.Turn]) -> tuple[str, ...]:
    return (
        spread.of(turn.sessions_a_second for turn in turns).told(0),
        spread.of(turn.worker_cpu_ms for turn in turns).told(2),
        spread.of(turn.valkey_cpu_ms for turn in turns).told(2),
        spread.of(turn.server_cpu_ms for turn in turns).told(2),
        f"{turns[-1].rss_bytes / 2**20:,.0f}",
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

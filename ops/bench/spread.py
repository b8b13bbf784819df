"""Takes the same figure of several rounds and hands on its median, its least and its most."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """A figure as it came out in several rounds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """What is quoted."""
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        """The smallest of the rounds."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """The largest of the rounds."""
        return max(self.rounds)

    def told(self, digits: int) -> str:
        """`median (least–most)` with so many decimals; the median alone of a single round."""
        quoted = f"{self.median:,.{digits}f}"
        if len(self.rounds) == 1:
            return quoted
        return f"{quoted} ({self.least:,.{digits}f}–{self.most:,.{digits}f})"


def of(figures: Iterable[float]) -> Spread:
    """The spread of at least one figure."""
    return Spread(tuple(figures))


def of_ratios(above: Iterable[float], below: Iterable[float]) -> Spread:
    """Round by round one figure by the other: what slows a machine down slows both of a pair."""
    return of(over / under for over, under in zip(above, below, strict=True))


def percentile(figures: Sequence[float], percent: float) -> float:
    """The least of the figures that at least so many percent do not exceed (nearest rank)."""
    rank = -(-len(figures) * percent // 100)
    return sorted(figures)[max(0, int(rank) - 1)]

"""Takes measured figures with their bounds, prints them, and says whether all were reached."""

from __future__ import annotations

from ops.chaos import trial


class Figures:
    """The figures of one benchmark."""

    def __init__(self) -> None:
        self._is_missed = False

    @property
    def exit_status(self) -> int:
        """1 when a figure was missed."""
        return int(self._is_missed)

    def at_most(self, name: str, value: float, most: float) -> None:
        """Print a figure that must not be above `most`."""
        self._judge(name, value, f"at most {most:.6g}", is_reached=value <= most)

    def at_least(self, name: str, value: float, least: float) -> None:
        """Print a figure that must not be below `least`."""
        self._judge(name, value, f"at least {least:.6g}", is_reached=value >= least)

    def _judge(self, name: str, value: float, bound: str, *, is_reached: bool) -> None:
        self._is_missed |= not is_reached
        trial.show(**{name: f"{value:.6g} ({bound}){'' if is_reached else '  MISSED'}"})

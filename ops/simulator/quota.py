"""Receives each call of an account; hands on whether it is within the limits a minute and a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ops.simulator import replies, scenario

#: What quota/get says where the scenario sets no daily limit.
GENEROUS_PER_DAY = 5_000_000


class Quota:
    """The calls of one account, by path; windows are whole minutes and days of the clock."""

    def __init__(self, limits: scenario.Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._window = (0, 0)
        self._minute: Counter[str] = Counter()
        self._day: Counter[str] = Counter()

    def spend(self, path: str) -> None:
        """Count one call; refuses with 45009 or 45011, and a refused call costs nothing."""
        self._roll()
        if path in self._limits.paths:
            if self._limits.per_day and self._day[path] >= self._limits.per_day:
                raise replies.Refused(45009)
            if self._limits.per_minute and self._minute[path] >= self._limits.per_minute:
                raise replies.Refused(45011)
        self._minute[path] += 1
        self._day[path] += 1

    def report(self, path: str) -> dict[str, object]:
        """What quota/get says about one path."""
        self._roll()
        is_limited = path in self._limits.paths
        daily = (self._limits.per_day if is_limited else 0) or GENEROUS_PER_DAY
        used = self._day[path]
        said: dict[str, object] = {
            "quota": {"daily_limit": daily, "used": used, "remain": max(0, daily - used)}
        }
        if is_limited and self._limits.per_minute:
            said["rate_limit"] = {"call_count": self._limits.per_minute, "refresh_second": 60}
        return said

    def _roll(self) -> None:
        now = self._clock()
        minute, day = int(now // 60), int(now // 86400)
        if minute != self._window[0]:
            self._minute.clear()
        if day != self._window[1]:
            self._day.clear()
        self._window = (minute, day)

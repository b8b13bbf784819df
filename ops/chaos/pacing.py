"""Sends escalations at an even pace, and hands on how long each took from submit to session."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from ops.chaos import site, trial
from worker.contract import record

#: Who is there all the time.
AGENT = "dora@hbshop"
#: How much longer somebody may take beside trouble that is not theirs: twice, or so many ms.
_MOST_RATIO, _MOST_MS = 2.0, 50.0
#: How long the last of a part may take, in seconds.
_PATIENCE_SECONDS = 90.0
_CREATE = "/customservice/kfsession/create"


@dataclasses.dataclass(frozen=True, slots=True)
class Took:
    """What a part took from submit to session, in ms, shortest first."""

    ms: tuple[float, ...]

    @property
    def p99(self) -> float:
        """99 of 100 took no longer."""
        return self.ms[max(0, round(len(self.ms) * 0.99) - 1)]

    def __str__(self) -> str:
        """The figures of a note."""
        return f"{self.ms[len(self.ms) // 2]:.0f}, {self.p99:.0f}, {self.ms[-1]:.0f}"


class Pacer:
    """One trial's sender."""

    def __init__(self, at: site.Site) -> None:
        self._at = at
        self._sent = 0

    def send(self, **wish: Any) -> str:
        """One escalation, for `AGENT` unless the wish says otherwise; its id."""
        self._sent += 1
        fan = {"openid": trial.openid(self._sent), "appid": trial.APPID, "kf_account": AGENT}
        return self._at.send({**fan, "lane": "escalation", **wish})

    def pace(
        self, seconds: float, rate: float, also: Callable[[int], object] = lambda _: None
    ) -> list[str]:
        """Send so many a second, and whatever `also(number)` sends beside each; their ids."""
        ids, started = [], time.monotonic()
        for number in range(max(1, round(seconds * rate))):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            ids.append(self.send())
            also(number)
        return ids

    def wait_over(self) -> None:
        """Until everybody has an outcome."""
        trial.poll(
            lambda: not self._at.count_live(), seconds=_PATIENCE_SECONDS, what="all of a part end"
        )

    def took(self, part: str, ids: list[str]) -> Took:
        """How long these took, who must all have a session; noted under the name of the part."""
        ms = tuple(sorted(self._took_ms(each) for each in ids))
        found = Took(ms)
        self._at.notes[f"{part}: p50, p99, longest ms"] = str(found)
        return found

    def compare(self, part: str, alone: Took, beside: Took) -> None:
        """Complain where these were harmed, in a run that is not shortened."""
        most = max(_MOST_RATIO * alone.p99, _MOST_MS)
        if self._at.is_whole and beside.p99 > most:
            self._at.complain(f"{part}: p99 {beside.p99:.0f} ms, at most {most:.0f} ms are fine")

    def calls(self) -> list[Mapping[str, Any]]:
        """Every create call so far, by WeChat's book."""
        found: list[Mapping[str, Any]] = self._at.stack.simulator.book(_CREATE)["calls"]
        return found

    def _took_ms(self, request_id: str) -> float:
        one = self._at.stack.reader.get(request_id)
        if one is None or one.status is not record.Status.CREATED or one.finished_at is None:
            self._at.complain(f"{request_id} is {one and (one.status, one.reason)}")
            return float("inf")
        return round((one.finished_at - one.submitted_at).total_seconds() * 1000)

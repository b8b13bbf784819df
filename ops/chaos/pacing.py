"""Sends requests, at an even pace or at once, and hands on how long each took to its session."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
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
    """One trial's sender for one account; each request is of a new fan."""

    def __init__(self, at: site.Site, appid: str = trial.APPID) -> None:
        self.appid = appid
        self._at = at
        self._sent = 0

    def wish(self, **fields: Any) -> dict[str, Any]:
        """What to send next: an escalation for `AGENT` unless the fields say otherwise."""
        self._sent += 1
        fan = {"openid": trial.openid(self._sent), "appid": self.appid, "kf_account": AGENT}
        return {**fan, "lane": "escalation", **fields}

    def send(self, **fields: Any) -> str:
        """One request; its id."""
        return self.send_many(1, **fields)[0]

    def send_many(self, count: int, **fields: Any) -> list[str]:
        """So many at once; their ids."""
        return self._at.submit([self.wish(**fields) for _ in range(count)])

    def pace(
        self,
        seconds: float,
        rate: float,
        also: Callable[[int], object] = lambda _: None,
        **fields: Any,
    ) -> list[str]:
        """Send so many a second, and do `also(number)` beside each; their ids."""
        ids, started = [], time.monotonic()
        for number in range(max(1, round(seconds * rate))):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            ids.append(self.send(**fields))
            also(number)
        return ids

    def wait_over(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Until everybody has an outcome, of all accounts; raises TooLate."""
        trial.poll(lambda: not self._at.count_live(), seconds=seconds, what="all of a part end")

    def took(self, part: str, ids: Sequence[str]) -> Took:
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


def wait_ended(at: site.Site, ids: Sequence[str], seconds: float, what: str) -> None:
    """Until these all have an outcome; complains where they have not in time."""
    left = list(ids)

    def is_over() -> bool:
        while left and (one := at.stack.reader.get(left[-1])) and one.status in record.FINAL:
            left.pop()
        return not left

    try:
        trial.poll(is_over, seconds=seconds, what=what, every=0.1)
    except trial.TooLate as error:
        at.complain(str(error))


def lasted_seconds(at: site.Site, ids: Sequence[str]) -> float:
    """From the first submit of these to the last end; raises where one has none."""
    records = [at.stack.reader.get(each) for each in ids]
    ends = [one.finished_at for one in records if one and one.finished_at]
    starts = [one.submitted_at for one in records if one]
    if len(ends) < len(ids):
        raise trial.TooLate(f"{len(ids) - len(ends)} of {len(ids)} requests have no outcome")
    return (max(ends) - min(starts)).total_seconds()

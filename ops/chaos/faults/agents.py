"""Agents who are online by the list, and 65415 by the call.

Fans of a healthy agent come at an even pace, first alone, then beside fans whose ladder, or whose
`any`, leads over such liars. A call takes half a second, so that a walk is long.
"""

from __future__ import annotations

import collections

from ops.chaos import fault, pacing, site
from worker.contract import record

#: Fans of a healthy agent a second, and for how many seconds in each part.
_RATE, _SECONDS = 5, 60.0
_WARM_SECONDS = 3.0
_CALL_MS = 500.0
#: A fan who must be asked about comes with every third of these.
_SHARE = 3
#: How long after its deadline a request may end: a call, and a tick of the waiting room.
_MOST_LATE_SECONDS = _CALL_MS / 1000 + 1.0
#: How often a fan may be woken to find another one of them out.
_WAKES = 10
_LIARS = [f"liar{number:02d}@hbshop" for number in range(1, 61)]
#: Who else is there.
_OTHER = "emil@hbshop"
_LADDER = [*_LIARS[:8], pacing.AGENT, _OTHER]


class Lies(fault.Tool):
    """The course of a row: a strike goes through both of its parts.

    `targets` are those of the fans beside the healthy agent's; `ends_well` says whether anybody of
    these is there.
    """

    def __init__(self, targets: list[str], *, ends_well: bool) -> None:
        self._targets = targets
        self._ends_well = ends_well
        self._beside: list[str] = []

    def strike(self, at: site.Site) -> None:
        """Healthy fans alone, then beside those for whom liars are asked."""
        at.mark()
        pacer = pacing.Pacer(at)
        pacer.pace(at.scaled(_WARM_SECONDS), _RATE)
        pacer.wait_over()
        ids = pacer.pace(at.scaled(_SECONDS), _RATE)
        pacer.wait_over()
        alone = pacer.took("alone", ids)
        before = len(pacer.calls())
        ids = pacer.pace(at.scaled(_SECONDS), _RATE, lambda number: self._ask(pacer, number))
        pacer.wait_over()
        pacer.compare("beside", alone, pacer.took("beside", ids))
        calls = [each for each in pacer.calls()[before:] if each["kf_account"] in _LIARS]
        self._judge(at, [str(each["openid"]) for each in calls])

    def _ask(self, pacer: pacing.Pacer, number: int) -> None:
        """Every other of them has less time than its walk takes."""
        if number % _SHARE == 0:
            first, *fallbacks = self._targets
            ttl = 2 if number % (2 * _SHARE) else 60
            wish = {"kf_account": first, "fallbacks": fallbacks, "ttl_seconds": ttl}
            self._beside.append(pacer.send(**wish))

    def _judge(self, at: site.Site, wasted: list[str]) -> None:
        """Nobody is asked past its deadline, and who is there is found."""
        late = 0.0
        for request_id in self._beside:
            one = at.stack.reader.get(request_id)
            assert one is not None  # noqa: S101 - it was accepted
            assert one.finished_at is not None  # noqa: S101 - all are over
            late = max(late, (one.finished_at - one.deadline_at).total_seconds())
            is_patient = (one.deadline_at - one.submitted_at).total_seconds() > 10
            if self._ends_well and is_patient and one.status is not record.Status.CREATED:
                at.complain(f"{request_id} is {one.status} ({one.reason})")
        if at.is_whole and late > _MOST_LATE_SECONDS:
            at.complain(f"somebody ended {late:.1f} s after the deadline")
        of_one = collections.Counter(wasted)
        most = max(of_one.values(), default=0)
        if most > len(_LIARS) + _WAKES:
            at.complain(f"liars were asked {most} times for one fan")
        at.notes["longest after a deadline, seconds"] = round(late, 2)
        at.notes[f"calls to liars for {len(self._beside)} fans"] = len(wasted)
        at.notes["calls to liars for one fan, at most"] = most


def scenario_of(*names: str) -> str:
    """A WeChat that knows these agents from the start."""
    return "".join(f'[[agents]]\nkf_account = "{name}"\n' for name in names)


FAULTS = (
    fault.Fault(
        name="agents-lie",
        what="8 of 10 agents of a ladder are in the list and not there",
        tool=lambda: Lies(_LADDER, ends_well=True),
        times=1,
        scenario=scenario_of(*_LADDER),
        latency_ms=_CALL_MS,
        is_idle=True,
        recovery="none",
    ),
    fault.Fault(
        name="any-of-liars",
        what="`any` of 60 agents who are in the list and not there",
        tool=lambda: Lies(["any"], ends_well=False),
        times=1,
        scenario=scenario_of(*_LIARS, pacing.AGENT),
        latency_ms=_CALL_MS,
        is_idle=True,
        recovery="none",
    ),
)

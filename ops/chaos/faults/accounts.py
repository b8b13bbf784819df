"""Accounts that hang, are refused or send a flood, beside accounts that nothing is wrong with.

Each row serves the healthy accounts alone first, then the same requests beside the sick accounts.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from ops.chaos import fault, haste, pacing, site, trial
from worker.contract import record
from worker.ledger import keys

#: Another account than the first one, and twenty of which eight are sick.
_OTHER = "wx9c2d7e5b8a4f1036"
_TWENTY = [trial.APPID, *(f"wx{number:016x}" for number in range(1, 20))]
_CALLING = keys.Keys(site.PREFIX).index(record.Status.CALLING)
#: How long is sent before it counts: what is done only once.
_WARM_SECONDS = 3.0
#: How long the healthy may take beside the sick before that is a complaint, in seconds.
_PATIENCE_SECONDS = 60.0
#: How long a mended account may stay held: the probe of the longest wait. And when we give up.
_PROBE_SECONDS, _GIVEN_UP_SECONDS = 72.0, 1200.0
#: How often the time until the next probe is made to pass, where it is.
_PASS_SECONDS = 0.5


def _hurry(at: site.Site) -> None:
    """Until all have an outcome: the time until the next probe is made to pass."""
    ends = time.monotonic() + _GIVEN_UP_SECONDS
    while at.count_live() and time.monotonic() < ends:
        haste.pass_holds(at.client, site.PREFIX)
        time.sleep(_PASS_SECONDS)


# -- two accounts ---------------------------------------------------------------------------------

#: Calls a worker makes at once, and how many of them one of two live accounts may hold.
_SLOTS, _MOST_SLOTS = 8, 7
#: How long a call of the hanging account takes.
_HANG_SECONDS = 2.0
#: Escalations of the healthy account a second, for how many seconds, and the rows of a batch.
_RATE, _SECONDS, _ROWS = 10, 60.0, 100
#: How much longer a batch may take beside trouble that is not its own: twice, or so many seconds.
_MOST_RATIO, _MOST_MORE_SECONDS = 2.0, 1.0
#: What one of the accounts sends.
_HANGING, _FLOOD = 150, 100_000


class Hangs:
    """No call of the account is answered before its deadline."""

    #: How long it may hold more slots than the one of its probe, and how many from then on.
    settles_seconds, most_slots = 3 * _HANG_SECONDS, 1

    def begin(self, at: site.Site, sick: pacing.Pacer) -> list[str]:
        """Send what hangs."""
        at.stack.simulator.tell("accounts", appid=sick.appid, fault="hang")
        return sick.send_many(_HANGING)

    def end(self, at: site.Site, sick: pacing.Pacer) -> None:
        """Mend the account."""
        at.stack.simulator.tell("accounts", appid=sick.appid, fault="none")


class Floods:
    """The account sends far more than can be served soon."""

    settles_seconds, most_slots = 0.0, _MOST_SLOTS

    def begin(self, at: site.Site, sick: pacing.Pacer) -> list[str]:
        """Send the flood."""
        return sick.send_many(max(1, round(at.scaled(_FLOOD))), lane="batch")

    def end(self, at: site.Site, sick: pacing.Pacer) -> None:
        """Nothing is broken: the flood drains."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """The requests of the healthy account in one part; batches by when they were sent."""

    escalations: Sequence[str]
    batches: Mapping[str, Sequence[str]]

    @property
    def ids(self) -> list[str]:
        """All of them."""
        return [*self.escalations, *itertools.chain.from_iterable(self.batches.values())]


def _send_part(at: site.Site, well: pacing.Pacer, also: Callable[[], object]) -> Part:
    """A batch, escalations at an even pace with `also()` beside each, and half-way a batch more."""
    seconds = at.scaled(_SECONDS)
    batches = {"at once": well.send_many(_ROWS, lane="batch")}

    def beside(number: int) -> None:
        if number == round(seconds * _RATE / 2):
            batches["later"] = well.send_many(_ROWS, lane="batch")
        also()

    return Part(well.pace(seconds, _RATE, beside), batches)


class Beside(fault.Tool):
    """The course of a row: a strike goes through all of its parts."""

    def __init__(self, trouble: Hangs | Floods) -> None:
        self._trouble = trouble
        self._slots: list[tuple[float, int]] = []

    def strike(self, at: site.Site) -> None:
        """The healthy account alone, beside the sick one, and the sick one once it is mended."""
        at.mark()
        well, sick = pacing.Pacer(at, trial.APPID), pacing.Pacer(at, _OTHER)
        for each in (well, sick):
            each.pace(at.scaled(_WARM_SECONDS), _RATE)
        well.wait_over()
        alone = _send_part(at, well, lambda: None)
        well.wait_over()
        ids = set(self._trouble.begin(at, sick))
        since = time.monotonic()
        beside = _send_part(at, well, lambda: self._look_at_slots(at, ids, since))
        pacing.wait_ended(at, beside.ids, _PATIENCE_SECONDS, "all of the healthy account end")
        self._judge_slots(at)
        calls = [each for each in well.calls() if each["appid"] == sick.appid]
        at.notes["create calls of the sick account beside"] = len(calls)
        self._mend(at, sick)
        self._judge(at, well, alone, beside)

    def _look_at_slots(self, at: site.Site, sick: set[str], since: float) -> None:
        calling = at.client.zrange(_CALLING, 0, -1)
        self._slots.append((time.monotonic() - since, len(sick.intersection(map(str, calling)))))

    def _judge_slots(self, at: site.Site) -> None:
        """How many slots the sick account held, at first and after it was held itself."""
        at_first = max((held for _, held in self._slots), default=0)
        at.notes["slots that the sick account held, at most"] = at_first
        if at_first > _MOST_SLOTS:
            at.complain(f"the sick account held {at_first} of {_SLOTS} slots")
        later = [held for moment, held in self._slots if moment > self._trouble.settles_seconds]
        at.notes["and once that had settled"] = max(later, default=0)
        if at.is_whole and max(later, default=0) > self._trouble.most_slots:
            at.complain(f"the sick account went on to hold {max(later)} of {_SLOTS} slots")

    def _mend(self, at: site.Site, sick: pacing.Pacer) -> None:
        since = time.monotonic()
        self._trouble.end(at, sick)
        if at.is_whole:
            sick.wait_over(_GIVEN_UP_SECONDS)
        else:
            _hurry(at)
        seconds = time.monotonic() - since
        at.notes["all of the sick account ended after seconds"] = round(seconds, 1)
        if at.is_whole and isinstance(self._trouble, Hangs) and seconds > _PROBE_SECONDS:
            at.complain(f"the mended account took {seconds:.0f} s")

    def _judge(self, at: site.Site, well: pacing.Pacer, alone: Part, beside: Part) -> None:
        took = well.took("alone", alone.escalations)
        well.compare("beside", took, well.took("beside", beside.escalations))
        for when in alone.batches:
            usual = pacing.lasted_seconds(at, alone.batches[when])
            harmed = pacing.lasted_seconds(at, beside.batches[when])
            at.notes[f"batch of {_ROWS} sent {when}: seconds alone, beside"] = f"{usual}, {harmed}"
            most = max(_MOST_RATIO * usual, usual + _MOST_MORE_SECONDS)
            if when == "at once":
                most += self._trouble.settles_seconds
            if at.is_whole and harmed > most:
                at.complain(f"the batch sent {when} took {harmed} s, at most {most:.1f} s are fine")


# -- twenty accounts ------------------------------------------------------------------------------

#: How the first eight of the twenty are sick, and how many requests of each wait for that to end.
_SICK: Mapping[str, Mapping[str, object]] = {
    "hangs": {"fault": "hang"},
    "hangs too": {"fault": "hang"},
    "may not use the API": {"errcode": 48001},
    "is limited": {"errcode": 50002},
    "its token is invalid": {"errcode": 40001},
    "its token is expired": {"errcode": 42001},
}
_MENDED: Mapping[str, object] = {"fault": "none", "errcode": 0}
_WAITING = 50
_FLOODING, _FLOOD_ROWS = 2, 5_000
#: What each of the others sends.
_ESCALATIONS, _BATCH_ROWS = 450, 150
#: Slots of each of two workers; a call takes so long that slots are short, and not the processor.
_SICK_SLOTS, _SICK_CALL_MS = 16, 200.0
#: How much longer the twelve may take, in a run that is not shortened.
_MOST_LONGER = 1.1
#: For how long the calls of the sick are counted, and how many an account may make in a minute.
_COUNTED_SECONDS, _MOST_CALLS_A_MINUTE = 240.0, 3


class Sick(fault.Tool):
    """The course of `accounts-sick`: a strike goes through both of its parts."""

    def strike(self, at: site.Site) -> None:
        """The twelve alone, then beside the eight until the calls of these are counted."""
        at.mark()
        pacers = [pacing.Pacer(at, each) for each in _TWENTY]
        sick, well = pacers[: len(_SICK)], pacers[len(_SICK) + _FLOODING :]
        for each in pacers:
            each.send()
        well[0].wait_over()
        alone = _send_all(at, well)
        pacing.wait_ended(at, alone, _PATIENCE_SECONDS + _COUNTED_SECONDS, "the twelve end alone")
        began = time.time()
        for each, fields in zip(sick, _SICK.values(), strict=True):
            at.stack.simulator.tell("accounts", appid=each.appid, **fields)
            each.send_many(_WAITING)
        for each in pacers[len(_SICK) :][:_FLOODING]:
            each.send_many(max(1, round(at.scaled(_FLOOD_ROWS))), lane="batch")
        beside = _send_all(at, well)
        patience = at.scaled(_COUNTED_SECONDS) + _PATIENCE_SECONDS
        pacing.wait_ended(at, beside, patience, "the twelve end beside the sick")
        time.sleep(max(0.0, began + at.scaled(_COUNTED_SECONDS) - time.time()))
        _judge_calls(at, sick, began)
        for each in sick:
            at.stack.simulator.tell("accounts", appid=each.appid, **_MENDED)
        _hurry(at)
        _judge_twelve(at, alone, beside)


def _send_all(at: site.Site, pacers: Sequence[pacing.Pacer]) -> list[str]:
    """What each of these sends, of all by turns."""

    def wishes(count: int, lane: str) -> Iterator[dict[str, object]]:
        for _ in range(max(1, round(at.scaled(count)))):
            yield from (each.wish(lane=lane) for each in pacers)

    return at.submit([*wishes(_ESCALATIONS, "escalation"), *wishes(_BATCH_ROWS, "batch")])


def _judge_calls(at: site.Site, sick: Sequence[pacing.Pacer], began: float) -> None:
    """Create calls that could not succeed, by WeChat's book."""
    minutes = (time.time() - began) / 60
    calls = [each for each in sick[0].calls() if each["at"] >= began * 1000]
    of_account = collections.Counter(each["appid"] for each in calls)
    for each, what in zip(sick, _SICK, strict=True):
        count = of_account[each.appid]
        at.notes[f"create calls in {minutes:.1f} minutes: {what}"] = count
        if at.is_whole and count > _MOST_CALLS_A_MINUTE * minutes:
            at.complain(f"{count} calls in {minutes:.1f} minutes of an account that {what}")


def _judge_twelve(at: site.Site, alone: Sequence[str], beside: Sequence[str]) -> None:
    usual, harmed = pacing.lasted_seconds(at, alone), pacing.lasted_seconds(at, beside)
    at.notes[f"{len(alone)} requests of the twelve: seconds alone, beside"] = f"{usual}, {harmed}"
    at.notes["so many times as long"] = round(harmed / usual, 3)
    if at.is_whole and harmed > _MOST_LONGER * usual:
        at.complain(f"the twelve took {harmed / usual:.2f} times as long beside the sick")


FAULTS = (
    fault.Fault(
        name="account-hangs",
        what="no call of one of two accounts is answered",
        tool=lambda: Beside(Hangs()),
        times=1,
        more_appids=(_OTHER,),
        knobs={"concurrency": _SLOTS, "call_timeout_seconds": _HANG_SECONDS},
        workers=1,
        is_idle=True,
        recovery="none",
    ),
    fault.Fault(
        name="account-floods",
        what="one of two accounts sends 100,000 rows at once",
        tool=lambda: Beside(Floods()),
        times=1,
        more_appids=(_OTHER,),
        knobs={"concurrency": _SLOTS},
        workers=1,
        is_idle=True,
        recovery="none",
    ),
    fault.Fault(
        name="accounts-sick",
        what="8 of 20 accounts hang, are refused, have dead tokens or send a flood",
        tool=Sick,
        times=1,
        more_appids=_TWENTY[1:],
        latency_ms=_SICK_CALL_MS,
        knobs={"concurrency": _SICK_SLOTS, "call_timeout_seconds": _HANG_SECONDS},
        workers=2,
        is_idle=True,
        recovery="none",
    ),
)

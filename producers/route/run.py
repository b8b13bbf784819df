"""Takes WeChat's queue of waiting fans and submits a request for each who has an agent with room.

WeChat shows the oldest 100 and no next page, so a run is a loop: look, submit, wait until these
have their sessions, look again. Nothing is remembered between runs: one live request a fan, and ten
minutes of rest after it, keep a fan from being given away twice, however often a run is ended.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from producers import interrupts, producer
from producers.route import plan, spread, standing, tally
from worker import errors
from worker.contract import record, request
from worker.ledger import reader

if TYPE_CHECKING:
    from producers.route import view

#: How many fans are submitted at once: they share a doorbell, so one slot serves them in turn.
DOORBELL_FANS = 5
#: The life of a request for one agent and no other, in seconds: nobody shall be stranded.
LONELY_TTL_SECONDS = 600.0
#: Shortest and longest pause between two looks at the ledger, in seconds.
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.1, 1.0


class Looks(Protocol):
    """Who can tell what WeChat shows: `view.WeChat`, or a test's."""

    def look(self) -> view.View:
        """Read the waiting fans and the online agents."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to so far; fans it saw, requests it made, and who still waits at WeChat."""

    seen: int
    #: Fans who have a session by a request of this run.
    routed: int
    failed: int
    expired: int
    cancelled: int
    #: Requests that are not over: they go on in the workers.
    open: int
    #: Fans for whom this run made no request, by why.
    skipped: Mapping[str, int]
    left: int
    routed_by_agent: Mapping[str, int]
    places: Mapping[str, plan.Place]


class Router:
    """One run over one account's queue."""

    def __init__(
        self,
        wechat: Looks,
        producing: producer.SessionProducer,
        appid: str,
        capacities: spread.Capacities,
        *,
        interval_seconds: float,
        signals: interrupts.Signals,
        on_change: Callable[[Summary], None] = lambda _: None,
        on_rest: Callable[[plan.Rest, plan.Plan], None] = lambda *_: None,
    ) -> None:
        self._wechat = wechat
        self._producing = producing
        self._appid = appid
        self._capacities = capacities
        self._interval_seconds = interval_seconds
        self._signals = signals
        self._on_change = on_change
        self._on_rest = on_rest
        self._planner = plan.Planner(appid, capacities)
        self._tally = tally.Tally(appid)
        self._skipped: dict[str, standing.Why] = {}
        self._left = self._routed_before = 0
        self._places: Mapping[str, plan.Place] = {}

    def run(self, *, forever: bool = False) -> plan.Rest:
        """Route until there is nothing more to do; with `forever`, until somebody interrupts.

        Raises AccountPaused, a class of WeChatError, TokenUnavailable or LedgerUnavailable; in any
        case `finish` tells what was done.
        """
        told: plan.Rest | None = None
        while True:
            planned = self.look()
            self._submit(planned)
            rest = planned.rest
            if rest and self._has_queued():
                rest = plan.Rest.NOT_MOVING
            if rest and rest is not told:
                self._on_rest(rest, planned)
            if rest and not forever:
                return rest
            told = rest or told
            self._wait(until_settled=bool(planned.chosen))

    def look(self) -> plan.Plan:
        """Read WeChat and the ledger, and decide who goes to whom."""
        with self._producing.reading() as reads:
            began = reads.now()
        seen = self._wechat.look()
        with self._producing.reading() as reads:
            self._refresh(reads)
            planned = self._planner.plan(seen, reads, began=began, ours=self._tally.live)
        self._note(planned)
        return planned

    def summary(self) -> Summary:
        """What this run came to so far."""
        ended = self._tally.ended
        routed = self._routed()
        return Summary(
            seen=len(self._skipped.keys() | self._tally.openids),
            routed=routed,
            failed=ended[record.Status.FAILED],
            expired=ended[record.Status.EXPIRED],
            cancelled=ended[record.Status.CANCELLED],
            open=self._tally.open,
            skipped=collections.Counter(
                why for openid, why in self._skipped.items() if openid not in self._tally.openids
            ),
            left=max(0, self._left - (routed - self._routed_before)),
            routed_by_agent=dict(sorted(self._tally.routed.items())),
            places=self._places,
        )

    def finish(self) -> Summary:
        """The summary of a run that was broken off, brought up to date if the ledger answers."""
        with contextlib.suppress(errors.LedgerUnavailable), self._producing.reading() as reads:
            self._tally.refresh(reads)
        return self.summary()

    def _has_queued(self) -> bool:
        """Whether requests of this run still wait for a worker."""
        return any(one.status is record.Status.QUEUED for one in self._tally.live)

    # -- doing -------------------------------------------------------------------------------------

    def _submit(self, planned: plan.Plan) -> None:
        if not planned.chosen:
            return
        rest = iter(planned.chosen.items())
        while some := list(itertools.islice(rest, DOORBELL_FANS)):
            with self._signals.held():
                self._submit_some(some)
        self._on_change(self.summary())

    def _submit_some(self, chosen: list[tuple[str, str]]) -> None:
        results = self._producing.submit_many([self._wish(*each) for each in chosen])
        for (openid, _), result in zip(chosen, results, strict=True):
            if isinstance(result, request.InvalidRequest):  # the account: all else was checked
                raise result
            if result.how == "new":
                self._tally.add(openid, result.id)
            else:  # somebody was faster
                self._skipped[openid] = standing.Why.LIVE_REQUEST

    def _wish(self, openid: str, kf_account: str) -> dict[str, object]:
        wish: dict[str, object] = {
            "appid": self._appid,
            "openid": openid,
            "kf_account": kf_account,
            "lane": request.Lane.BATCH,
        }
        if self._capacities.are_kept_by_workers:
            return {**wish, "fallbacks": [request.ANY]}
        return {**wish, "ttl_seconds": LONELY_TTL_SECONDS}

    def _wait(self, *, until_settled: bool) -> None:
        """For an interval; `until_settled`: no longer than until every request has its end."""
        ends = time.monotonic() + self._interval_seconds
        pause = _FIRST_LOOK_SECONDS
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, _LAST_LOOK_SECONDS)
            with self._producing.reading() as reads:
                self._refresh(reads)
                if until_settled and self._tally.is_settled(reads.now()):
                    return

    def _refresh(self, reads: reader.Reader) -> None:
        before = self._tally.open
        with self._signals.held():
            self._tally.refresh(reads)
        if self._tally.open != before:
            self._on_change(self.summary())

    def _note(self, planned: plan.Plan) -> None:
        self._skipped.update(planned.skipped)
        self._left, self._routed_before = planned.count, self._routed()
        self._places = planned.places
        self._on_change(self.summary())

    def _routed(self) -> int:
        return sum(size for status, size in self._tally.ended.items() if status in record.SERVED)

"""Runs one fault from the first request to the audit, and hands on its row of the table."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ops.chaos import audit, fault, ledger_book, load, recovery, site, trial


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard a fault is tried; `scale` shortens long absences, `knobs` are KF_* settings."""

    requests: int
    strikes: int | None
    scale: float
    seed: int
    patience_seconds: float
    knobs: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one fault."""

    of: fault.Fault
    times: int
    requests: int
    findings: audit.Findings
    #: Seconds from a strike until the last request that it met went on; see `recovery`.
    recovery: float | None
    seconds: float
    outcomes: dict[str, int]
    notes: dict[str, object]
    complaints: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether it was tried, and nothing happened that the promises rule out."""
        found = self.findings
        is_tried = self.times > 0 and self.requests > 0
        doubled = found.doubled and not self.of.excuse
        return is_tried and not (found.lost or doubled or found.strays or self.complaints)


def run(of: fault.Fault, plan: Plan) -> Row:
    """Try one fault, and audit what it left, however it ended."""
    with site.Site(
        of, requests=plan.requests, seed=plan.seed, scale=plan.scale, knobs=plan.knobs
    ) as at:
        tool = of.tool()
        tool.prepare(at)
        for _ in range(of.workers):
            at.hire()
        at.wait_ready(of.workers)
        if of.chances:
            at.stack.simulator.tell("faults", **of.chances)
        started, strikes = time.monotonic(), 0
        try:
            with load.Shifts(at.stack.simulator):
                strikes = _load_and_strike(at, tool, plan)
            _wait_over(at, plan)
        except trial.TooLate as error:
            at.complain(str(error))
        seconds = time.monotonic() - started
        at.wait_quiet()
        tool.check(at)
        at.complain_of_crashes()
        ledger = at.read_ledger()
        return Row(
            of=of,
            times=at.times or len(at.struck_at) or strikes,
            requests=len(ledger.records),
            findings=at.examine(ledger),
            recovery=_recovery(at, ledger),
            seconds=round(seconds, 1),
            outcomes=at.stack.outcomes(),
            notes=at.notes,
            complaints=tuple(at.complaints),
        )


def _load_and_strike(at: site.Site, tool: fault.Tool, plan: Plan) -> int:
    """Send the requests in as many portions as there are strikes, one while each is worked on.

    Returns how many strikes there were.
    """
    times = at.fault.times if plan.strikes is None else min(plan.strikes, at.fault.times)
    at.start_loads()
    for number in range(times):
        at.allow(plan.requests * (number + 2) // (times + 1))
        moment = plan.requests * (number + at.chance.random()) / (times + 1)
        trial.poll(
            lambda moment=moment: at.is_time(moment),  # type: ignore[misc]
            seconds=plan.patience_seconds,
            what=f"{moment:.0f} requests have left their lane",
        )
        tool.strike(at)
    at.wait_accepted(plan.patience_seconds)
    return times


def _wait_over(at: site.Site, plan: Plan) -> None:
    trial.poll(
        lambda: not at.count_live(),
        seconds=plan.patience_seconds,
        what="all requests end",
        every=0.1,
    )


def _recovery(at: site.Site, ledger: ledger_book.LedgerBook) -> float | None:
    match at.fault.recovery:
        case "lease":
            return at.leases.longest_lost(ledger.changes)
        case "session":
            return recovery.from_first_call(ledger.changes)
        case "none":
            return None
        case met:
            return recovery.after_strikes(ledger.changes, at.struck_at, met)

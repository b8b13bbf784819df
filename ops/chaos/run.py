"""Runs one fault from the first request to the audit, and hands on its row of the table."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ops.chaos import fault, ledger_book, recovery, site, trial


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

    name: str
    what: str
    times: int
    requests: int
    lost: int
    doubled: int
    strays: int
    #: Seconds from a strike until the last request that it met went on; see `recovery`.
    recovery: float | None
    seconds: float
    outcomes: dict[str, int]
    notes: dict[str, object]
    complaints: tuple[str, ...]
    excuse: str

    @property
    def is_clean(self) -> bool:
        """Whether nothing happened that the promises rule out."""
        counted = 0 if self.excuse else self.lost + self.doubled
        return not (counted or self.strays or self.complaints)


def run(of: fault.Fault, plan: Plan) -> Row:
    """Try one fault; raises TooLate when its requests do not end."""
    with site.Site(
        of, requests=plan.requests, seed=plan.seed, scale=plan.scale, knobs=plan.knobs
    ) as at:
        if of.prepare is not None:
            of.prepare(at)
        for _ in range(of.workers):
            at.hire()
        at.wait_ready(of.workers)
        if of.chances:
            at.stack.simulator.tell("faults", **of.chances)
        started = time.monotonic()
        at.load.start()
        _strike(at, plan)
        at.wait_accepted(plan.patience_seconds)
        trial.poll(
            lambda: not at.count_live(),
            seconds=plan.patience_seconds,
            what="all requests end",
            every=0.1,
        )
        seconds = time.monotonic() - started
        at.wait_quiet()
        if of.check is not None:
            of.check(at)
        findings, ledger = at.examine()
        at.complain_of_crashes()
        return Row(
            name=of.name,
            what=of.what,
            times=at.times or len(at.struck_at),
            requests=len(ledger.records),
            lost=len(findings.lost),
            doubled=len(findings.doubled),
            strays=len(findings.strays),
            recovery=_recovery(at, ledger),
            seconds=round(seconds, 1),
            outcomes=at.stack.outcomes(),
            notes=at.notes,
            complaints=(*at.complaints, *str(findings).splitlines()),
            excuse=of.excuse,
        )


def _strike(at: site.Site, plan: Plan) -> None:
    """Strike again and again, spread evenly over what is settled."""
    of = at.fault
    if of.strike is None:
        return
    times = of.times if plan.strikes is None else plan.strikes
    most = plan.requests * 9 // 10
    moments = sorted(at.chance.randrange(most) for _ in range(times))
    for moment in moments:
        trial.poll(
            lambda moment=moment: at.is_time(moment),  # type: ignore[misc]
            seconds=plan.patience_seconds,
            what=f"{moment} requests have ended",
        )
        of.strike(at)


def _recovery(at: site.Site, ledger: ledger_book.LedgerBook) -> float | None:
    if at.fault.recovery == "lease":
        return at.leases.longest_lost(ledger.changes)
    if at.struck_at:
        return recovery.after_strikes(ledger.changes, at.struck_at, at.fault.recovery)
    return recovery.from_first_call(ledger.changes)

"""Takes the marks with which workers stepped back, and tells people what each cannot do, and why.

The worker never imports it; `scripts/machines.lua` says how a mark is kept.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from worker.contract import record
from worker.ledger import hints, records


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """With which one worker stepped back from an account, or from all of them (None)."""

    appid: str | None
    since: datetime.datetime
    #: When the worker probes whether it is over.
    until: datetime.datetime
    #: How often in a row.
    strikes: int
    reason: record.Reason | str
    errcode: int | None
    errmsg: str

    @property
    def hint(self) -> str:
        """What a person should do."""
        return hints.of_machine(self.reason, self.errcode)

    def as_json(self) -> dict[str, Any]:
        """The mark as plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "since": records.iso(self.since),
            "until": records.iso(self.until),
            "hint": self.hint,
        }


def read(kept: Mapping[str, str]) -> dict[str, list[Mark]]:
    """The marks of each worker, by its name."""
    found: dict[str, list[Mark]] = {}
    for name, told in sorted(kept.items()):
        worker, _, scope = name.rpartition(" ")
        since, until, strikes, reason, because = told.split(" ", 4)
        errcode, _, errmsg = because.partition(" ")
        mark = Mark(
            appid=None if scope == "*" else scope,
            since=records.moment(since),
            until=records.moment(until),
            strikes=int(strikes),
            reason=record.word(record.Reason, reason),
            errcode=None if errcode == "-" else int(errcode),
            errmsg=errmsg,
        )
        found.setdefault(worker, []).append(mark)
    return found

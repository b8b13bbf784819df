"""Takes the marks with which workers stepped back, and tells people what each cannot do, and why.

The worker never imports it; `scripts/machines.lua` says how a mark is kept.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from typing import Any

from worker.contract import record
from worker.ledger import hints, records

_KEPT = re.compile(
    r"(?P<since>\d{1,14}) (?P<until>\d{1,14}) (?P<strikes>\d{1,9}) (?P<reason>\S+)"
    r" (?P<errcode>-|-?\d{1,9}) (?P<errmsg>.*)",
    re.ASCII | re.DOTALL,
)


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


def read(kept: Mapping[str, str]) -> list[Mark]:
    """The marks of one worker; what cannot be read was not written by us, and is left out."""
    read = (_read(scope, told) for scope, told in sorted(kept.items()))
    return [mark for mark in read if mark is not None]


def _read(scope: str, told: str) -> Mark | None:
    found = _KEPT.fullmatch(told)
    if found is None:
        return None
    return Mark(
        appid=None if scope == "*" else scope,
        since=records.moment(found["since"]),
        until=records.moment(found["until"]),
        strikes=int(found["strikes"]),
        reason=record.word(record.Reason, found["reason"]),
        errcode=None if found["errcode"] == "-" else int(found["errcode"]),
        errmsg=found["errmsg"],
    )

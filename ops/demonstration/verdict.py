"""Takes what became of the fans and what the simulator's book says, and judges both by the plan."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ops.demonstration import plan
from worker.contract import record

CREATE_PATH = "/customservice/kfsession/create"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All fans of one kind: what each had to end as, and how many ended as what."""

    kind: plan.Kind
    expected: plan.Outcome
    fans: int
    actual: Mapping[str, int]

    @property
    def is_right(self) -> bool:
        """Whether every one ended as expected."""
        return self.actual == {str(self.expected): self.fans}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a demo; `differences` is empty when all is as it must be."""

    lines: tuple[Line, ...]
    differences: tuple[str, ...]
    calls_by_path: Mapping[str, int]
    sessions_opened: int

    @property
    def calls_a_session(self) -> float:
        """Create calls for each session they opened; every wait for an agent costs some."""
        return self.calls_by_path.get(CREATE_PATH, 0) / max(1, self.sessions_opened)


def judge(
    fans: Sequence[plan.Fan],
    records: Mapping[str, record.Record],
    sessions: Sequence[Mapping[str, Any]],
    calls_by_path: Mapping[str, int],
) -> Verdict:
    """Compare; `records` by openid, `sessions` as the simulator's book has them."""
    opened: dict[str, list[str]] = collections.defaultdict(list)
    for session in sessions:
        if session["opened_by"] == "create":
            opened[session["openid"]].append(session["kf_account"])
    found = [(fan, records.get(fan.openid)) for fan in fans]
    return Verdict(
        lines=tuple(_line(kind, found) for kind in plan.Kind),
        differences=tuple(
            text
            for fan, one in found
            for text in (_wrong_outcome(fan, one), _wrong_sessions(fan, one, opened[fan.openid]))
            if text
        ),
        calls_by_path=calls_by_path,
        sessions_opened=sum(len(each) for each in opened.values()),
    )


def _line(kind: plan.Kind, found: Sequence[tuple[plan.Fan, record.Record | None]]) -> Line:
    ended = [_outcome(one) for fan, one in found if fan.kind is kind]
    return Line(
        kind=kind,
        expected=plan.EXPECTED[kind],
        fans=len(ended),
        actual=collections.Counter(ended),
    )


def _outcome(one: record.Record | None) -> str:
    if one is None:
        return "not submitted"
    return str(plan.Outcome(status=one.status, reason=one.reason))


def _wrong_outcome(fan: plan.Fan, one: record.Record | None) -> str | None:
    expected, actual = str(plan.EXPECTED[fan.kind]), _outcome(one)
    if actual == expected:
        return None
    request_id = f" (request {one.id})" if one else ""
    return f"{fan.openid}{request_id}, {fan.kind.value}: expected {expected}, ended {actual}"


def _wrong_sessions(fan: plan.Fan, one: record.Record | None, opened: Sequence[str]) -> str | None:
    """The record must say what WeChat's book says: one session with that agent, or none."""
    is_created = one is not None and one.status is record.Status.CREATED
    told = [one.served_by] if one is not None and is_created else []
    if list(opened) == told:
        return None
    return f"{fan.openid}: WeChat opened sessions with {list(opened)}, the record tells of {told}"

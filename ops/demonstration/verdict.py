"""Takes what became of the fans and what the simulator's book says, and judges both by the plan."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.demonstration import cast, costs, kinds, plan, simulated
from worker.contract import record


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All fans of one kind: what each had to end as, and how many ended as what."""

    kind: kinds.Kind
    expected: kinds.Outcome
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
    costs: costs.Costs
    #: What `kfsession route` said; None when it did not end well.
    routed: Mapping[str, Any] | None


def judge(
    chosen: plan.Plan,
    records: Mapping[str, record.Record],
    book: Mapping[str, Any],
    agents: Sequence[simulated.Agent],
    routed: Mapping[str, Any] | None,
) -> Verdict:
    """Compare; `records` by openid, `book` and `agents` as the simulator has them."""
    opened: dict[str, list[str]] = collections.defaultdict(list)
    for session in book["sessions"]:
        if session["opened_by"] == "create":
            opened[session["openid"]].append(session["kf_account"])
    found = [(fan, records.get(fan.openid)) for fan in (*chosen.fans, *chosen.queue)]
    differences = [
        text
        for fan, one in found
        for text in (_wrong_outcome(fan, one), _wrong_sessions(fan, one, opened[fan.openid]))
        if text
    ]
    return Verdict(
        lines=tuple(_line(kind, found) for kind in kinds.Kind),
        differences=(*differences, *_overloaded(agents), *_wrong_summary(chosen, routed)),
        calls_by_path=collections.Counter(call["path"] for call in book["calls"]),
        costs=costs.count(book["calls"]),
        routed=routed,
    )


def _line(kind: kinds.Kind, found: Sequence[tuple[plan.Fan, record.Record | None]]) -> Line:
    ended = [_outcome(one) for fan, one in found if fan.kind is kind]
    return Line(
        kind=kind,
        expected=kinds.EXPECTED[kind],
        fans=len(ended),
        actual=collections.Counter(ended),
    )


def _outcome(one: record.Record | None) -> str:
    if one is None:
        return "not submitted"
    return str(kinds.Outcome(status=one.status, reason=one.reason))


def _wrong_outcome(fan: plan.Fan, one: record.Record | None) -> str | None:
    expected, actual = str(kinds.EXPECTED[fan.kind]), _outcome(one)
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


def _overloaded(agents: Sequence[simulated.Agent]) -> Iterator[str]:
    """The simulator lets an agent take any number: it is ours to stay within the capacity."""
    for agent in agents:
        capacity = cast.CAPACITIES.get(agent.kf_account, agent.max_serving)
        if agent.max_serving > capacity:
            yield f"{agent.kf_account} served {agent.max_serving} at a time, not {capacity}"


def _wrong_summary(chosen: plan.Plan, routed: Mapping[str, Any] | None) -> Iterator[str]:
    """The summary of `kfsession route` must say that it gave away everybody."""
    if routed is None:
        yield "kfsession route did not end well: .kfsession/demo/route.log tells why, if it began"
    elif (routed["routed"], routed["left"]) != (len(chosen.queue), 0):
        yield (
            f"kfsession route: {routed['routed']} routed and {routed['left']} left,"
            f" of {len(chosen.queue)}"
        )

"""Takes the verdict on a demo and prints it: tables, what it all cost, and lines to paste."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.demonstration import cast, costs, plan, verdict
from producers import terminal


def tell(chosen: plan.Plan, judged: verdict.Verdict) -> None:
    """Tables and figures on stdout; what is not as planned on stderr."""
    lines = [
        (
            each.fans,
            each.kind.value,
            each.expected,
            "all did" if each.is_right else _counted(each),
        )
        for each in judged.lines
    ]
    calls = sorted(judged.calls_by_path.items(), key=lambda each: -each[1])
    terminal.show(
        terminal.table("fans", "who", "must end as", "ended so", rows=lines),
        terminal.table("calls", "to WeChat", rows=[(count, path) for path, count in calls]),
    )
    facts = [_cost(judged.costs, is_right=not judged.differences)]
    if not judged.differences:
        facts += [
            f"{name} never served more than {n} at a time" for name, n in cast.CAPACITIES.items()
        ]
    if judged.routed is not None:
        facts.append(_routed(judged.routed))
    terminal.line("\n".join([*facts, f"seed {chosen.seed}", ""]))
    for each in judged.differences:
        terminal.say(f"not as planned: {each}")


def _counted(line: verdict.Line) -> str:
    return ", ".join(f"{size} {outcome}" for outcome, size in line.actual.items())


def _cost(spent: costs.Costs, *, is_right: bool) -> str:
    return (
        f"{spent.sessions} sessions opened{', none twice' if is_right else ''}:"
        f" {spent.creates} create calls, {spent.a_session:.2f} a session\n"
        f"the other {spent.creates - spent.sessions} calls: {spent.faults} for faults,"
        f" {spent.away} for agents away, {spent.refused} refused for good"
    )


def _routed(said: Mapping[str, Any]) -> str:
    skipped = sum(said["skipped"].values())
    return (
        f"kfsession route: {said['routed']} routed, {skipped} skipped, {said['left']} left"
        f" ({said['ended']})"
    )


def say_next(chosen: plan.Plan, redis_url: str | None) -> None:
    """Three lines to paste; `redis_url` when the system stays."""
    program = _program()
    if redis_url:
        ledger = f"KF_REDIS_URL={redis_url} {program}"
        following = {
            f"{ledger} enqueue anna@demo newcomer --wait 20s": "one more fan",
            f"{ledger} agents": "who is online, and who waits for whom",
            f"{ledger} events": "every change of state",
        }
        head = "It goes on until Ctrl-C. From another terminal:"
    else:
        following = {
            f"{program} demo --fans {len(chosen.fans)} --seed {chosen.seed}": "the same again",
            f"{program} demo --keep": "leave it running, and look inside",
            f"{program} up": "the same for real; it says which settings it needs",
        }
        head = "Next:"
    width = max(len(each) for each in following)
    lines = [f"  {line:{width}}  # {why}" for line, why in following.items()]
    terminal.line("\n".join([head, *lines]))


def _program() -> str:
    """This program as a shell in this directory finds it."""
    called = Path(sys.argv[0]).absolute()
    if (found := shutil.which("kfsession")) and Path(found).absolute() == called:
        return "kfsession"
    near = os.path.relpath(called)
    return shlex.quote(min(near, str(called), key=len))

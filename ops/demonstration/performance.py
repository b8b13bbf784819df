"""Takes what `kfsession demo` was asked for and performs it, first process to last line."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import sys
import time
from pathlib import Path

from ops.demonstration import course, plan, system, verdict, view
from ops.stack import ending, lock, parts
from producers import terminal
from worker.contract import record

#: Seeds that a person can type.
_SEEDS = 10_000


def perform(fans: int, seed: int | None, *, keep: bool) -> int:
    """The exit status: 0 when every fan ended as the plan says."""
    chosen = plan.make(fans, random.randrange(_SEEDS) if seed is None else seed)  # noqa: S311
    ending.at_signals(is_planned=False)
    try:
        with system.running(chosen) as running:
            judged = _play(chosen, running)
            _print(chosen, judged)
            _say_next(chosen, running.redis_url if keep else None)
            while keep:
                running.check()
                time.sleep(1)
    except (lock.Taken, parts.PartFailed, OSError) as error:
        terminal.say(f"kfsession: {error}")
        return 1
    return 1 if judged.differences else 0


def _play(chosen: plan.Plan, running: system.System) -> verdict.Verdict:
    played = course.Course(chosen, running)
    with view.opened() as show:
        for seen in played.run():
            show(seen)
    found = {fan.openid: running.producer.get(request_id) for request_id, fan in played.ids.items()}
    records: dict[str, record.Record] = {openid: one for openid, one in found.items() if one}
    return verdict.judge(
        chosen.fans,
        records,
        running.wechat.sessions(),
        running.wechat.summary()["calls_by_path"],
    )


def _print(chosen: plan.Plan, judged: verdict.Verdict) -> None:
    lines = [
        (
            each.fans,
            each.kind.value,
            each.expected,
            "all of them" if each.is_right else _counted(each),
        )
        for each in judged.lines
    ]
    calls = sorted(judged.calls_by_path.items(), key=lambda each: -each[1])
    opened = f"{judged.sessions_opened} sessions opened, none twice"
    terminal.show(
        terminal.table("fans", "who", "must end as", "ended so", rows=lines),
        terminal.table("calls", "to WeChat", rows=[(count, path) for path, count in calls]),
        f"{opened if not judged.differences else f'{judged.sessions_opened} sessions opened'},"
        f" {judged.calls_a_session:.2f} create calls a session (waiting for agents costs some);"
        f" seed {chosen.seed}\n",
    )
    for each in judged.differences:
        terminal.say(f"not as planned: {each}")


def _counted(line: verdict.Line) -> str:
    return ", ".join(f"{size} {outcome}" for outcome, size in line.actual.items())


def _say_next(chosen: plan.Plan, redis_url: str | None) -> None:
    """Three lines to paste; `redis_url` when the system stays."""
    program = _program()
    if redis_url:
        ledger = f"KF_REDIS_URL={redis_url} {program}"
        following = {
            f"{ledger} enqueue anna@demo newcomer --wait 20s": "one more fan",
            f"{ledger} list --limit 20": "the records",
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
    terminal.write("\n".join([head, *lines, ""]))


def _program() -> str:
    """This program as a shell in this directory finds it."""
    called = Path(sys.argv[0]).absolute()
    if (found := shutil.which("kfsession")) and Path(found).absolute() == called:
        return "kfsession"
    near = os.path.relpath(called)
    return shlex.quote(min(near, str(called), key=len))

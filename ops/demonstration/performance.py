"""Takes what `kfsession demo` was asked for and performs it, first process to last line."""

from __future__ import annotations

import contextlib
import random
import time

from ops.demonstration import closing, course, plan, system, verdict, view
from ops.stack import ending, lock, parts
from producers import terminal

#: Seeds that a person can type.
_SEEDS = 10_000


def perform(fans: int, seed: int | None, *, keep: bool) -> int:
    """The exit status: 0 when every fan ended as the plan says."""
    chosen = plan.make(fans, random.randrange(_SEEDS) if seed is None else seed)  # noqa: S311
    ending.at_signals(is_planned=False)
    try:
        with system.running(chosen) as running:
            judged = _play(chosen, running)
            closing.tell(chosen, judged)
            closing.say_next(chosen, running.redis_url if keep else None)
            while keep:
                running.check()
                time.sleep(1)
    except (lock.Taken, parts.PartFailed, OSError) as error:
        terminal.say(f"kfsession: {error}")
        return 1
    return 1 if judged.differences else 0


def _play(chosen: plan.Plan, running: system.System) -> verdict.Verdict:
    played = course.Course(chosen, running)
    with view.opened() as show, contextlib.closing(played.run()) as pictures:
        for seen in pictures:
            show(seen)
    everybody = [fan.openid for fan in (*chosen.fans, *chosen.queue)]
    found = {openid: running.producer.find(openid=openid) for openid in everybody}
    return verdict.judge(
        chosen,
        {openid: one for openid, one in found.items() if one},
        running.wechat.book(),
        running.wechat.agents(),
        played.routed,
    )

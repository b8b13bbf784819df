"""Receives the chances of a scenario and hands on whether, and how, one call goes wrong.

The draw depends on the seed, the fan and the number of the fan's call alone: never on the order in
which the calls of different fans arrive.
"""

from __future__ import annotations

import random

from ops.simulator import bends, scenario

Chances = tuple[tuple[bends.Fault, float], ...]


def chances(chosen: scenario.Faults) -> Chances:
    """The faults that can strike at all, each with its probability, in the order of the table."""
    named = ((fault, chosen.chances.get(name, 0.0)) for name, fault in bends.TABLE.items())
    coded = (
        (bends.refusal(errcode), chance) for errcode, chance in sorted(chosen.errcodes.items())
    )
    return tuple((fault, chance) for fault, chance in (*named, *coded) if chance)


def draw(possible: Chances, seed: int, who: str, call_number: int) -> bends.Fault | None:
    """The fault of the nth call for `who` (an openid, or a path), or None."""
    if not possible:
        return None
    # Not for secrets: the same seed must give the same faults.
    left = random.Random(f"{seed}/{who}/{call_number}").random()  # noqa: S311
    for fault, chance in possible:
        left -= chance
        if left < 0:
            return fault
    return None

"""Receives the chances of a scenario and hands on whether, and how, one call goes wrong.

The draw depends on the seed, the fan and the number of the fan's call alone: never on the order in
which the calls of different fans arrive.
"""

from __future__ import annotations

import enum
import random

from ops.simulator import scenario


class Fault(enum.Enum):
    """One way for a call to go wrong; the value is its key in a scenario and in the book."""

    #: errcode -1, nothing done.
    BUSY = "busy"
    #: HTTP 502 with a page of HTML, nothing done.
    HTML_502 = "html_502"
    #: The connection is reset, nothing done.
    CUT_BEFORE = "cut_before"
    #: Done; then the connection is reset in place of a reply.
    CUT_AFTER = "cut_after"
    #: Done; the reply says -1.
    LIED = "lied"
    #: Nothing done, and no reply until the client leaves.
    HANG = "hang"
    #: Done; the reply comes a byte at a time.
    DRIP = "drip"
    #: Done; the reply is no JSON.
    GARBAGE = "garbage"
    #: Done; the reply has 10 MB.
    HUGE = "huge"

    @property
    def is_done(self) -> bool:
        """Whether WeChat does what was asked before it fails to say so."""
        return self not in _NOTHING_DONE


_NOTHING_DONE = frozenset({Fault.BUSY, Fault.HTML_502, Fault.CUT_BEFORE, Fault.HANG})


Chances = tuple[tuple[Fault, float], ...]


def chances(chosen: scenario.Faults) -> Chances:
    """The faults that can strike at all, each with its probability."""
    every = ((fault, float(getattr(chosen, fault.value))) for fault in Fault)
    return tuple((fault, chance) for fault, chance in every if chance)


def draw(possible: Chances, seed: int, who: str, call_number: int) -> Fault | None:
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

"""All faults at once that can strike one deployment."""

from __future__ import annotations

from ops.chaos import fault, site
from ops.chaos.faults import messages, producers, server, wechat, workers

#: What goes on all the time, each a little.
_CHANCE = 0.006


def _strike(at: site.Site) -> None:
    """One of all strikes; each has its turn before one comes again."""
    if not at.turns:
        at.turns = [each for each in _STRIKES if each is not None]
        at.chance.shuffle(at.turns)
    at.turns.pop()(at)
    at.count("strikes")


def _count(at: site.Site) -> None:
    """A strike is one, however many messages it sends."""
    at.times = at.notes.pop("strikes", 0)


_STRIKES = [
    each.strike
    for each in (*workers.FAULTS, *server.FAULTS, *messages.FAULTS, *producers.FAULTS)
    # The others need a world of their own: rules on the wires, one worker, another broker.
    if not (each.prepare or each.is_idle or each.has_own_broker or each.excuse or each.workers == 1)
]

FAULTS = (
    fault.Fault(
        name="all-together",
        what="all of these by turns, while every fault of WeChat goes on",
        strike=_strike,
        check=_count,
        times=100,
        workers=3,
        chances={**dict.fromkeys(wechat.HAPPENS, _CHANCE), "paths": wechat.ALL_CALLS},
    ),
)

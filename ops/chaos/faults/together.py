"""All faults at once that can strike one deployment."""

from __future__ import annotations

from ops.chaos import fault, site
from ops.chaos.faults import messages, producers, server, wechat, workers

#: What goes on all the time, each a little.
_CHANCE = 0.006
#: These need a world of their own: a rule on the wires, one worker, another broker.
_APART = frozenset(
    {
        *(
            "worker-killed-at-step",
            "worker-killed-handover",
            "worker-frozen-handover",
            "worker-ended",
            "redis-reply-lost",
        ),
        *("redis-killed-always", "clocks-differ", "producer-killed", "producers-race"),
        *("broker-away", "ledger-away", "doorbells-dropped"),
    }
)
STRIKES = tuple(
    each
    for each in (*workers.FAULTS, *server.FAULTS, *messages.FAULTS, *producers.FAULTS)
    if each.name not in _APART
)


class Together(fault.Tool):
    """One after the other strikes, in disorder; each has its turn before one comes again."""

    def __init__(self) -> None:
        self._tools = [each.tool() for each in STRIKES]
        self._turns: list[fault.Tool] = []
        self._strikes = 0

    def strike(self, at: site.Site) -> None:
        """The next one."""
        if not self._turns:
            self._turns = list(self._tools)
            at.chance.shuffle(self._turns)
        self._turns.pop().strike(at)
        self._strikes += 1

    def check(self, at: site.Site) -> None:
        """All of their checks; a strike counts once, however many messages it sends."""
        for each in self._tools:
            each.check(at)
        at.times = self._strikes


FAULTS = (
    fault.Fault(
        name="all-together",
        what="all of these by turns, while every fault of WeChat goes on",
        tool=Together,
        times=36,
        chances={
            **dict.fromkeys(wechat.HAPPENS, _CHANCE),
            "expired_token": wechat.TOKEN_CHANCE / 2,
            "paths": wechat.ALL_CALLS,
        },
        workers=3,
    ),
)

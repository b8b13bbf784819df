"""All faults, by name."""

from __future__ import annotations

from ops.chaos.faults import (
    accounts,
    agents,
    clock,
    machines,
    messages,
    producers,
    server,
    together,
    wechat,
    workers,
)

_ALL = (
    *workers.FAULTS,
    *machines.FAULTS,
    *agents.FAULTS,
    *accounts.FAULTS,
    *server.FAULTS,
    *clock.FAULTS,
    *messages.FAULTS,
    *wechat.FAULTS,
    *producers.FAULTS,
    *together.FAULTS,
)

FAULTS = {each.name: each for each in _ALL}

"""All faults, by name."""

from __future__ import annotations

from ops.chaos.faults import messages, producers, server, together, wechat, workers

_ALL = (
    *workers.FAULTS,
    *server.FAULTS,
    *messages.FAULTS,
    *wechat.FAULTS,
    *producers.FAULTS,
    *together.FAULTS,
)

FAULTS = {each.name: each for each in _ALL}

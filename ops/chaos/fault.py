"""What one fault is: how it strikes, how often, and in which world."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ops.chaos import site


class Tool:
    """What strikes, and remembers what it struck; each run has its own."""

    def prepare(self, at: site.Site) -> None:
        """Done before the first request is sent, with the workers not started yet."""

    def strike(self, at: site.Site) -> None:
        """Break something, and mend it again."""

    def check(self, at: site.Site) -> None:
        """Complain to the site of what the audit cannot know; done once all is over."""


class Plain(Tool):
    """One function, which needs to remember nothing."""

    def __init__(self, strike: Callable[[site.Site], None]) -> None:
        self._strike = strike

    def strike(self, at: site.Site) -> None:
        """Call it."""
        self._strike(at)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table.

    `tool` makes what strikes, `times` times in a long run, at moments spread over the load; a fault
    without strikes goes on all the time, as the tool prepares it or WeChat's `chances` have it.
    """

    name: str
    #: What is broken, in the words of the table.
    what: str
    tool: Callable[[], Tool] = Tool
    times: int = 0
    #: What the simulator is like, in TOML, and the chances of its faults, by name.
    scenario: str = ""
    chances: Mapping[str, object] = dataclasses.field(default_factory=dict)
    #: How long a call takes (or [least, most]), where that is not the plan's to say.
    latency_ms: float | list[float] | None = None
    #: KF_* settings of this row, whatever the plan says.
    knobs: Mapping[str, object] = dataclasses.field(default_factory=dict)
    #: The accounts besides the first one.
    more_appids: Sequence[str] = ()
    #: How long a request lives, where some would otherwise wait for somebody who never comes.
    ttl_seconds: float | None = None
    #: How Valkey writes its append-only file.
    fsync: str = "everysec"
    #: How many worker processes there are.
    workers: int = 2
    #: Whether only the strikes send requests, each to a system that has nothing to do.
    is_idle: bool = False
    #: Whether the broker is a server of its own, and whether WeChat is reached over TLS.
    has_own_broker: bool = False
    has_tls: bool = False
    #: Whether the clock of the Redis server can be stepped.
    has_own_clock: bool = False
    #: What recovery means, see `recovery`: a lease that was lost is taken back; a request that a
    #: strike met in this state goes on; without strikes, a first call has led to a session; none.
    recovery: Literal["lease", "calling", "queued", "waiting", "session", "none"] = "calling"
    #: Why fans may be given away twice; empty: they may not.
    excuse: str = ""


def plain(strike: Callable[[site.Site], None]) -> Callable[[], Tool]:
    """A tool for one function."""
    return lambda: Plain(strike)

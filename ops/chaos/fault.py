"""What one fault is: how it strikes, how often, and in which world."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ops.chaos import site


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table.

    `strike` breaks something and mends it again; it is called `times` times over a long run, spread
    evenly over what is settled. A fault without it goes on all the time, in what `prepare` sets up
    or in what the `scenario` (TOML, of the simulator) lets WeChat do.
    """

    name: str
    #: What is broken, in the words of the table.
    what: str
    strike: Callable[[site.Site], None] | None = None
    times: int = 20
    #: Done before the first request is sent, with the workers not started yet.
    prepare: Callable[[site.Site], None] | None = None
    #: Asked once all is over, for what the audit cannot know; it complains to the site.
    check: Callable[[site.Site], None] | None = None
    scenario: str = ""
    #: Chances of the simulator's faults, by name.
    chances: Mapping[str, object] = dataclasses.field(default_factory=dict)
    #: KF_* settings of workers and producers, without the prefix.
    knobs: Mapping[str, object] = dataclasses.field(default_factory=dict)
    #: How Valkey writes its append-only file.
    fsync: str = "everysec"
    #: How many worker processes there are.
    workers: int = 2
    #: What recovery means, see `recovery`: a lease that was lost is taken back; a request that a
    #: strike met in this state goes on; without strikes, a first call has led to a session.
    recovery: Literal["lease", "calling", "queued"] = "calling"
    #: Whether only the strikes send requests, each to a system that has nothing to do.
    is_idle: bool = False
    #: Whether the broker is a server of its own.
    has_own_broker: bool = False
    #: Whether WeChat is reached over TLS.
    has_tls: bool = False
    #: Why the row may show lost or doubled ones; empty: it may not.
    excuse: str = ""

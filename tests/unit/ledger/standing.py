"""What the model of the ledger remembers: accounts with their agents, requests, and pointers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

BLIND_MS = 60_000
#: A worker that was silent for so long may be gone.
SILENT_MS = 15_000
#: An answer is noted so often, and a call that hangs does so for so long.
ANSWERED_MS, HUNG_MS = 100, 10_000
#: What an account can be held for because no machine gets through.
OF_MACHINES = {"token", "account_blocked", "transient"}
FINAL = {"created", "already_served", "failed", "expired", "cancelled"}
Fan = tuple[str, str]


@dataclasses.dataclass(slots=True)
class Hold:
    """WeChat refuses an account's calls, until then; `probe` is who finds out ("-": nobody)."""

    ends_at: int
    reason: str
    strikes: int
    probe: str = "-"


@dataclasses.dataclass(slots=True)
class Account:
    """What is known of an account and its agents."""

    capacities: dict[str, int] = dataclasses.field(default_factory=dict)
    is_paused: bool = False
    paused: set[str] = dataclasses.field(default_factory=set)
    hold: Hold | None = None
    #: How many of its calls hung in a row.
    hung: int = 0
    #: About when a call of it was answered last.
    answered_at: int = 0
    #: When its only worker announced it last.
    served_at: int = 0
    began_at: int = 0
    fresh_until: int = 0
    next_at: int = 0
    is_blind: bool = False
    sessions: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Since when an agent is known to be offline.
    offline: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Who may have lost that mark: its session may have opened the door of a room.
    may_be_back: set[str] = dataclasses.field(default_factory=set)
    #: Of whom a call said so against the list: for some time nobody, then one at a time asks it.
    lied: set[str] = dataclasses.field(default_factory=set)

    def why_held(self, request_id: str, now: int) -> str | None:
        """What it is held for, unless this request is to find out."""
        hold = self.hold
        return hold.reason if hold and hold.probe != request_id and hold.ends_at > now else None

    def why_shut(self, request_id: str, now: int) -> str | None:
        """Why no call may be made for this request, whoever it asks for."""
        return "paused" if self.is_paused else self.why_held(request_id, now)

    @property
    def has_limits(self) -> bool:
        return any(agent or number for agent, number in self.capacities.items())

    def capacity(self, agent: str) -> int:
        return self.capacities.get(agent, self.capacities.get("", 0))

    def is_fresh(self, now: int) -> bool:
        """Whether a reading tells who is online."""
        return now < self.fresh_until

    def nobody_can_tell(self, now: int) -> bool:
        return self.is_blind and now < self.next_at + BLIND_MS

    def reasons(self) -> set[str]:
        """What somebody may be said to wait for who waits for agents."""
        return (
            {"agent_offline"}
            | ({"paused"} if self.paused else set())
            | ({"agent_full"} if self.has_limits else set())
        )

    def can_ask(self, agent: str, under_way: int, now: int) -> bool | None:
        """Whether the agent can be asked, who has so many counted calls; None: it depends."""
        is_fresh, mark, limit = self.is_fresh(now), self.offline.get(agent), self.capacity(agent)
        is_known = is_fresh or self.nobody_can_tell(now)
        if agent in self.paused:
            return False
        if is_fresh and agent not in self.sessions:
            return None if mark is None else False  # nobody met who is asked when none is left
        if mark is not None and (mark >= self.began_at if is_fresh else not is_known):
            return False
        if limit and not is_known:
            return False
        if limit and under_way + (self.sessions.get(agent, 0) if is_fresh else 0) >= limit:
            return False
        is_suspect = is_fresh and agent in self.lied
        return None if limit or is_suspect or (mark is not None and not is_fresh) else True

    def note_answer(self, now: int) -> None:
        """A call of it was answered."""
        self.hung = 0
        if now - self.answered_at >= ANSWERED_MS:
            self.answered_at = now

    def announce(self, now: int) -> None:
        """Where nobody was there, who comes is a reason to probe."""
        hold = self.hold
        is_new = abs(now - self.served_at) > SILENT_MS
        is_of_machines = hold and hold.reason in OF_MACHINES and not self.hung
        if is_new and hold and is_of_machines and hold.probe == "-":
            hold.ends_at = now
        self.served_at = now

    def observe(self, began_at: int, sessions: Mapping[str, int]) -> int:
        """A reading; returns how many came."""
        if began_at < self.began_at:
            return 0
        came = len(set(sessions) - set(self.sessions))
        for agent in set(self.sessions) - set(sessions):
            self.offline.setdefault(agent, began_at)
        self.lied &= set(sessions)
        for agent in sessions:
            if self.offline.get(agent, began_at) < began_at:
                del self.offline[agent]
        self.sessions, self.began_at, self.is_blind = dict(sessions), began_at, False
        return came


@dataclasses.dataclass(slots=True)
class Request:
    """One request; `wake_at` is its own wake time, while it waits alone."""

    id: str
    appid: str
    openid: str
    targets: str
    lane: str
    submitted_at: int
    deadline_at: int
    due_at: int
    updated_at: int
    status: str = "queued"
    reason: str = ""
    #: Where in its lane it stands, while it is queued (see `lanes.py`).
    lane_class: int = 0
    generation: int = 1
    fence: int = 0
    holder: str = ""
    calling: str = ""
    #: Whether the call under way takes one of its agent's places.
    is_counted: bool = False
    is_cancelled: bool = False
    attempts: int = 0
    calls: int = 0
    crashes: int = 0
    out: str = ""
    served_by: str = ""
    because: str = ""
    key: str = ""
    kept_until: int = 0
    wake_at: int = 0
    finished_at: int = 0
    #: When it is removed.
    removed_at: int = 0

    @property
    def fan(self) -> Fan:
        return self.appid, self.openid

    @property
    def room(self) -> str:
        return f"{self.appid}:{self.targets}"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_in_room(self) -> bool:
        return self.status == "waiting" and not self.wake_at

    @property
    def order(self) -> tuple[bool, int, str]:
        """Who goes first: escalations, then who was submitted first."""
        return self.lane == "batch", self.submitted_at, self.id


@dataclasses.dataclass(slots=True)
class Pointer:
    """An idempotency key, an id that joined, or a doubt: what it says, and until when."""

    says: str
    until: int

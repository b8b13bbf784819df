"""Takes what the ledger holds of an account and says who is online, and how much each can take.

It judges as the scripts do, for people and dashboards; the worker never imports it.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping

from worker.ledger import moments

#: As in `scripts/given.lua`: the online list may show the truth of so long ago.
LAG_MS = 3000
#: As in `scripts/holds.lua`: the longest hold, where the ledger does not tell when it was set.
LONGEST_HOLD_MS = 24 * 3600 * 1000
#: As in `scripts/holds.lua`: that nobody can tell is true for so long after the next try was due.
BLIND_MS = 60 * 1000
#: As in `scripts/agents.lua`: the longest time for which a call counts for more than the list.
LIE_MS = 60 * 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent, as far as the ledger knows."""

    kf_account: str
    #: Whether a reading, a call or the list of all agents has told of it.
    is_met: bool
    #: None where nobody has told lately.
    is_online: bool | None
    is_paused: bool
    #: Sessions the agent serves; None where no reading tells.
    serving: int | None
    #: Sessions the agent may serve; None is no limit of ours.
    capacity: int | None

    @property
    def spare(self) -> int | None:
        """Sessions the agent can take; None where nothing limits them, or nothing is known."""
        if self.is_paused or self.is_online is False:
            return 0
        if self.capacity is None or self.serving is None:
            return None
        return max(0, self.capacity - self.serving)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account's gates and agents."""

    appid: str
    is_paused: bool
    #: What WeChat's refusal holds it for, and until when; None when it is not held.
    held_for: str | None
    held_until: datetime.datetime | None
    #: Why nobody can tell who is online: errcode (or -) and errmsg; None when a reading tells.
    blind: str | None
    #: When the newest reading began; None when there was none.
    read_at: datetime.datetime | None
    agents: tuple[Agent, ...]

    @property
    def paused(self) -> frozenset[str]:
        """The agents an operator paused."""
        return frozenset(each.kf_account for each in self.agents if each.is_paused)


def unseen_since_ms(known: Mapping[str, str]) -> int:
    """From when on a session counts that the newest reading cannot have seen."""
    return int(known.get("began", 0)) - LAG_MS


def read(
    appid: str, known: Mapping[str, str], unseen: Mapping[str, int], *, now: datetime.datetime
) -> Account:
    """The account's hash as values; `unseen` holds each online agent's sessions since then."""
    now_ms = now.timestamp() * 1000
    began_ms = moments.past(known.get("began", 0), now_ms)
    is_fresh = began_ms > 0 and now_ms < int(known.get("fresh", 0))
    next_ms = moments.next_reading_ms(known.get("next"), known.get("tried"), now_ms)
    is_blind = not is_fresh and now_ms < next_ms + BLIND_MS
    until_ms, held_for = _hold(known, now_ms)
    is_held = until_ms > now_ms
    names = {name.partition(":")[2] for name in known if name.startswith(("on:", "off:", "pause:"))}
    names |= set(_own_capacities(known))
    return Account(
        appid=appid,
        is_paused="paused" in known,
        held_for=held_for if is_held else None,
        held_until=_moment(until_ms) if is_held else None,
        blind=known.get("blind") if is_blind else None,
        read_at=_moment(began_ms) if began_ms else None,
        agents=tuple(
            _agent(name, known, unseen, is_fresh=is_fresh, now_ms=now_ms) for name in sorted(names)
        ),
    )


def _agent(
    kf_account: str,
    known: Mapping[str, str],
    unseen: Mapping[str, int],
    *,
    is_fresh: bool,
    now_ms: float,
) -> Agent:
    on = known.get(f"on:{kf_account}")
    offline_at = moments.past(known.get(f"off:{kf_account}", -1), now_ms)
    is_online = on is not None and offline_at < int(known.get("began", 0))
    left_ms = int(known.get(f"lie:{kf_account}", "0").partition(" ")[0]) - now_ms
    if 0 < left_ms <= LIE_MS:
        is_online = False  # a call said so, and counts for more than the list
    capacity = _own_capacities(known).get(kf_account, _default_capacity(known))
    serving = int(on) + unseen[kf_account] if on is not None and is_fresh else None
    return Agent(
        kf_account=kf_account,
        is_met=on is not None or f"off:{kf_account}" in known,
        is_online=is_online if is_fresh else None,
        is_paused=f"pause:{kf_account}" in known,
        serving=serving,
        capacity=capacity or None,
    )


def _hold(known: Mapping[str, str], now_ms: float) -> tuple[int, str | None]:
    """Until when WeChat's refusal holds the account, and what it holds it for."""
    if "hold" not in known:
        return 0, None
    until_ms, reason, *_ = known["hold"].split(" ")
    if "held_at" in known:
        is_believed = moments.past(known["held_at"], now_ms) > 0
    else:
        is_believed = int(until_ms) <= now_ms + LONGEST_HOLD_MS
    return int(until_ms) if is_believed else 0, reason


def _default_capacity(known: Mapping[str, str]) -> int:
    return int(known.get("capacity", "0").partition(" ")[0])


def _own_capacities(known: Mapping[str, str]) -> dict[str, int]:
    """The names after the default: "20 anna@shop 50 "."""
    pairs = re.findall(r"(\S+) (\d+)", known.get("capacity", "0").partition(" ")[2])
    return {name: int(number) for name, number in pairs}


def _moment(ms: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)

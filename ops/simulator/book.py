"""Receives what every call came to and hands on what happened: the calls, the sessions, a summary.

The book is bounded by memory alone. Calls under /_simulator are not in it, and no token or secret.

"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ops.simulator import scenario, world

TOKEN_PATHS = ("/cgi-bin/token", "/cgi-bin/stable_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call: `at` in epoch ms, `errcode` as the client was told it (None: it was told none)."""

    at: int
    method: str
    path: str
    appid: str
    openid: str
    kf_account: str
    errcode: int | None
    fault: str | None
    opened: bool


class Book:
    """Every call since the start or the last reset."""

    def __init__(self, seed: int, started_at: float) -> None:
        self._seed = seed
        self._started_at = started_at
        self._calls: list[Entry] = []
        self._by_path: Counter[str] = Counter()
        self._creates: Counter[str] = Counter()

    def write(self, entry: Entry) -> None:
        """Add one call."""
        self._calls.append(entry)
        self._by_path[entry.path] += 1
        if entry.path == scenario.CREATE_PATH:
            told = entry.fault if entry.errcode is None else entry.errcode
            self._creates[str(told)] += 1

    def tell(
        self, worlds: Iterable[world.World], path: str = "", openid: str = ""
    ) -> dict[str, object]:
        """The whole book, or the calls of one path or one fan and that fan's sessions."""
        calls = [
            asdict(entry)
            for entry in self._calls
            if (not path or entry.path == path) and (not openid or entry.openid == openid)
        ]
        sessions = [
            _session(held) for held in _history(worlds) if not openid or held.openid == openid
        ]
        return {
            "seed": self._seed,
            "started_at": _ms(self._started_at),
            "calls": calls,
            "sessions": sessions,
        }

    def summary(self, worlds: Iterable[world.World]) -> dict[str, object]:
        """Counts; a create whose client got no errcode counts under the fault's name.

        `fans_given_to_two_agents` holds each fan for whom create opened more than one session, or
        whose sessions (those from the start too) were with more than one agent.
        """
        worlds = list(worlds)
        history = _history(worlds)
        return {
            "calls_by_path": dict(self._by_path),
            "creates_by_errcode": dict(self._creates),
            "sessions_opened": sum(held.opened_by == "create" for held in history),
            "fans_with_session": len(
                {(held.appid, held.openid) for held in history if held.closed_at is None}
            ),
            "fans_given_to_two_agents": _given_twice(history),
            "token_fetches": sum(self._by_path[path] for path in TOKEN_PATHS),
            "agents": [_agent(one, name) for one in worlds for name in one.agents],
        }


def _history(worlds: Iterable[world.World]) -> list[world.Session]:
    """Every session ever opened; those that were due to end by now have ended."""
    history: list[world.Session] = []
    for one in worlds:
        one.catch_up()
        history.extend(one.history)
    return history


def _given_twice(history: Iterable[world.Session]) -> list[str]:
    opened: Counter[tuple[str, str]] = Counter()
    served_by: dict[tuple[str, str], set[str]] = {}
    for held in history:
        fan = (held.appid, held.openid)
        opened[fan] += held.opened_by == "create"
        served_by.setdefault(fan, set()).add(held.kf_account)
    return sorted(fan[1] for fan, by in served_by.items() if opened[fan] > 1 or len(by) > 1)


def _session(held: world.Session) -> dict[str, object]:
    return {
        "appid": held.appid,
        "openid": held.openid,
        "kf_account": held.kf_account,
        "opened_at": _ms(held.opened_at),
        "closed_at": None if held.closed_at is None else _ms(held.closed_at),
        "opened_by": held.opened_by,
    }


def _agent(one: world.World, kf_account: str) -> dict[str, object]:
    agent = one.agents[kf_account]
    return {
        "appid": one.account.appid,
        "kf_account": kf_account,
        "online": one.is_online(agent),
        "serving": len(agent.fans),
        "max_serving": agent.max_serving,
        "capacity": agent.capacity,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

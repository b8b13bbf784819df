"""Receives the calls on one account, checked, and hands on what WeChat's state makes of them.

Pure state: agents, sessions and waiting fans; the clock is injected; nothing here knows HTTP.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ops.simulator import agents, names, replies, scenario

#: The waiting list shows no more than so many rows.
WAITING_ROWS = 100
_FIRST_KF_ID = 1001


@dataclass(slots=True, kw_only=True)
class Session:
    """One session ever opened, by a "create" or before the "start" (`opened_by`)."""

    appid: str
    openid: str
    kf_account: str
    opened_at: float
    opened_by: str
    closed_at: float | None = None


class World:
    """One account's agents, sessions and waiting fans."""

    def __init__(
        self, account: scenario.Account, chosen: scenario.Scenario, clock: Callable[[], float]
    ) -> None:
        self.account = account
        self.started_at = clock()
        self.agents: dict[str, agents.Agent] = {}
        self.history: list[Session] = []
        self._chosen = chosen
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._by_age: deque[Session] = deque()
        self._started: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._arrivals = [row for row in chosen.waiting if row.appid == account.appid]
        self._arrived = [0 for _ in self._arrivals]
        self._foreign = {row.suffix for row in chosen.accounts if row.suffix != account.suffix}
        for row in chosen.agents:
            if row.appid == account.appid:
                self._enter(row.kf_account, row)
        for waiting in self._arrivals:
            made_up = (f"waiting_{number:05d}" for number in range(1, waiting.count + 1))
            self.wait((*waiting.openids, *made_up))

    # The calls -----------------------------------------------------------------------------------

    def create(self, kf_account: str, openid: str) -> bool:
        """Open a session; True when it is new, False when this pair had it; refuses with a code."""
        self._check_openid(openid)
        agent = self.agent(kf_account)
        if agent.plan.errcode:
            raise replies.Refused(agent.plan.errcode)
        held = self.session_of(openid, kf_account)
        if held is not None and held.kf_account == kf_account:
            return False
        if not agent.is_online(self._clock(), self.started_at):
            raise replies.Refused(int(self._chosen.agent_offline))
        if held is not None:
            self._refuse_or_release(held)
        is_full = 0 < agent.capacity <= len(agent.fans)
        if is_full and self._chosen.agent_full != "ok":
            raise replies.Refused(int(self._chosen.agent_full))
        self._open_session(agent, openid, "create")
        return True

    def close(self, kf_account: str, openid: str) -> None:
        """Close a session; refuses with 65413 (there is none) or 65414 (another agent has it)."""
        self._check_openid(openid)
        agent = self.agent(kf_account)
        held = self.session_of(openid, kf_account)
        if held is None:
            raise replies.Refused(65413)
        if held.kf_account != agent.kf_account:
            raise replies.Refused(65414)
        self._close_session(held)

    def hang_up(self, openid: str) -> bool:
        """Close whatever session a fan has, as if the agent did; False when there is none."""
        held = self.session_of(openid)
        if held is not None:
            self._close_session(held)
        return held is not None

    def session_of(self, openid: str, asked: str = "") -> Session | None:
        """The session a fan has now."""
        self._sweep()
        plan = names.fan(openid)
        if plan.served_by and openid not in self._started:
            self._started.add(openid)
            suffix = asked.partition("@")[2] or self.account.suffix
            agent = self.agent(f"{plan.served_by}@{suffix}")
            self._open_session(agent, openid, "start")
        return self._open.get(openid)

    def checked_session_of(self, openid: str) -> Session | None:
        """The session a fan has now; refuses with 40003 what cannot be a fan."""
        self._check_openid(openid)
        return self.session_of(openid)

    def sessions_of(self, kf_account: str) -> list[Session]:
        """The sessions an agent has now, oldest first."""
        self._sweep()
        agent = self.agent(kf_account)
        if agent.plan.errcode == 65401:
            raise replies.Refused(65401)
        return sorted((self._open[fan] for fan in agent.fans), key=lambda held: held.opened_at)

    def waiting(self) -> tuple[int, list[tuple[str, float]]]:
        """How many fans wait, and the first rows (openid, since), oldest first."""
        self._arrive()
        rows = heapq.nsmallest(WAITING_ROWS, self._waiting.items(), key=lambda row: row[1])
        return len(self._waiting), rows

    def online(self) -> list[agents.Agent]:
        """Who the online list shows: the truth of `presence_lag_seconds` ago."""
        self._sweep()
        at = self._clock() - self._chosen.presence_lag_seconds
        return [agent for agent in self.agents.values() if agent.is_online(at, self.started_at)]

    # Steering ------------------------------------------------------------------------------------

    def agent(self, kf_account: str) -> agents.Agent:
        """The agent of this name, known from now on; refuses with 65401 who cannot be one here."""
        known = self.agents.get(kf_account)
        if known is not None:
            return known
        if not names.KF_ACCOUNT.fullmatch(kf_account):
            raise replies.Refused(65401)
        suffix = kf_account.partition("@")[2]
        if suffix in self._foreign or names.agent(kf_account).errcode == 65401:
            raise replies.Refused(65401)
        return self._enter(kf_account, None)

    def switch(self, kf_account: str, is_online: bool) -> None:
        """Send an agent online or offline, from now on."""
        self.agent(kf_account).switch(self._clock(), is_online)

    def is_online(self, agent: agents.Agent) -> bool:
        """Whether an agent is online, in truth."""
        return agent.is_online(self._clock(), self.started_at)

    def wait(self, openids: Iterable[str]) -> None:
        """Let these fans wait, in this order; whoever waits or is served already stays there."""
        now = self._clock()
        for openid in openids:
            if openid not in self._open:
                self._waiting.setdefault(openid, now)

    # Inside --------------------------------------------------------------------------------------

    def _check_openid(self, openid: str) -> None:
        if not names.OPENID.fullmatch(openid):
            raise replies.Refused(40003)

    def _enter(self, kf_account: str, chosen: scenario.Agent | None) -> agents.Agent:
        agent = agents.Agent(kf_account, _FIRST_KF_ID + len(self.agents), chosen)
        self.agents[kf_account] = agent
        return agent

    def _refuse_or_release(self, held: Session) -> None:
        match self._chosen.served_elsewhere:
            case "ok":
                self._close_session(held)
            case "61458":
                raise replies.Refused(61458, held.kf_account)
            case code:
                raise replies.Refused(int(code))

    def _open_session(self, agent: agents.Agent, openid: str, opened_by: str) -> None:
        session = Session(
            appid=self.account.appid,
            openid=openid,
            kf_account=agent.kf_account,
            opened_at=self._clock(),
            opened_by=opened_by,
        )
        self._open[openid] = session
        self.history.append(session)
        self._by_age.append(session)
        self._waiting.pop(openid, None)
        agent.take(openid)

    def _close_session(self, session: Session) -> None:
        session.closed_at = self._clock()
        del self._open[session.openid]
        self.agents[session.kf_account].leave(session.openid)

    def _sweep(self) -> None:
        if not self._chosen.session_seconds:
            return
        oldest = self._clock() - self._chosen.session_seconds
        while self._by_age and self._by_age[0].opened_at <= oldest:
            session = self._by_age.popleft()
            if session.closed_at is None:
                self._close_session(session)

    def _arrive(self) -> None:
        elapsed = self._clock() - self.started_at
        for at, row in enumerate(self._arrivals):
            due = int(row.arrivals_per_second * elapsed)
            due = min(due, row.arrivals_limit) if row.arrivals_limit else due
            for number in range(self._arrived[at] + 1, due + 1):
                since = self.started_at + number / row.arrivals_per_second
                openid = f"arrived_{number:06d}"
                if openid not in self._open:
                    self._waiting.setdefault(openid, since)
            self._arrived[at] = max(self._arrived[at], due)

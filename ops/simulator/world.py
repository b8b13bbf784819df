"""Receives the calls on one account, checked, and hands on what WeChat's state makes of them.

Pure state: agents, sessions and waiting fans; the clock is injected; nothing here knows HTTP.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import OrderedDict
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
        #: A heap of (end, number in the history): the sessions that close by themselves.
        self._endings: list[tuple[float, int]] = []
        self._started: set[str] = set()
        #: Since when each fan waits, oldest first; a plain dict is slow at its front.
        self._waiting: OrderedDict[str, float] = OrderedDict()
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
        self._close_session(held, self._clock())

    def hang_up(self, openid: str) -> bool:
        """Close whatever session a fan has, as if the agent did; False when there is none."""
        held = self.session_of(openid)
        if held is not None:
            self._close_session(held, self._clock())
        return held is not None

    def session_of(self, openid: str, asked: str = "") -> Session | None:
        """The session a fan has now."""
        self.catch_up()
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
        self.catch_up()
        agent = self.agent(kf_account)
        if agent.plan.errcode == 65401:
            raise replies.Refused(65401)
        return sorted((self._open[fan] for fan in agent.fans), key=lambda held: held.opened_at)

    def waiting(self) -> tuple[int, list[tuple[str, float]]]:
        """How many fans wait, and the first rows (openid, since), oldest first."""
        self.catch_up()
        rows = itertools.islice(self._waiting.items(), WAITING_ROWS)
        return len(self._waiting), list(rows)

    def online(self) -> list[tuple[agents.Agent, int]]:
        """The online list, each with its accepted cases: the truth of the lag ago."""
        self.catch_up()
        at = self._clock() - self._chosen.presence_lag_seconds
        return [
            (agent, agent.serving(at))
            for agent in self.agents.values()
            if agent.is_online(at, self.started_at)
        ]

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
        for openid in openids:
            if self.session_of(openid) is None:
                self._waiting.setdefault(openid, self._clock())

    def catch_up(self) -> None:
        """Let happen what time has brought since the last call: arrivals, and ends of sessions."""
        now = self._clock()
        self._arrive(now)
        while self._endings and self._endings[0][0] <= now:
            ends_at, number = heapq.heappop(self._endings)
            session = self.history[number]
            if session.closed_at is None:
                self._close_session(session, ends_at)

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
                self._close_session(held, self._clock())
            case "61458":
                raise replies.Refused(61458, held.kf_account)
            case code:
                raise replies.Refused(int(code))

    def _open_session(self, agent: agents.Agent, openid: str, opened_by: str) -> None:
        now = self._clock()
        session = Session(
            appid=self.account.appid,
            openid=openid,
            kf_account=agent.kf_account,
            opened_at=now,
            opened_by=opened_by,
        )
        if seconds := self._session_seconds(openid):
            heapq.heappush(self._endings, (now + seconds, len(self.history)))
        self._open[openid] = session
        self.history.append(session)
        self._waiting.pop(openid, None)
        agent.take(now, openid)

    def _session_seconds(self, openid: str) -> float:
        """How long a fan's sessions last, whatever the order of the calls; 0 is without end."""
        least, most = self._chosen.session_seconds
        if least == most:
            return most
        # Not for secrets: the same seed must give the same ends.
        return random.Random(f"{self._chosen.seed}/session/{openid}").uniform(least, most)  # noqa: S311

    def _close_session(self, session: Session, at: float) -> None:
        session.closed_at = at
        del self._open[session.openid]
        self.agents[session.kf_account].leave(at, session.openid)

    def _arrive(self, now: float) -> None:
        arrived = []
        for at, row in enumerate(self._arrivals):
            due = int(row.arrivals_per_second * (now - self.started_at))
            due = min(due, row.arrivals_limit) if row.arrivals_limit else due
            for number in range(self._arrived[at] + 1, due + 1):
                since = self.started_at + number / row.arrivals_per_second
                arrived.append((since, f"arrived_{number:06d}"))
            self._arrived[at] = max(self._arrived[at], due)
        for since, openid in sorted(arrived):
            if openid not in self._open:
                self._waiting.setdefault(openid, since)

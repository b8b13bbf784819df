"""Receives appid and secret, hands on access tokens; receives a token, hands on whose it is.

/cgi-bin/token makes a new token each time and the old one works 5 minutes more; stable_token hands
out the same one until its last 5 minutes. The two do not disturb each other.
"""

from __future__ import annotations

import secrets
import string
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ops.simulator import replies, scenario

#: How long a replaced token works on, and how near its end a stable token is renewed (seconds).
OVERLAP_SECONDS = 300
#: Forced renewals: so far apart (seconds), so many a day.
FORCE_APART_SECONDS = 30
FORCE_PER_DAY = 20
#: What tokens that are killed by a fault answer, by turns.
_DEATHS = (40001, 42001)
_ALPHABET = string.ascii_letters + string.digits + "_-"


@dataclass(slots=True)
class Token:
    """One issued token; `dead_errcode` is what it answers after its end."""

    appid: str
    value: str = field(repr=False)
    expires_at: float
    dead_errcode: int = 42001


class Tokens:
    """Every token of every account."""

    def __init__(self, chosen: scenario.Scenario, clock: Callable[[], float]) -> None:
        self._accounts = {account.appid: account for account in chosen.accounts}
        self._fixed = {account.token: account.appid for account in chosen.accounts if account.token}
        self._seconds = chosen.token_seconds
        self._length = chosen.token_length
        self._clock = clock
        self._issued: dict[str, Token] = {}
        self._latest: dict[str, Token] = {}
        self._stable: dict[str, Token] = {}
        self._forced: dict[str, list[float]] = {}
        self._kills: Counter[str] = Counter()

    def owner(self, value: str) -> str:
        """The appid a token belongs to; refuses with 41001, 40001, or what the token died of."""
        if not value:
            raise replies.Refused(41001)
        if appid := self._fixed.get(value):
            return appid
        token = self._issued.get(value)
        if token is None:
            raise replies.Refused(40001)
        if token.expires_at <= self._clock():
            raise replies.Refused(token.dead_errcode)
        return token.appid

    def fresh(self, appid: str, secret: str) -> tuple[str, int]:
        """GET /cgi-bin/token: a new token and its seconds."""
        self._check(appid, secret)
        self._retire(self._latest.get(appid))
        token = self._latest[appid] = self._issue(appid)
        return token.value, self._seconds

    def stable(self, appid: str, secret: str, is_forced: bool) -> tuple[str, int]:
        """POST /cgi-bin/stable_token: the token and the seconds it has left."""
        self._check(appid, secret)
        now = self._clock()
        if is_forced:
            self._count_force(appid, now)
        token = self._stable.get(appid)
        # A lifetime under 5 minutes has no last 5 minutes to speak of: take its last quarter.
        margin = min(OVERLAP_SECONDS, self._seconds / 4)
        if token is None or is_forced or token.expires_at - now <= margin:
            if is_forced:
                self._retire(token)
            token = self._stable[appid] = self._issue(appid)
        return token.value, int(token.expires_at - now)

    def expire_all(self, errcode: int = 42001) -> int:
        """Kill every token but the fixed ones; returns how many lived."""
        return self._expire(self._issued.values(), errcode)

    def kill(self, appid: str) -> int:
        """Kill an account's tokens but the fixed one; returns what they say: 40001, 42001, …."""
        errcode = _DEATHS[self._kills[appid] % len(_DEATHS)]
        self._kills[appid] += 1
        self._expire([token for token in self._issued.values() if token.appid == appid], errcode)
        return errcode

    def _expire(self, tokens: Iterable[Token], errcode: int) -> int:
        now = self._clock()
        living = [token for token in tokens if token.expires_at > now]
        for token in living:
            token.expires_at, token.dead_errcode = now, errcode
        return len(living)

    def _check(self, appid: str, secret: str) -> None:
        account = self._accounts.get(appid)
        if account is None:
            raise replies.Refused(40013)
        if account.secret != secret:
            raise replies.Refused(40125)

    def _count_force(self, appid: str, now: float) -> None:
        times = [at for at in self._forced.get(appid, []) if now - at < 86400]
        if times and now - times[-1] < FORCE_APART_SECONDS:
            raise replies.Refused(45011)
        if len(times) >= FORCE_PER_DAY:
            raise replies.Refused(45009)
        self._forced[appid] = [*times, now]

    def _issue(self, appid: str) -> Token:
        value = "".join(secrets.choice(_ALPHABET) for _ in range(self._length))
        token = Token(appid, value, self._clock() + self._seconds)
        self._issued[value] = token
        return token

    def _retire(self, token: Token | None) -> None:
        if token is not None:
            token.expires_at = min(token.expires_at, self._clock() + OVERLAP_SECONDS)
            token.dead_errcode = 40001

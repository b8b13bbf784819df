"""Takes an account's credentials and reads of WeChat who waits and who is online, for `route`.

The only module of the producers that calls WeChat. Import it when a command needs it: requests
takes a tenth of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar

from worker import credentials, errors, retry
from worker.contract import settings
from worker.ledger import connection
from worker.wechat import agents, kfsession, transport

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What WeChat shows: the oldest waiting fans and how many there are; who serves how many."""

    count: int
    #: Since when each fan waits, in Unix seconds (0: not told); the oldest first.
    fans: Mapping[str, int]
    #: What each agent who is online serves.
    online: Mapping[str, int]


class WeChat:
    """One account, as far as `route` reads it; opens nothing before it is asked."""

    def __init__(self, config: settings.Settings, account: settings.Account) -> None:
        self._client = connection.connect(
            config.ledger_url, timeout_seconds=config.submit_timeout_seconds, max_connections=4
        )
        self._credentials = credentials.Credentials(config, self._client)
        self._tokens = self._credentials.token_source(account)

    def look(self) -> View:
        """Read both lists; what passes is tried again (`worker.retry.reading`).

        Raises a class of WeChatError, or TokenUnavailable.
        """
        waiting = self._ask(kfsession.waiting)
        online = self._ask(agents.online)
        return View(
            count=waiting.count,
            fans={fan.openid: fan.waiting_since for fan in waiting.fans},
            online={agent.kf_account: agent.accepted_case for agent in online},
        )

    def close(self) -> None:
        """Close what was opened."""
        self._credentials.close()
        self._client.close()

    def __enter__(self) -> WeChat:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, call: Callable[[transport.Transport, str], _T]) -> _T:
        return retry.reading()(lambda: self._with_token(call))

    def _with_token(self, call: Callable[[transport.Transport, str], _T]) -> _T:
        """Make one call; a rejected token is renewed, and the call made again, once."""
        token = self._tokens.get()
        try:
            return call(self._credentials.api, token)
        except errors.TokenRejected:
            return call(self._credentials.api, self._tokens.renew(token))

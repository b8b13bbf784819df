"""Takes an account's credentials and fetches an access token: one call, no memory.

Sources: WeChat's page of getStableAccessToken. A new token of /cgi-bin/token would end the one that
others use, so that call is not made.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pydantic

from worker import errors
from worker.wechat import tokens, transport

_FIELDS = ("access_token",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An access token and how long it is good for."""

    token: str = dataclasses.field(repr=False)
    expires_in_seconds: int


#: Fetches a token within so many seconds; raises a class of WeChatError.
Fetch = Callable[[float], Grant]


class StableCall:
    """POST /cgi-bin/stable_token: the same token for everybody who asks while it is good."""

    def __init__(self, via: transport.Transport, *, appid: str, secret: pydantic.SecretStr) -> None:
        self._via, self._appid, self._secret = via, appid, secret

    def fetch(self, timeout_seconds: float) -> Grant:
        """The account's current token, or a new one in the current one's last five minutes."""
        return self._ask(timeout_seconds, force_refresh=False)

    def force(self, timeout_seconds: float) -> Grant:
        """A new token; the current one ends at once. WeChat allows 20 a day, 30 s apart."""
        return self._ask(timeout_seconds, force_refresh=True)

    def _ask(self, timeout_seconds: float, *, force_refresh: bool) -> Grant:
        body = {
            "grant_type": "client_credential",
            "appid": self._appid,
            "secret": self._secret.get_secret_value(),
            "force_refresh": force_refresh,
        }
        answer = self._via.post(
            "/cgi-bin/stable_token",
            token=None,
            body=body,
            expects=_FIELDS,
            timeout_seconds=timeout_seconds,
        )
        return _read_grant(answer)


class UrlCall:
    """GET of a server that owns the token and answers as WeChat's token call does.

    `via` is a Transport whose base URL is that address, query included.
    """

    def __init__(self, via: transport.Transport) -> None:
        self._via = via

    def fetch(self, timeout_seconds: float) -> Grant:
        """The token the owner gives out now."""
        answer = self._via.get(
            "", token=None, params={}, expects=_FIELDS, timeout_seconds=timeout_seconds
        )
        return _read_grant(answer)


def _read_grant(answer: dict[str, Any]) -> Grant:
    token, expires_in = answer["access_token"], answer.get("expires_in")
    if not tokens.is_token(token):
        raise errors.UnreadableReply("the access_token is no token")
    text = str(expires_in)
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 7 and int(text) > 0):
        raise errors.UnreadableReply("expires_in is no number of seconds")
    return Grant(token=token, expires_in_seconds=int(text))

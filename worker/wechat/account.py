"""Takes a call and makes it for one account: with its transport, and a token from its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from worker import errors
from worker.wechat import tokens
from worker.wechat import transport as transports

T = TypeVar("T")

#: Takes a token out of its source.
GetToken = Callable[[tokens.TokenSource], str]
#: A call of WeChat's API: it takes the transport and an access token.
Call = Callable[[transports.Transport, str], T]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a worker needs to call WeChat for one account."""

    appid: str
    transport: transports.Transport
    tokens: tokens.TokenSource
    #: Whether the token comes from WeChat's API too: then there is one way to both.
    has_token_of_wechat: bool = False

    def token(self, get: GetToken) -> str:
        """A token; raises TokenUnavailable, or what WeChat said to the token call.

        A refusal is of the credentials and the address that this machine has.
        """
        try:
            return get(self.tokens)
        except errors.TokenUnavailable as error:
            cause = error.cause_error
            if isinstance(cause, errors.AccountBlocked):
                cause = errors.MachineRefused(
                    str(cause), errcode=cause.errcode, errmsg=cause.errmsg, rid=cause.rid
                )
            has_no_way = isinstance(cause, errors.NeverLeft) and self.has_token_of_wechat
            if isinstance(cause, errors.Refused) or (cause is not None and has_no_way):
                raise cause from None
            raise

    def call(self, make: Call[T]) -> T:
        """Make a call that is about no request; with a renewed token where the first is rejected.

        Raises a class of WeChatError, or TokenUnavailable.
        """
        token = self.token(lambda source: source.get())
        try:
            return make(self.transport, token)
        except errors.TokenRejected:
            return make(self.transport, self.token(lambda source: source.renew(token)))

"""Takes a call and makes it for one account: with its transport, and a token from its source."""

from __future__ import annotations

import dataclasses
import threading
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


class _Newest:
    """The newest token that was renewed, and what became of the first call with it."""

    def __init__(self) -> None:
        #: Held during the first call with a new token; others wait for that one call.
        self.lock = threading.Lock()
        self.token: str | None = None
        #: Why WeChat rejected that one too.
        self.rejection: errors.TokenRejected | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a worker needs to call WeChat for one account."""

    appid: str
    transport: transports.Transport
    tokens: tokens.TokenSource
    #: Whether the token comes from WeChat's API too: then there is one way to both.
    has_token_of_wechat: bool = False
    _newest: _Newest = dataclasses.field(default_factory=_Newest, repr=False, compare=False)

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
            pass
        return self.with_renewed(lambda renewed: make(self.transport, renewed), token)

    def with_renewed(self, make: Callable[[str], T], rejected: str) -> T:
        """Make a call again whose token was `rejected`, with the next one.

        Whoever comes first tries the new token, and the others wait for that one call: where
        WeChat rejects it too, theirs would be wasted.
        """
        newest = self._newest
        with newest.lock:
            token = self.token(lambda source: source.renew(rejected))
            if token != newest.token:
                newest.token, newest.rejection = token, None
                return self._try_first(make, token)
            if (told := newest.rejection) is not None:
                raise errors.TokenRejected(str(told), errcode=told.errcode, errmsg=told.errmsg)
        return make(token)

    def _try_first(self, make: Callable[[str], T], token: str) -> T:
        try:
            return make(token)
        except errors.TokenRejected as error:
            self._newest.rejection = error
            raise
        except errors.WeChatError:
            raise  # it says nothing against the token
        except BaseException:  # no call was made: somebody else is the first
            self._newest.token = None
            raise

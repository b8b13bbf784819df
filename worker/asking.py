"""Takes a claim and asks WeChat, target by target, until an agent has the fan or nobody is left.

The ledger says whom to ask, since gates, presence and room to spare are counted there across all
workers; each answer is told to it before the next one is asked.

One rule shapes it: while it is unsure whether a fan was given to an agent, that same agent may be
asked again (WeChat answers 0 for a pair that has its session), but another one only after a
read-back.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from worker import errors
from worker.contract import record, request
from worker.ledger import claims
from worker.wechat import account as wechat_account
from worker.wechat import kfsession

T = TypeVar("T")

#: What ends a request when create says it says nothing of the request when a read does.
_NO_ANSWER_TO_A_READ = (
    errors.UnknownErrcode,
    errors.BadRequest,
    errors.AgentOut,
    errors.AgentOffline,
    errors.ServedElsewhere,
)


class TakenBack(Exception):
    """The request was cancelled before a further call."""


class Over(Exception):
    """Raised when the deadline passed, so that no further agent may be asked."""


class Interrupted(Exception):
    """The worker shuts down, and no call is under way."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Who serves the fan, and whether this request asked that agent."""

    served_by: str
    is_ours: bool


class Keeper(Protocol):
    """Keeps a claim for further calls; both raise LeaseLost when it is gone."""

    def renew(
        self, claim: claims.Claim, kf_account: str, progress: claims.Progress
    ) -> claims.Claim:
        """Keep it for a call to `kf_account`."""

    def find_next(
        self,
        claim: claims.Claim,
        progress: claims.Progress,
        *,
        out: frozenset[str],
        offline: str | None,
        visited: frozenset[str],
    ) -> claims.Claim:
        """Keep it for whoever can be asked next, and was not `visited`."""


class Asking:
    """The calls made for one claim, and what they taught.

    `keeper` keeps the claim before a call that it does not cover yet; `is_stopping` says that no
    further call may start. `call_seconds` is the longest a call may take.
    """

    def __init__(
        self,
        claim: claims.Claim,
        account: wechat_account.Account | None,
        keeper: Keeper,
        *,
        is_stopping: Callable[[], bool],
        call_seconds: float,
    ) -> None:
        self.claim = claim
        self.out = set(claim.out)
        #: The agent who may have been given this fan unseen.
        self.doubt = claim.doubt
        self.attempt_count = claim.attempt_count
        self._account = account
        self._keeper = keeper
        self._is_stopping = is_stopping
        self._call_seconds = call_seconds
        self._attempts: list[record.Attempt] = []
        self._api_calls = claim.api_calls
        could_ask = {claim.doubt, request.ANY} & set(claim.targets)
        self._asked = {claim.doubt} if claim.doubt and could_ask else set()
        self._has_renewed_token = False
        #: When nobody new is asked any more, on the monotonic clock.
        self._ends = time.monotonic() + claim.seconds_left
        #: Why the request fails once every agent is out.
        self._out_for: errors.WeChatError | None = None
        if (code := claim.unknown_code) is not None:
            self._out_for = errors.UnknownErrcode(f"errcode {code}", errcode=code)
        #: Who was found offline in this delivery; nobody is visited twice.
        self._visited: set[str] = set()
        #: Who was just found offline, until the ledger knows.
        self._offline: str | None = None

    @property
    def has_met_offline(self) -> bool:
        """Whether somebody was found offline in this delivery."""
        return bool(self._visited)

    @property
    def last_errcode(self) -> int | None:
        """What the newest attempt of this delivery was told."""
        return self._attempts[-1].errcode if self._attempts else None

    @property
    def progress(self) -> claims.Progress:
        """What the ledger has to remember of these calls."""
        doubt = claims.Doubt()
        if self.doubt != self.claim.doubt:
            doubt = claims.Doubt.about(self.doubt) if self.doubt else claims.Doubt.cleared()
        return claims.Progress(
            attempt_count=self.attempt_count,
            api_calls=self._api_calls,
            attempts=tuple(self._attempts[-record.KEPT_ATTEMPTS :]),
            doubt=doubt,
        )

    def ask(self) -> Answer:
        """Ask the targets in order; the next one at once when one is offline, full or wrong.

        Raises AgentOut or UnknownErrcode when all of them are out, NobodyFree when one may be free
        yet, Over when the deadline comes first, else what broke the round off. Unsure ends, of
        reads too, count as attempts.
        """
        try:
            return self._ask_in_turn()
        except errors.WeChatError as error:
            # ServedElsewhere gets here when nobody serves the fan after all: WeChat is not settled.
            unsettled = isinstance(error, errors.ServedElsewhere)
            is_counted = isinstance(error, errors.UnknownErrcode)  # by `_leave_out`
            if unsettled or (error.ended is errors.Ended.UNSURE and not is_counted):
                self.attempt_count += 1
            raise

    def _ask_in_turn(self) -> Answer:
        kf_account = self.claim.calling
        if kf_account in self.out or kf_account in self._visited:
            kf_account = None
        while True:
            if self.doubt not in (None, kf_account) and (found := self.read_back()):
                return found
            kf_account = kf_account or self._find_next()
            try:
                return self._ask_one(kf_account)
            except errors.AgentOffline:
                self._offline = kf_account
                self._visited.add(kf_account)
            except (errors.AgentOut, errors.UnknownErrcode) as error:
                self._leave_out(kf_account, error)
            kf_account = None

    def _leave_out(self, kf_account: str, error: errors.AgentOut | errors.UnknownErrcode) -> None:
        """Ask this agent no more for this request; a code nobody knows is what it fails with."""
        self.out.add(kf_account)
        is_unknown = isinstance(error, errors.UnknownErrcode)
        if is_unknown:
            self.attempt_count += 1
            assert error.errcode is not None  # noqa: S101 - it is what the class is about
            self.out.add(claims.unknown_code_mark(error.errcode))
        if self._out_for is None or (is_unknown and isinstance(self._out_for, errors.AgentOut)):
            self._out_for = error

    def _find_next(self) -> str:
        """Whom the ledger says to ask next; raises what ends the round when that is nobody."""
        self._keep(
            self._keeper.find_next(
                self.claim,
                self.progress,
                out=frozenset(self.out),
                offline=self._offline,
                visited=frozenset(self._visited),
            )
        )
        self._offline = None
        if self.claim.is_cancelled:
            raise TakenBack
        if self.claim.is_over:
            raise Over
        if self.claim.calling is not None:
            return self.claim.calling
        if self.claim.held_for is None:  # an earlier delivery may have heard of the wrong ones
            raise self._out_for or errors.AgentOut("every agent it asks for was found wrong")
        raise errors.NobodyFree(self.claim.held_for)

    def read_back(self) -> Answer | None:
        """Who serves the fan, by WeChat's own word; None for nobody. Ends the doubt."""
        if not self._has_lease():
            calling = self.doubt or self.claim.calling or ""
            self._keep(self._keeper.renew(self.claim, calling, self.progress))
        try:
            served_by = self._read(self._serving)
        except errors.FanInvalid:  # WeChat does not know this fan, so nobody serves it
            served_by = None
        self.doubt = None
        if served_by is None:
            return None
        return Answer(served_by=served_by, is_ours=served_by in self._asked)

    def _ask_one(self, kf_account: str) -> Answer:
        try:
            self._with_token(lambda token: self._create(kf_account, token))
        except errors.ServedElsewhere:
            if found := self.read_back():
                return found
            raise
        self.doubt = None
        return Answer(served_by=kf_account, is_ours=True)

    def _create(self, kf_account: str, token: str) -> None:
        if self._is_stopping():
            raise Interrupted
        if kf_account not in self._asked and time.monotonic() >= self._ends:
            raise Over
        # The claim covers one call; before a further one ask whether it was taken back meanwhile.
        if self._attempts or not self._has_lease() or self.claim.calling != kf_account:
            self._keep(self._keeper.renew(self.claim, kf_account, self.progress))
            if self.claim.is_cancelled:
                raise TakenBack
        at, started = datetime.datetime.now(datetime.UTC), time.monotonic()
        failure: errors.WeChatError | None = errors.Unsure("our own code broke off")
        # Until a reply says otherwise the fan is unsure, whatever breaks from here on.
        before, self.doubt = self.doubt, kf_account
        self._asked.add(kf_account)
        try:
            kfsession.create(
                self._known_account().transport,
                token,
                kf_account=kf_account,
                openid=self.claim.openid,
            )
            failure = None
        except errors.WeChatError as error:
            failure = error
            # Who is said to serve the fan may be whom we asked: only a read-back can tell.
            is_doubted = isinstance(error, errors.ServedElsewhere)
            if error.ended is not errors.Ended.UNSURE and not is_doubted:
                self.doubt = before
            raise
        finally:
            self._remember(at, kf_account, failure, round((time.monotonic() - started) * 1000))

    def _remember(
        self,
        at: datetime.datetime,
        kf_account: str,
        failure: errors.WeChatError | None,
        elapsed_ms: int,
    ) -> None:
        self._api_calls += 1
        self._attempts.append(
            record.Attempt(
                at=at,
                kf_account=kf_account,
                errcode=failure.errcode if failure else 0,
                errmsg=failure.errmsg if failure else "ok",
                rid=failure.rid if failure else None,
                error=failure.name if failure else None,
                elapsed_ms=elapsed_ms,
            )
        )

    def _has_lease(self) -> bool:
        """Whether the claim outlasts one more call."""
        return self.claim.lease_left_seconds() > self._call_seconds + 1

    def _keep(self, renewed: claims.Claim) -> None:
        """Go on under a renewed claim; what the calls taught stands in the ledger now."""
        self.claim = dataclasses.replace(renewed, doubt=self.doubt)
        self._ends = time.monotonic() + renewed.seconds_left
        self._attempts.clear()

    def _serving(self, token: str) -> str | None:
        return kfsession.serving(self._known_account().transport, token, openid=self.claim.openid)

    def _read(self, call: Callable[[str], T]) -> T:
        """Make a call that changes nothing; a code that only create can mean is no answer to it."""
        try:
            return self._with_token(call)
        except _NO_ANSWER_TO_A_READ as error:
            raise errors.UnreadableReply(
                str(error), errcode=error.errcode, errmsg=error.errmsg, rid=error.rid
            ) from None

    def _with_token(self, call: Callable[[str], T]) -> T:
        """Make one call; a rejected token is renewed, and the call made again, once a delivery."""
        account = self._known_account()
        token = account.token(lambda source: source.get())
        try:
            return call(token)
        except errors.TokenRejected:
            if self._has_renewed_token:
                raise
        self._has_renewed_token = True
        return account.with_renewed(call, token)

    def _known_account(self) -> wechat_account.Account:
        if self._account is None:
            raise errors.CredentialsMissing(
                f"this worker has no credentials for account {self.claim.appid}",
                hint=f"give the worker the credentials of {self.claim.appid}, or cancel it",
            )
        return self._account

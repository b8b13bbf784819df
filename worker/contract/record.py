"""What a reader gets back about a request: `Record`, with its closed sets of states and reasons."""

from __future__ import annotations

import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import pydantic

from worker.contract import request

#: The layout of the ledger that this release writes. A worker refuses a newer one.
SCHEMA = 1
#: How many of its newest attempts a record keeps.
KEPT_ATTEMPTS = 5


class Status(StrEnum):
    """Where a request stands in its life."""

    #: In its lane; the next free worker takes it.
    QUEUED = "queued"
    #: A worker holds the claim and asks WeChat.
    CALLING = "calling"
    #: Held until a wake time, or until what it waits for changes.
    WAITING = "waiting"
    #: The session exists with an agent this request asked.
    CREATED = "created"
    #: Another agent serves this fan; `served_by` says who.
    ALREADY_SERVED = "already_served"
    #: Refused for good; `reason` and `hint` say why and what to do.
    FAILED = "failed"
    #: The deadline came first; `reason` keeps what it waited for.
    EXPIRED = "expired"
    #: Its producer, or an operator, took it back.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the outcome is written; only `retry` changes it after that."""
        return self in FINAL


#: In which the fan has an agent.
SERVED = frozenset({Status.CREATED, Status.ALREADY_SERVED})
FINAL = frozenset(
    {Status.CREATED, Status.ALREADY_SERVED, Status.FAILED, Status.EXPIRED, Status.CANCELLED}
)


class Reason(StrEnum):
    """Why a request waits, or why it failed."""

    #: No agent it asks for is online (65415).
    AGENT_OFFLINE = "agent_offline"
    #: Every agent it asks for serves as many fans as it can take.
    AGENT_FULL = "agent_full"
    #: WeChat was busy, or a reply was lost; asked again with growing waits.
    TRANSIENT = "transient"
    #: No usable access token.
    TOKEN = "token"  # noqa: S105 - the name of a reason, not a secret
    #: The account's per-minute limit (45011).
    RATE_LIMITED = "rate_limited"
    #: The account's daily limit (45009).
    QUOTA = "quota"
    #: WeChat refuses the account or this machine; a person has to act.
    ACCOUNT_BLOCKED = "account_blocked"
    #: An operator paused the agent or the account.
    PAUSED = "paused"
    #: The openid is wrong, or the fan no longer follows the account (40003, 43004).
    INVALID_OPENID = "invalid_openid"
    #: No such agent (65401).
    INVALID_AGENT = "invalid_agent"
    #: The agent is not bound to a WeChat user (65402).
    AGENT_NOT_BOUND = "agent_not_bound"
    #: WeChat calls our call malformed: a bug of ours.
    BAD_REQUEST = "bad_request"
    #: A code that the table does not know; the record keeps it.
    UNKNOWN_ERRCODE = "unknown_errcode"
    #: 30 transient attempts came to nothing.
    GAVE_UP = "gave_up"
    #: Our own code failed on this request five times in a row.
    INTERNAL_ERROR = "internal_error"
    #: A final state had to be written while nobody could tell whether a session was opened.
    UNCONFIRMED = "unconfirmed"


_Member = TypeVar("_Member", bound=StrEnum)
#: A word of a closed set; a plain str where only a newer release knows it. Two releases may share
#: a ledger: what one writes must not stop the readers of the other.
Word = Annotated[_Member | str, pydantic.Field(union_mode="left_to_right")]


def word(of: type[_Member], text: str) -> _Member | str:
    """The member of that name, or the text itself where only a newer release knows it."""
    try:
        return of(text)
    except ValueError:
        return text


def reason_of(text: str) -> Reason | None:
    """The reason of that name; None for none, and for one that only a newer release knows."""
    known = word(Reason, text)
    return known if isinstance(known, Reason) else None


#: What a request waits for that waits in the room of its agents.
OF_AGENTS = frozenset({Reason.AGENT_OFFLINE, Reason.AGENT_FULL, Reason.PAUSED})
#: What all of an account's requests wait for, until one probes.
OF_ACCOUNT = frozenset({Reason.TOKEN, Reason.RATE_LIMITED, Reason.QUOTA, Reason.ACCOUNT_BLOCKED})
#: Everything a request can wait for.
WAITS = OF_AGENTS | OF_ACCOUNT | {Reason.TRANSIENT}


def _iso(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


#: A moment, written as ISO 8601 in UTC with milliseconds.
Moment = Annotated[datetime.datetime, pydantic.PlainSerializer(_iso, when_used="json")]


class Attempt(pydantic.BaseModel):
    """One call of `kfsession/create`, with what came back."""

    model_config = pydantic.ConfigDict(frozen=True)

    at: Moment
    kf_account: str
    #: WeChat's code; 0 is success, None when no readable code came back.
    errcode: int | None
    errmsg: str | None
    #: WeChat's request id, for its diagnosis tool.
    rid: str | None
    #: The short name of the error class; None on success.
    error: str | None
    elapsed_ms: int


class Record(pydantic.BaseModel):
    """One request, whole, as every reader sees it."""

    model_config = pydantic.ConfigDict(frozen=True, validate_by_name=True)

    id: str
    schema_: Annotated[int, pydantic.Field(alias="schema")]
    appid: str
    openid: str
    #: The first target.
    kf_account: str
    targets: tuple[str, ...]
    lane: Word[request.Lane]
    status: Word[Status]
    final: bool
    reason: Word[Reason] | None
    errcode: int | None
    errmsg: str | None
    #: What a person should do.
    hint: str | None
    served_by: str | None
    #: How many wait before it for the same thing; None when it does not wait.
    ahead: int | None
    #: The newest five, oldest first.
    attempts: tuple[Attempt, ...]
    #: Transient and unsure attempts of this generation; 30 end the request.
    attempt_count: int
    #: Every create call made for this request.
    api_calls: int
    #: 1, and one more for each `retry`.
    generation: int
    submitted_at: Moment
    updated_at: Moment
    next_attempt_at: Moment | None
    deadline_at: Moment
    finished_at: Moment | None
    key: str | None
    metadata: dict[str, Any] | None

    @property
    def is_success(self) -> bool:
        """Whether the fan has an agent."""
        return self.status in SERVED

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values, under its outside names."""
        return self.model_dump(mode="json", by_alias=True)

"""Takes what a producer wishes, in any of its spellings, and hands on a checked `SessionRequest`.

One spelling serves Python keywords, JSON lines, CSV headers, the HTTP gateway and the task
`kfsession.submit`. Whatever breaks a limit is refused with one sentence that names the field, the
value and the rule.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

import pydantic

#: The target that means: whoever is online with the most room.
ANY = "any"

#: Most agents one request may name, `fallbacks` included.
MAX_TARGETS = 10
#: Longest agent name, in characters.
MAX_KF_ACCOUNT = 128
#: Shortest and longest life of a request, in seconds.
MIN_TTL_SECONDS, MAX_TTL_SECONDS = 1, 48 * 3600
#: Most metadata a request may carry, in bytes of compact JSON.
MAX_METADATA_BYTES = 4096
#: Deepest nesting of metadata, itself included; far below where a reader of the record would fail.
MAX_METADATA_DEPTH = 100
#: Longest idempotency key, in characters.
MAX_KEY = 128

_AGENT = re.compile(r"[^\s@|\x00-\x1f\x7f\ud800-\udfff]+@[^\s@|\x00-\x1f\x7f\ud800-\udfff]+")
_OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_APPID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class InvalidRequest(ValueError):
    """A request breaks a rule; the text names the field, the value and the rule."""


class Lane(StrEnum):
    """Which requests go first."""

    #: A person is waiting in a chat.
    ESCALATION = "escalation"
    #: Routed in bulk; served whenever no escalation waits.
    BATCH = "batch"


#: Values are a stranger's: a repr that stops before it is too deep or too long.
_REPR = reprlib.Repr()
_REPR.maxstring = 100


def _shown(value: object) -> str:
    try:
        text = _REPR.repr(value)
    except Exception:  # an int of too many digits, or a caller's class that cannot tell itself
        text = f"<{type(value).__name__}>"
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 80 else text[:77] + "..."


def is_deeper(value: object, depth: int) -> bool:
    """Whether lists and objects stand in one another more than `depth` deep, `value` included."""
    level = [value] if isinstance(value, list | tuple | dict) else []
    for _ in range(depth):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, list | tuple | dict)
        ]
    return bool(level)


def _check_agent(value: str) -> str:
    if value == ANY:
        return value
    if not _AGENT.fullmatch(value):
        raise ValueError("an agent is prefix@account (both parts non-empty, no spaces) or `any`")
    if len(value) > MAX_KF_ACCOUNT:
        raise ValueError(f"an agent's name has at most {MAX_KF_ACCOUNT} characters")
    return value


def check_single_agent(value: str) -> str:
    """`value` where it names one agent; raises InvalidRequest where it does not."""
    try:
        if _check_agent(value) != ANY:
            return value
        raise ValueError("`any` is no single agent")
    except ValueError as error:
        raise InvalidRequest(f"kf_account: {_shown(value)}: {error}") from None


def _check_openid(value: str) -> str:
    if not _OPENID.fullmatch(value):
        raise ValueError("an openid is 1 to 128 characters of A-Z a-z 0-9 _ -")
    return value


def _check_appid(value: str) -> str:
    if not _APPID.fullmatch(value):
        raise ValueError("an appid is 1 to 64 characters of A-Z a-z 0-9 _ -")
    return value


def _check_targets(targets: tuple[str, ...]) -> None:
    if len(targets) > MAX_TARGETS:
        raise ValueError(f"fallbacks: {len(targets)} targets; at most {MAX_TARGETS} are tried")
    if len(set(targets)) < len(targets):
        raise ValueError("fallbacks: an agent is named twice; name each once")
    if ANY in targets[:-1]:
        raise ValueError("fallbacks: `any` takes whoever is left, so it can only come last")


def _check_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a life is a number of seconds")
    return value


def _split_fallbacks(value: object) -> object:
    """CSV writes the list with `|` between the agents."""
    return [part.strip() for part in value.split("|")] if isinstance(value, str) else value


def _parse_metadata(value: object) -> object:
    """CSV writes the object as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"metadata is a JSON object ({error})") from None


Agent = Annotated[str, pydantic.AfterValidator(_check_agent)]
Appid = Annotated[str, pydantic.AfterValidator(_check_appid)]


class SessionRequest(pydantic.BaseModel):
    """Somebody's wish that a fan gets a session.

    `kf_account` and `fallbacks` are the targets in order of preference. `ttl_seconds` (1 s to 48
    h) or `deadline_at` (with a time zone) end the wish; without either the lane's setting
    decides. `key` makes the submit idempotent. `metadata` is handed back with the record.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    openid: Annotated[str, pydantic.AfterValidator(_check_openid)]
    kf_account: Agent
    fallbacks: Annotated[tuple[Agent, ...], pydantic.BeforeValidator(_split_fallbacks)] = ()
    appid: Appid | None = None
    lane: Lane = Lane.ESCALATION
    ttl_seconds: Annotated[
        float | None,
        pydantic.Field(ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS, allow_inf_nan=False),
        pydantic.BeforeValidator(_check_number),
    ] = None
    deadline_at: pydantic.AwareDatetime | None = None
    key: Annotated[str | None, pydantic.Field(min_length=1, max_length=MAX_KEY)] = None
    metadata: Annotated[dict[str, Any] | None, pydantic.BeforeValidator(_parse_metadata)] = None

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.fallbacks:
            _check_targets(self.targets)
        if self.ttl_seconds is not None and self.deadline_at is not None:
            raise ValueError("ttl_seconds and deadline_at are both given; give one")
        if self.metadata is not None:
            self._check_metadata()
        return self

    def _check_metadata(self) -> None:
        if len(self.metadata_json.encode()) > MAX_METADATA_BYTES:
            raise ValueError(f"metadata: more than {MAX_METADATA_BYTES} bytes of JSON")
        if is_deeper(self.metadata, MAX_METADATA_DEPTH):
            raise ValueError(f"metadata: nested more than {MAX_METADATA_DEPTH} deep")

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Check `fields`; raises InvalidRequest with one sentence for the first breach."""
        if not isinstance(fields, Mapping):
            raise InvalidRequest(f"a request is a JSON object, not {_shown(fields)}")
        for name in fields:  # it leads: a misspelled name explains a missing one
            if name not in cls.model_fields:
                raise InvalidRequest(_unknown_field(name))
        try:
            return cls.model_validate(dict(fields))
        except pydantic.ValidationError as error:
            raise InvalidRequest(_sentence(error)) from None
        except RecursionError:
            raise InvalidRequest("metadata: nested too deep to be read") from None

    @property
    def targets(self) -> tuple[str, ...]:
        """The agents that would do, in order of preference."""
        return (self.kf_account, *self.fallbacks)

    @property
    def metadata_json(self) -> str:
        """The metadata as compact JSON; empty when there is none. Redis never re-encodes it."""
        if self.metadata is None:
            return ""
        try:
            text = json.dumps(
                self.metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            )
            text.encode()  # a lone surrogate is no UTF-8
            return text
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata: not writable as JSON ({error})") from None

    @property
    def digest(self) -> str:
        """What is asked, apart from when it ends: the same key must come with the same digest."""
        told = self.metadata_json and json.dumps(json.loads(self.metadata_json), sort_keys=True)
        asked = "\n".join((self.openid, "|".join(self.targets), self.lane, told))
        return hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()

    def ttl_ms(self, default_seconds: float, now: datetime.datetime) -> int:
        """Milliseconds from `now` to the end of this wish.

        Raises InvalidRequest when `deadline_at` is past, or further away than 48 h.
        """
        if self.deadline_at is None:
            return round((self.ttl_seconds or default_seconds) * 1000)
        left_seconds = (self.deadline_at - now).total_seconds()
        if not 0 < left_seconds <= MAX_TTL_SECONDS:
            raise InvalidRequest(
                f"deadline_at: {self.deadline_at.isoformat()} is {left_seconds:.0f} s from now; "
                f"a deadline lies within the next {MAX_TTL_SECONDS // 3600} h"
            )
        return round(left_seconds * 1000)


def _sentence(invalid: pydantic.ValidationError) -> str:
    """One sentence for the first that pydantic found."""
    error = invalid.errors(include_url=False)[0]
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    field = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{field}: missing; a request names at least kf_account and openid"
    value = error["input"]
    swapped = field == "openid" and isinstance(value, str) and _AGENT.fullmatch(value)
    hint = "; did you swap KF_ACCOUNT and OPENID?" if swapped else ""
    return f"{field}: {_shown(value)}: {message}{hint}"


def _unknown_field(name: object) -> str:
    is_short = isinstance(name, str) and len(name) <= 40 and name.isprintable()
    field = str(name) if is_short else _shown(name)
    near = difflib.get_close_matches(field, SessionRequest.model_fields, n=1, cutoff=0.4)
    mend = (
        f"did you mean {near[0]}?"
        if near
        else "the fields are " + ", ".join(SessionRequest.model_fields)
    )
    return f"{field}: unknown field; {mend}"

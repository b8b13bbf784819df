"""Turns the `KF_*` environment variables (and `.env`) into checked `Settings`.

Nothing is read at import: `load()` reads, and raises `InvalidSettings` with one line that names the
variable. Secrets are `SecretStr`, so that no repr or log shows them; each can come as `…_FILE` too.
"""

from __future__ import annotations

import functools
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import pydantic_settings
from pydantic import Field, SecretStr

from worker.contract import request, urls

#: Where `kfsession up` says which embedded server this directory runs: {"url": …, "pid": …}.
EMBEDDED_FILE = Path(".kfsession/ledger.json")
#: The ledger when nothing else is said.
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
#: How many doorbells a slot are as good as any more.
MANY_A_SLOT = 4

#: Settings that `…_FILE` can hold; KF_ACCESS_TOKEN_FILE is a source of its own, re-read.
_IN_FILES = ("appsecret", "redis_url", "broker_url")
#: Values that no message shows; what a validator says of them it has redacted.
_HIDDEN = {*_IN_FILES, "access_token", "access_token_url", "api_base_url"}


class InvalidSettings(ValueError):
    """A setting is wrong; the text is one line that names the variable and the mend."""


def _is_surely_a_path(value: str) -> bool:
    """And not the secret itself, meant for the variable without _FILE."""
    return value.startswith(("/", "./", "../", "~")) and "://" not in value


def _check_token_url(value: SecretStr | None) -> SecretStr | None:
    parts = urls.split(value.get_secret_value()) if value else None
    if parts and not urls.is_safe(parts):
        raise ValueError(
            "must be an https:// URL that answers as WeChat's token call; only loopback may be http"
        )
    return value


#: Where another system hands out the token; may hold a secret in its query.
TokenUrl = Annotated[SecretStr | None, pydantic.AfterValidator(_check_token_url)]


def _check_single(value: str) -> str:
    if value == request.ANY:
        raise ValueError("is no single agent; for all of the account write agent_capacity")
    return value


#: An agent by its name, as a request spells it, but never `any`.
SingleAgent = Annotated[request.Agent, pydantic.AfterValidator(_check_single)]
#: How many sessions an agent may serve; 0 is no limit of ours. TOML knows numbers: no "20".
Capacity = Annotated[int, Field(ge=0, strict=True)]


class Account(pydantic.BaseModel):
    """One Official Account and where its access token comes from: exactly one source."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    appid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    appsecret: SecretStr | None = None
    access_token: SecretStr | None = None
    access_token_file: Path | None = None
    access_token_url: TokenUrl = None
    #: For every agent that `capacities` does not name; `Settings.accounts` leaves no None.
    agent_capacity: Capacity | None = None
    capacities: dict[SingleAgent, Capacity] = {}

    @pydantic.model_validator(mode="after")
    def _check_source(self) -> Self:
        sources = ("appsecret", "access_token", "access_token_file", "access_token_url")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"account {self.appid}: give exactly one of {', '.join(sources)}"
                f" (given: {', '.join(given) or 'none'})"
            )
        return self


class Settings(pydantic_settings.BaseSettings):
    """Every setting; times in seconds unless the name says otherwise."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix="KF_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    #: The ledger: redis://, rediss://, unix:// or sentinel://:pw@h1:26379,h2:26379/NAME/0.
    redis_url: SecretStr | None = None
    redis_url_file: Path | None = None
    #: The Celery broker; the ledger's server when unset.
    broker_url: SecretStr | None = None
    broker_url_file: Path | None = None
    #: Names the keys, the queues and kombu's own keys.
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "kf"
    api_base_url: str = "https://api.weixin.qq.com"
    appid: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = None
    appsecret: SecretStr | None = None
    appsecret_file: Path | None = None
    access_token: SecretStr | None = None
    access_token_file: Path | None = None
    access_token_url: TokenUrl = None
    #: TOML with one [[account]] table for each of several accounts.
    accounts_file: Path | None = None
    #: Calls a worker process makes at the same time.
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 64
    #: Life of an escalation, and of a batch request, that names none.
    ttl_seconds: Annotated[float, Field(ge=1, le=172800)] = 1800
    batch_ttl_seconds: Annotated[float, Field(ge=1, le=172800)] = 28800
    #: Total time one call to WeChat may take; leases derive from it.
    call_timeout_seconds: Annotated[float, Field(ge=0.5, le=60)] = 10
    #: Submit returns or raises within it.
    submit_timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = 2
    #: How many replicas must have a submit before it returns.
    submit_replicas: Annotated[int, Field(ge=0, le=10)] = 0
    #: How long a read of who is online is good for.
    presence_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5
    #: Sessions an agent may serve where the accounts file says nothing else; 0: no limit of ours.
    agent_capacity: Annotated[int, Field(ge=0)] = 0
    #: How long a final record is kept, in hours.
    retention_hours: Annotated[float, Field(gt=0, le=8760)] = 168
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in _IN_FILES:
            if not (path := values.get(f"{name}_file")):
                continue
            variable = f"KF_{name.upper()}_FILE"
            if values.get(name):
                raise ValueError(f"{variable}: KF_{name.upper()} is set too; give one of them")
            shown = repr(path) if _is_surely_a_path(str(path)) else "the file it names"
            try:
                values[name] = Path(path).read_text().strip()
            except OSError as error:
                raise ValueError(f"{variable}: cannot read {shown}: {error.strerror}") from None
            except UnicodeError:
                raise ValueError(f"{variable}: {path!r} is no text") from None
            except ValueError:
                raise ValueError(f"{variable}: what is set is no path") from None
            if not values[name]:
                raise ValueError(f"{variable}: {path!r} is empty")
        return values

    @pydantic.field_validator("redis_url", "broker_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        urls.check_redis(value.get_secret_value())
        return value

    @pydantic.field_validator("api_base_url")
    @classmethod
    def _check_api_base_url(cls, value: str) -> str:
        parts = urls.split(value)
        if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
            raise ValueError(f"{urls.redact(value)!r} must be scheme://host[:port] and no more")
        if urls.is_safe(parts):
            return value.rstrip("/")
        raise ValueError(f"{value!r} must be https; only loopback may be asked over http")

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.appsecret is not None and self.appid is None:
            raise ValueError("KF_APPID: missing; KF_APPSECRET needs it")
        if self.accounts_file is not None and self._credentials():
            raise ValueError(
                "KF_ACCOUNTS_FILE: credentials are also set in the environment; keep one of them"
            )
        return self

    def _credentials(self) -> dict[str, Any]:
        names = ("appsecret", "access_token", "access_token_file", "access_token_url")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def accounts(self) -> tuple[Account, ...]:
        """The accounts a worker serves, each with its `agent_capacity`.

        Raises InvalidSettings when there are none, or the accounts file is wrong.
        """
        if self.accounts_file is not None:
            return tuple(map(self._with_capacity, _read_accounts(self.accounts_file)))
        if not self._credentials():
            raise InvalidSettings(
                "KF_APPSECRET: missing; a worker needs KF_APPID and KF_APPSECRET, an access token"
                " (KF_ACCESS_TOKEN…), or KF_ACCOUNTS_FILE"
            )
        try:
            account = Account(appid=self.appid or "default", **self._credentials())
        except pydantic.ValidationError as error:
            raise InvalidSettings(f"KF_ACCESS_TOKEN: {_message(error)}") from None
        return (self._with_capacity(account),)

    def _with_capacity(self, account: Account) -> Account:
        if account.agent_capacity is not None:
            return account
        return account.model_copy(update={"agent_capacity": self.agent_capacity})

    @functools.cached_property
    def ledger_url(self) -> str:
        """Where the ledger is; may hold a password, so show it through `redact_url`."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return _embedded_url() or DEFAULT_REDIS_URL

    @property
    def celery_url(self) -> str:
        """Where the Celery broker is, in the same spelling as the ledger."""
        return self.broker_url.get_secret_value() if self.broker_url else self.ledger_url

    @property
    def lease_seconds(self) -> float:
        """A claim outlives a token fetch and a call, each at its full timeout."""
        return 2 * self.call_timeout_seconds + 5

    @property
    def many_messages(self) -> int:
        """So many doorbells in a lane will do: whoever is rung works through the whole of it."""
        return MANY_A_SLOT * self.concurrency

    def default_ttl_seconds(self, lane: str) -> float:
        """The life of a request in `lane` that names none."""
        return self.batch_ttl_seconds if lane == "batch" else self.ttl_seconds


def load(**overrides: Any) -> Settings:
    """Read the environment; raises InvalidSettings with one line that names the variable."""
    try:
        return Settings(**overrides)
    except pydantic.ValidationError as error:
        wrong = _message(error)
    except UnicodeDecodeError:
        wrong = ".env: is not UTF-8"
    raise InvalidSettings(wrong)  # out here: what was caught holds the secrets given


def _embedded_url() -> str | None:
    """The embedded server that a running `kfsession up` announced in this directory."""
    try:
        announced = json.loads(EMBEDDED_FILE.read_text())
        os.kill(announced["pid"], 0)
        return str(announced["url"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _read_accounts(path: Path) -> tuple[Account, ...]:
    try:
        tables = tomllib.loads(path.read_text()).get("account")
        listed = tables if isinstance(tables, list) else []
        accounts = tuple(Account.model_validate(table) for table in listed)
    except OSError as error:
        raise InvalidSettings(
            f"KF_ACCOUNTS_FILE: cannot read {str(path)!r}: {error.strerror}"
        ) from None
    except pydantic.ValidationError as error:
        raise InvalidSettings(f"KF_ACCOUNTS_FILE: {_message(error, prefix='')}") from None
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise InvalidSettings(f"KF_ACCOUNTS_FILE: {str(path)!r} is no TOML: {error}") from None
    except (ValueError, RecursionError):  # a path with a NUL; numbers and nesting beyond reading
        raise InvalidSettings(f"KF_ACCOUNTS_FILE: {str(path)!r} cannot be read as TOML") from None
    appids = [account.appid for account in accounts]
    if not accounts or len(set(appids)) < len(appids):
        raise InvalidSettings(
            f"KF_ACCOUNTS_FILE: {str(path)!r} must hold [[account]] tables, each appid once"
        )
    return accounts


def _message(error: pydantic.ValidationError, prefix: str = "KF_") -> str:
    """One line for the first breach; the value is shown unless it is a secret.

    In the accounts file a place can be deeper: `capacities.anna@shop`.
    """
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    name = str(first["loc"][0])
    is_value = first["type"] not in ("missing", "extra_forbidden")
    shown = f"{first['input']!r}: " if is_value and name not in _HIDDEN else ""
    # A wrong key is the value that is shown; anything may stand in it.
    loc = first["loc"][:-2] if first["loc"][-1] == "[key]" else first["loc"]
    place = ".".join(map(str, loc))
    return f"{prefix}{name.upper() if prefix else place}: {shown}{text}"

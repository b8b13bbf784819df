"""Hands out the access token of an account from a source that needs no call: a setting or a file.

Every source is a TokenSource; `shared_token` has the ones that ask WeChat or another server.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable
from stat import S_ISREG
from typing import Protocol

import pydantic

from worker import errors

#: How long a token file is trusted before its change time is looked at again.
CHECK_SECONDS = 1.0
#: Longest token accepted, in characters; WeChat's take up to 512.
TOKEN_LIMIT = 2048


class TokenSource(Protocol):
    """Where an account's access token comes from. Thread-safe; both methods end within a bound."""

    def get(self) -> str:
        """A token that should work; raises TokenUnavailable."""

    def renew(self, rejected: str) -> str:
        """A token other than `rejected`, which WeChat refused; raises TokenUnavailable.

        What others have renewed meanwhile is handed out first: a fresh token must not be given up
        because an old one failed.
        """


def is_token(value: object) -> bool:
    """Whether this can be an access token: one printable word of a sane length."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= TOKEN_LIMIT
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


class FixedToken:
    """The token that KF_ACCESS_TOKEN holds; good for a trial, since it ends within two hours."""

    def __init__(self, token: pydantic.SecretStr) -> None:
        self._token = token

    def get(self) -> str:
        return self._token.get_secret_value()

    def renew(self, rejected: str) -> str:
        if self.get() != rejected:
            return self.get()
        raise errors.TokenUnavailable(
            "WeChat rejects the access token in KF_ACCESS_TOKEN",
            hint="put a fresh token into KF_ACCESS_TOKEN, or set KF_APPSECRET instead",
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What the file held (`token` None: nothing usable) and which version of it that was."""

    version: tuple[int, int, int]
    token: str | None = dataclasses.field(repr=False)


class FileToken:
    """The token in a file that another system rewrites; read again whenever the file changes.

    A moment in which the file is missing or empty, as while it is rewritten, changes nothing.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = pathlib.Path(path)
        self._clock = clock
        self._look_at = -1.0
        self._reading = _Reading(version=(0, 0, 0), token=None)

    def get(self) -> str:
        if self._clock() >= self._look_at:
            self._look()
        if self._reading.token is None:
            raise errors.TokenUnavailable(
                f"no access token in {self._path}",
                hint=f"write one token, and nothing else, to {self._path}",
            )
        return self._reading.token

    def renew(self, rejected: str) -> str:
        self._look()
        if self.get() != rejected:
            return self.get()
        raise errors.TokenUnavailable(
            f"WeChat rejects the access token in {self._path}",
            hint=f"write a fresh token to {self._path}; it is read within a second",
        )

    def _look(self) -> None:
        self._look_at = self._clock() + CHECK_SECONDS
        try:
            stat = self._path.stat()
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            # To open what is no file, such as a pipe, may wait for ever.
            if version == self._reading.version or not S_ISREG(stat.st_mode):
                return
            with self._path.open(encoding="utf-8", errors="replace") as file:
                token = file.read(TOKEN_LIMIT + 2).strip()
        except OSError:
            return
        if is_token(token):
            self._reading = _Reading(version=version, token=token)

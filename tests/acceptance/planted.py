"""Plants secrets that nothing else can hold, and finds them again wherever they went.

A planted secret is two random words with what needs escaping between them: no spelling changes a
word, except that base64 and hex write it in other letters. Half a secret is found as well.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import traceback
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import redis

#: What passwords and app secrets may hold, and URLs, JSON and shells do not like.
AWKWARD = """ @/:?#%&=+"'\\$[]é密"""
#: The same of what may stand in an access token: printable ASCII without a space.
AWKWARD_TOKEN = """@/:?#%&=+"'\\$[]"""

#: Where something was found, and the text that is there.
Place = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Something that must not show; `words` are the parts by which it is found."""

    name: str
    value: str
    words: tuple[str, ...]

    @classmethod
    def planted(cls, name: str, awkward: str = AWKWARD) -> Secret:
        """A new one."""
        words = (f"x{secrets.token_hex(8)}", f"z{secrets.token_hex(8)}")
        return cls(name=name, value=awkward.join(words), words=words)

    @classmethod
    def known(cls, name: str, value: str) -> Secret:
        """One that somebody else made."""
        return cls(name=name, value=value, words=(value,))

    @property
    def in_url(self) -> str:
        """As a URL has to spell it."""
        return urllib.parse.quote(self.value, safe="")

    @property
    def in_toml(self) -> str:
        """As a TOML file, and JSON, can spell it."""
        return json.dumps(self.value)

    def is_in(self, text: str) -> bool:
        """Whether a part of it stands there, in whatever spelling."""
        folded = text.casefold()
        return any(
            word.casefold() in folded
            or word.encode().hex() in folded
            or any(trace in text for trace in _base64_of(word))
            for word in self.words
        )


def _base64_of(word: str) -> Iterator[str]:
    """What base64 makes of it, in either alphabet, wherever in a longer text it stands."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + word.encode() + b"\0\0").decode()
        sure = encoded[(0, 2, 3)[offset] : (offset + len(word.encode())) * 8 // 6]
        yield from {sure, sure.translate(str.maketrans("+/", "-_"))}


#: Ways in which a secret may be written down; each must be found.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent-encoded": lambda value: urllib.parse.quote(value, safe=""),
    "form-encoded": urllib.parse.quote_plus,
    "JSON": lambda value: json.dumps({"x": value}),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"x": value}, ensure_ascii=False)),
    "repr": lambda value: repr({"x": value.encode()}),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "login in base64": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    "URL-safe base64": lambda value: base64.urlsafe_b64encode(f"ab{value}".encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "upper case": str.upper,
    "first half": lambda value: value[: len(value) // 2],
    "last half": lambda value: value[len(value) // 2 :],
}


def leaks(planted: Iterable[Secret], places: Iterable[Place]) -> list[str]:
    """`NAME in PLACE` for each that is found."""
    known = list(planted)
    return [
        f"{secret.name} in {where}: {_around(secret, text)!r}"
        for where, text in places
        for secret in known
        if secret.is_in(text)
    ]


def _around(secret: Secret, text: str) -> str:
    at = min((at for word in secret.words if (at := text.find(word)) >= 0), default=0)
    return text[max(0, at - 150) : at + 150]


# -- places ----------------------------------------------------------------------------------------


def in_files(directory: Path, *, apart: Iterable[Path] = ()) -> Iterator[Place]:
    """Every file below a directory, and its name; but for those that are there to hold secrets."""
    left_out = set(apart)
    for path in sorted(directory.rglob("*")):
        yield "the name of a file", str(path.relative_to(directory))
        if path.is_file() and path not in left_out:
            yield str(path.relative_to(directory)), path.read_bytes().decode(errors="replace")


def in_redis(client: redis.Redis, *patterns: str, apart: str) -> Iterator[Place]:
    """Every key that matches, with what it holds; but for those that begin with `apart`."""
    for pattern in patterns:
        for key in client.scan_iter(pattern, 5000):
            name = key.decode(errors="replace") if isinstance(key, bytes) else key
            if not name.startswith(apart):
                yield "the name of a key", name
                yield f"Redis's {name}", _shown(_content(client, key))


def _shown(value: Any) -> str:
    """Its texts, one a line; bytes as the text they are, since repr would escape it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return "\n".join(map(_shown, (*value, *value.values())))
    if isinstance(value, list | tuple | set):
        return "\n".join(map(_shown, value))
    return str(value)


def _content(client: redis.Redis, key: Any) -> object:
    match _shown(client.type(key)):
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "zset":
            return client.zrange(key, 0, -1)
        case "set":
            return client.smembers(key)
        case "stream":
            return client.xrange(key)
        case "none":  # it has ended since it was listed
            return ""
        case kind:
            raise AssertionError(f"{key} is a {kind}")


def in_command_line(pid: int) -> Iterator[Place]:
    """What everybody on the machine can read of a process."""
    for name in ("cmdline", "comm"):
        yield f"/proc/{pid}/{name}", Path(f"/proc/{pid}/{name}").read_text(errors="replace")


def in_error(error: BaseException) -> Iterator[Place]:
    """An exception as it is shown, and every attribute of it and of those it came from.

    Those count, too, that `from None` keeps out of a traceback: other tools do show them.
    """
    yield from in_traceback(error)
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield from in_object(one)
        yield f"vars of {type(one).__name__}", repr((one.args, vars(one)))
        left += [one.__cause__, one.__context__]


def in_traceback(error: BaseException) -> Iterator[Place]:
    """An exception as Python shows it, with those it came from."""
    yield "a traceback", "".join(traceback.format_exception(error))


def in_object(value: object) -> Iterator[Place]:
    """How an object shows itself."""
    kind = type(value).__name__
    yield f"repr of {kind}", repr(value)
    yield f"str of {kind}", f"{value} {value!s}"

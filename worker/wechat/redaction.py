"""Takes a text and hands it on without the secrets in it; keeps urllib3's log lines clean too.

A secret is known by its name (`access_token=…`), by its place (`scheme://user:password@host`), or
because the process holds it and has had it learned.
"""

import itertools
import json
import logging
import re
import threading
import urllib.parse

#: Longest text of WeChat's that goes into an error, in characters.
TEXT_LIMIT = 300

_MASK = "***"

#: The ends of `access_token=…`, `"appsecret": "…"`, `component_verify_ticket%3D…` and their kin.
_NAMED_SECRET = re.compile(
    r"""(?P<name>token|secret|ticket|password)
        (?P<between>\\?["']?\s*(?:[=:]|%3[Dd])\s*\\?["']?)
        (?P<value>[^\s"'&,;<>(){}\[\]\\]+)""",
    re.IGNORECASE | re.VERBOSE,
)

#: User and password of a URL.
_LOGIN = re.compile(r"""(?<=://)[^\s/@:"']{0,256}:[^\s@"']{0,512}@""")
#: How much of a text is read for the TEXT_LIMIT characters that are shown.
_READ_LIMIT = 8 * 1024

#: What no escaping changes: each spelling of a secret holds its words.
_WORD = re.compile(r"[A-Za-z0-9]+")

#: Shortest secret that is learned, and shortest word of one that is hidden by itself, in
#: characters: shorter ones would take ordinary words out of a text.
SHORTEST_LEARNED, _SHORTEST_WORD = 8, 12

#: The query of a URL: tokens, secrets of other servers, a fan's name.
_QUERY = re.compile(r"\?[^\s\"]*")

#: urllib3 writes whole URLs, query and all, to these.
_CHATTY_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


#: By secret: each word of which a text with the secret has one, with what to hide then, longest
#: first. Replaced, never changed, so that it can be read without the lock.
_learned: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
#: All of these in a row.
_looked_for: tuple[tuple[str, tuple[str, ...]], ...] = ()
_learning = threading.Lock()


def learn(*secrets: str | None) -> None:
    """Hide these from now on, wherever they stand; one that is too short to be one is left out."""
    new = {each: _spelled(each) for each in secrets if each and len(each) >= SHORTEST_LEARNED}
    with _learning:
        _look_for({**_learned, **new})


def learn_password(url: str) -> None:
    """Hide the password of a URL."""
    login, at, _ = url.partition("?")[0].partition("://")[2].rpartition("@")
    password = login.partition(":")[2] if at else ""
    learn(password, urllib.parse.unquote(password))


def learn_query(url: str) -> None:
    """Hide the values in the query of a URL, which prove who asks."""
    learn(*(value for _, value in urllib.parse.parse_qsl(url.partition("?")[2])))


def forget(*secrets: str) -> None:
    """Look for these no more: they are good for nothing any longer."""
    with _learning:
        _look_for({each: known for each, known in _learned.items() if each not in secrets})


def _look_for(learned: dict[str, tuple[tuple[str, tuple[str, ...]], ...]]) -> None:
    global _learned, _looked_for
    _learned, _looked_for = learned, tuple(itertools.chain.from_iterable(learned.values()))


def _spelled(secret: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    words = _WORD.findall(secret)
    telling = [
        each
        for each in words
        if len(each) >= _SHORTEST_WORD and not each.isalpha() and not each.isdigit()
    ]
    spellings = {
        secret,
        urllib.parse.quote(secret, safe="", errors="replace"),
        urllib.parse.quote_plus(secret, errors="replace"),
        urllib.parse.quote(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        *telling,
    }
    longest_first = tuple(sorted(spellings, key=len, reverse=True))
    return tuple((word, longest_first) for word in telling or [max(words, key=len, default="")])


def redact(text: str, *secrets: str | None) -> str:
    """The text with `secrets`, those learned, and all that is named as one replaced by `***`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    for word, spellings in _looked_for:
        if word in text:
            for spelling in spellings:
                text = text.replace(spelling, _MASK)
    if "://" in text and "@" in text:
        text = _LOGIN.sub(f"{_MASK}@", text)
    if not may_name_secret(text):
        return text
    return _NAMED_SECRET.sub(rf"\g<name>\g<between>{_MASK}", text)


def may_name_secret(text: str) -> bool:
    """Whether any of it can be named as a secret: cheap, and False for nearly every text.

    `ticket` is looked for without its `i`, which has relatives in Turkish that fold otherwise.
    """
    folded = text.casefold()
    return "token" in folded or "secret" in folded or "cket" in folded or "password" in folded


def clean(text: str, *secrets: str | None) -> str:
    """The text redacted, on one line, of printable characters, at most TEXT_LIMIT long."""
    one_line = redact(" ".join(text.split())[:_READ_LIMIT], *secrets)
    printable = "".join(character for character in one_line if character.isprintable())
    return printable[:TEXT_LIMIT]


class _RedactingFilter(logging.Filter):
    """Lets every record pass, but with its text redacted and without its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(_QUERY.sub("?***", record.getMessage())), ()
        record.exc_info = record.exc_text = None
        return True


_FILTER = _RedactingFilter()


def guard_logs() -> None:
    """Make urllib3's own log lines, which quote URLs at DEBUG, safe to show; idempotent."""
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)

"""Takes a text and hands it on without the secrets in it; keeps urllib3's log lines clean too."""

import logging
import re

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

#: The query of a URL: tokens, secrets of other servers, a fan's name.
_QUERY = re.compile(r"\?[^\s\"]*")

#: urllib3 writes whole URLs, query and all, to these.
_CHATTY_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


def redact(text: str, *secrets: str | None) -> str:
    """The text with `secrets`, and every value that is named as one, replaced by `***`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
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
    one_line = " ".join(redact(text, *secrets).split())
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

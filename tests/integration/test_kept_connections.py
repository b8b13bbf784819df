"""KeptConnections: commands over connections that are kept, and never trusted blindly."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest
import redis

from worker.ledger import connection


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    made = connection.connect(valkey_url, timeout_seconds=5, max_connections=8)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def kept(client: redis.Redis) -> connection.KeptConnections:
    return connection.KeptConnections(client)


def kill(client: redis.Redis, address: object) -> None:
    """End a connection from the server's side."""
    client.execute_command("CLIENT", "KILL", "ID", address, "SKIPME", "no")


def test_one_connection_serves_one_command_after_the_other(
    kept: connection.KeptConnections,
) -> None:
    """It is not given back in between."""
    assert len({kept.ask("CLIENT", "ID") for _ in range(20)}) == 1


def test_threads_never_share_a_connection_and_take_no_more_than_they_are(
    kept: connection.KeptConnections,
) -> None:
    """Each gets the answer to its own command."""
    barrier = threading.Barrier(8)

    def ask(number: int) -> bool:
        barrier.wait()
        return all(kept.ask("ECHO", f"{number}-{n}") == f"{number}-{n}" for n in range(200))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_a_connection_that_was_closed_while_idle_is_opened_again(
    kept: connection.KeptConnections, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers and proxies end idle connections; nobody should hear of that."""
    kill(client, kept.ask("CLIENT", "ID"))
    monkeypatch.setattr(connection, "TRUSTED_SECONDS", 0)
    assert kept.ask("ECHO", "a") == "a"


def test_a_connection_that_breaks_is_an_error_and_the_next_command_has_a_new_one(
    kept: connection.KeptConnections, client: redis.Redis
) -> None:
    """Whether the command was done is the caller's to find out."""
    kill(client, kept.ask("CLIENT", "ID"))
    with pytest.raises(redis.exceptions.ConnectionError):
        kept.ask("ECHO", "a")
    assert kept.ask("ECHO", "b") == "b"


def test_a_refused_command_leaves_the_connection_as_it_is(kept: connection.KeptConnections) -> None:
    """An error is an answer like any other."""
    before = kept.ask("CLIENT", "ID")
    with pytest.raises(redis.exceptions.NoScriptError):
        kept.ask("EVALSHA", "0" * 40, 0)
    assert kept.ask("CLIENT", "ID") == before


def test_an_answer_that_nobody_waited_for_reaches_nobody_else(
    kept: connection.KeptConnections,
) -> None:
    """Ctrl-C in the middle of a command must not shift the answers of all that follow."""
    kept.ask("ECHO", "opened")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            kept.ask("BLPOP", "nobody-pushes-here", 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert kept.ask("ECHO", "mine") == "mine"


def test_after_an_error_the_pool_says_where_to_connect(kept: connection.KeptConnections) -> None:
    """Over Sentinel only the pool knows which server is the master by now."""
    address = kept.ask("CLIENT", "ID")
    kill(redis.Redis(connection_pool=kept._pool), address)
    with pytest.raises(redis.exceptions.ConnectionError):
        kept.ask("ECHO", "a")
    assert not kept._idle
    assert not kept._pool._in_use_connections, "it was given back"

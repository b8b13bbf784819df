"""ledger.connection.Lines: commands over connections that are kept, and never trusted blindly."""

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
def lines(client: redis.Redis) -> connection.Lines:
    return connection.Lines(client)


def kill(client: redis.Redis, address: object) -> None:
    """End a connection from the server's side."""
    client.execute_command("CLIENT", "KILL", "ID", address, "SKIPME", "no")


def test_one_connection_serves_one_command_after_the_other(lines: connection.Lines) -> None:
    """It is not given back in between."""
    assert len({lines.ask("CLIENT", "ID") for _ in range(20)}) == 1


def test_threads_never_share_a_connection_and_take_no_more_than_they_are(
    lines: connection.Lines,
) -> None:
    """Each gets the answer to its own command."""
    barrier = threading.Barrier(8)

    def ask(number: int) -> bool:
        barrier.wait()
        return all(lines.ask("ECHO", f"{number}-{n}") == f"{number}-{n}" for n in range(200))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_a_connection_that_was_closed_while_idle_is_opened_again(
    lines: connection.Lines, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers and proxies end idle connections; nobody should hear of that."""
    kill(client, lines.ask("CLIENT", "ID"))
    monkeypatch.setattr(connection, "TRUSTED_SECONDS", 0)
    assert lines.ask("ECHO", "a") == "a"


def test_a_connection_that_breaks_is_an_error_and_the_next_command_has_a_new_one(
    lines: connection.Lines, client: redis.Redis
) -> None:
    """Whether the command was done is the caller's to find out."""
    kill(client, lines.ask("CLIENT", "ID"))
    with pytest.raises(redis.exceptions.ConnectionError):
        lines.ask("ECHO", "a")
    assert lines.ask("ECHO", "b") == "b"


def test_a_refused_command_leaves_the_connection_as_it_is(lines: connection.Lines) -> None:
    """An error is an answer like any other."""
    before = lines.ask("CLIENT", "ID")
    with pytest.raises(redis.exceptions.NoScriptError):
        lines.ask("EVALSHA", "0" * 40, 0)
    assert lines.ask("CLIENT", "ID") == before


def test_an_answer_that_nobody_waited_for_reaches_nobody_else(lines: connection.Lines) -> None:
    """Ctrl-C in the middle of a command must not shift the answers of all that follow."""
    lines.ask("ECHO", "opened")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            lines.ask("BLPOP", "nobody-pushes-here", 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert lines.ask("ECHO", "mine") == "mine"

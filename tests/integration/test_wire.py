"""A wire passes everything on, and lets a rule cut, answer or lose what it names."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from ops.chaos import wire
from ops.simulator import running
from worker.contract import settings
from worker.ledger import connection, keys, ledger

ID = "0123456789abcdefghjk"
Moment = wire.Moment


@pytest.fixture
def wires() -> Iterator[wire.Wires]:
    """A loop for wires."""
    with wire.Wires() as made:
        yield made


@pytest.fixture
def to_redis(wires: wire.Wires, config: settings.Settings) -> wire.Wire:
    """A wire in front of the shared Valkey."""
    return wires.to_redis(urlsplit(config.ledger_url).port or 0)


@pytest.fixture
def client(to_redis: wire.Wire) -> Iterator[redis.Redis]:
    """A client behind the wire, which sends nothing twice."""
    url = f"redis://127.0.0.1:{to_redis.port}/0"
    with contextlib.closing(connection.connect(url, timeout_seconds=5, max_connections=4)) as made:
        yield made


def test_a_rule_hears_of_each_step_before_and_after(
    to_redis: wire.Wire, client: redis.Redis, config: settings.Settings
) -> None:
    """Scripts have our names, commands their own; a pipeline is one passing of several."""
    heard: list[tuple[Moment, tuple[str, ...]]] = []
    steps = ledger.Ledger(client, config)
    steps.cancel(ID)  # by EVAL, since the server may not know the script yet
    to_redis.rule = lambda passing: heard.append((passing.moment, passing.steps))
    assert steps.cancel(ID) == "unknown"
    with client.pipeline(transaction=False) as pipe:
        assert pipe.ping().llen("nobody").execute() == [True, 0]
    both = [(moment, step) for step in (("cancel",), ("PING", "LLEN")) for moment in Moment]
    assert [each for each in heard if each[1][0] in ("cancel", "PING")] == both


def test_a_cut_before_a_step_means_that_it_was_never_made(
    to_redis: wire.Wire, client: redis.Redis, config: settings.Settings
) -> None:
    """And after it, that it was made and nobody was told."""
    name = keys.Keys(config.key_prefix).counters
    for moment, made in ((Moment.BEFORE, None), (Moment.AFTER, "1")):
        to_redis.rule = lambda passing, at=moment: (
            wire.CUT if passing.moment is at and "HINCRBY" in passing.steps else None
        )
        with pytest.raises(redis.ConnectionError):
            client.hincrby(name, "cut", 1)
        assert client.hget(name, "cut") == made


def test_a_rule_can_answer_in_place_of_the_server(to_redis: wire.Wire, client: redis.Redis) -> None:
    """Every command gets the answer; the server hears of none."""
    to_redis.rule = lambda passing: b"-LOADING not yet\r\n" if "SET" in passing.steps else None
    with pytest.raises(redis.exceptions.BusyLoadingError):
        client.set("never", "written")
    assert client.exists("never") == 0


def test_calls_of_wechat_are_steps_too(wires: wire.Wires) -> None:
    """By method and path, without the token in the query."""
    heard: list[tuple[str, ...]] = []
    with running.SimulatorThread() as wechat:
        line = wires.to_wechat(urlsplit(wechat.url).port or 0)
        line.rule = lambda passing: heard.append(passing.steps)
        talk = http.client.HTTPConnection("127.0.0.1", line.port, timeout=5)
        for body in (b"{}", b'{"long": "' + b"x" * 100_000 + b'"}'):
            talk.request("POST", "/customservice/kfsession/create?access_token=secret", body)
            assert talk.getresponse().read()
        talk.close()
    assert heard == [("POST /customservice/kfsession/create",)] * 4

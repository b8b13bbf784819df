"""The producer against a real Valkey: doorbells that ring, and servers that are away or frozen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydantic
import pytest
import redis

import producers
from worker.contract import request, settings

APPID = "wx1"


@pytest.fixture
def producing(config: settings.Settings) -> Iterator[producers.SessionProducer]:
    with producers.SessionProducer(config) as producer:
        yield producer


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as opened:
        yield opened


def doorbells(client: redis.Redis, config: settings.Settings, lane: str) -> int:
    return int(client.llen(f"{config.key_prefix}.{lane}"))


def within(seconds: float, is_so: Callable[[], bool]) -> None:
    """Poll until `is_so()` holds; fails when it does not come true in time."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "did not come true in time"
        time.sleep(0.01)


def test_a_submit_is_in_the_ledger_and_its_doorbell_in_its_lane(
    producing: producers.SessionProducer, client: redis.Redis, config: settings.Settings
) -> None:
    receipt = producing.submit(openid="o1", kf_account="a@b", appid=APPID)
    assert (receipt.how, receipt.status) == ("new", "queued")
    assert doorbells(client, config, "escalation") == 1
    found = producing.find(openid="o1", appid=APPID)
    assert found is not None
    assert found.id == receipt.id


def test_many_are_written_in_their_order_with_what_is_refused_in_its_place(
    producing: producers.SessionProducer, client: redis.Redis, config: settings.Settings
) -> None:
    wishes = [
        {"openid": f"o{n}", "kf_account": "a@b", "appid": APPID, "lane": "batch"}
        for n in range(1200)
    ]
    wishes[700] = {"openid": "not an openid", "kf_account": "a@b"}
    wishes[900] = {**wishes[900], "deadline_at": "2001-01-01T00:00:00Z"}
    results = producing.submit_many(wishes)
    refused = [n for n, each in enumerate(results) if isinstance(each, producers.InvalidRequest)]
    assert len(results) == 1200
    assert refused == [700, 900]
    within(5, lambda: doorbells(client, config, "batch") >= 24)
    assert all(
        each.how == "new" for each in results if not isinstance(each, producers.InvalidRequest)
    )


def test_the_same_lines_from_two_threads_make_one_request_a_fan(
    producing: producers.SessionProducer,
) -> None:
    wishes = [{"openid": f"o{n}", "kf_account": "a@b", "appid": APPID} for n in range(50)]
    ids: list[set[str]] = []

    def send() -> None:
        results = producing.submit_many(wishes)
        ids.append({each.id for each in results if isinstance(each, producers.Receipt)})

    threads = [threading.Thread(target=send) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ids[0] == ids[1]
    assert len(ids[0]) == 50


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_frozen_ledger_ends_a_submit_in_time_as_perhaps_accepted(
    frozen_url: str, seconds: float
) -> None:
    config = settings.load(redis_url=frozen_url, submit_timeout_seconds=seconds)
    with producers.SessionProducer(config) as producer:
        started = time.monotonic()
        with pytest.raises(producers.SubmitFailed, match="send it again under this id") as caught:
            producer.submit(openid="o1", kf_account="a@b", appid=APPID)
        assert time.monotonic() - started < seconds + 0.5
    assert caught.value.maybe_written
    assert caught.value.ids[0] in str(caught.value)


def test_a_dead_ledger_ends_a_submit_at_once_as_not_accepted(dead_url: str) -> None:
    with producers.SessionProducer(settings.load(redis_url=dead_url)) as producer:
        started = time.monotonic()
        with pytest.raises(producers.SubmitFailed, match="was not accepted") as caught:
            producer.submit(openid="o1", kf_account="a@b", appid=APPID)
        assert time.monotonic() - started < 1
    assert not caught.value.maybe_written
    assert "planted-secret" not in str(caught.value)
    assert "127.0.0.1" in caught.value.url


def test_a_request_whose_reply_was_lost_is_sent_again_under_its_id(
    config: settings.Settings, producing: producers.SessionProducer, dead_url: str
) -> None:
    away = config.model_copy(update={"redis_url": pydantic.SecretStr(dead_url)})
    with producers.SessionProducer(away) as producer, pytest.raises(producers.SubmitFailed) as lost:
        producer.submit(openid="o1", kf_account="a@b", appid=APPID)
    again = [
        producing.submit(openid="o1", kf_account="a@b", appid=APPID, id=lost.value.ids[0])
        for _ in range(2)
    ]
    assert [each.how for each in again] == ["new", "repeated"]
    assert {each.id for each in again} == {lost.value.ids[0]}


def test_a_frozen_broker_costs_the_first_submit_its_bound_and_the_next_ones_nothing(
    valkey_url: str, frozen_url: str, config: settings.Settings
) -> None:
    split = settings.load(
        redis_url=valkey_url,
        broker_url=frozen_url,
        key_prefix=config.key_prefix,
        submit_timeout_seconds=0.5,
    )
    with producers.SessionProducer(split) as producer:
        took = []
        for n in range(5):
            started = time.monotonic()
            assert producer.submit(openid=f"o{n}", kf_account="a@b", appid=APPID).how == "new"
            took.append(time.monotonic() - started)
    assert took[0] < 1.0
    assert max(took[1:]) < 0.25


def test_a_dead_broker_does_not_keep_a_request_from_being_accepted(
    valkey_url: str, dead_url: str, config: settings.Settings
) -> None:
    split = settings.load(
        redis_url=valkey_url,
        broker_url=dead_url,
        key_prefix=config.key_prefix,
        submit_timeout_seconds=0.5,
    )
    with producers.SessionProducer(split) as producer:
        assert producer.submit(openid="o1", kf_account="a@b", appid=APPID).how == "new"


def test_events_follow_what_happens(producing: producers.SessionProducer) -> None:
    receipt = producing.submit(openid="o1", kf_account="a@b", appid=APPID)
    following = producing.events(follow=True)
    assert next(following).status == "queued"
    producing.cancel(receipt.id)
    assert next(following).status == "cancelled"


def test_wait_ends_with_the_outcome_or_with_the_time(producing: producers.SessionProducer) -> None:
    receipt = producing.submit(openid="o1", kf_account="a@b", appid=APPID)
    started = time.monotonic()
    one = producing.wait(receipt.id, 0.2)
    assert one is not None
    assert not one.final
    assert 0.2 <= time.monotonic() - started < 0.7
    threading.Timer(0.2, producing.cancel, [receipt.id]).start()
    one = producing.wait(receipt.id, 10)
    assert one is not None
    assert one.status == "cancelled"


def test_a_forked_child_uses_connections_of_its_own(
    producing: producers.SessionProducer, config: settings.Settings
) -> None:
    """As a web server forks its workers: after the parent has used its producer."""
    script = """
import os, sys
from producers import SessionProducer
producer = SessionProducer.from_env()
producer.submit(openid="parent", kf_account="a@b", appid="wx1")
child = os.fork()
if child == 0:
    for n in range(20):
        producer.submit(openid=f"child{n}", kf_account="a@b", appid="wx1")
    os._exit(0)
for n in range(20):
    producer.submit(openid=f"parent{n}", kf_account="a@b", appid="wx1")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {
        "KF_REDIS_URL": config.ledger_url,
        "KF_KEY_PREFIX": config.key_prefix,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ended = subprocess.run([sys.executable, "-c", script], env=environment, timeout=30, check=False)
    assert ended.returncode == 0
    with producing.reading() as reads:
        assert sum(reads.counts()[producers.Status.QUEUED].values()) == 41


def test_importing_reads_no_setting_opens_nothing_and_leaves_the_worker_out() -> None:
    script = """
import socket, sys
def refuse(*_): raise SystemExit("opened a socket")
socket.socket.connect = refuse
import producers
unwanted = {"requests", "celery", "kombu", "fastapi", "worker.tasks", "worker.app"}
sys.exit(", ".join(unwanted & set(sys.modules)) or 0)
"""
    environment = {"KF_REDIS_URL": "nonsense", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_another_package_named_worker_is_told_with_the_ways_around(tmp_path: Path) -> None:
    """Without `site`, since an editable install finds the modules that the foreign one lacks."""
    folder = tmp_path / "worker"
    folder.mkdir()
    (folder / "__init__.py").touch()
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-S", "-c", "import producers"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(folder) in last
    assert "gateway" in last
    assert "kfsession.submit" in last


def test_an_escalation_that_joins_a_batch_request_rings_it_in_its_new_lane(
    producing: producers.SessionProducer, client: redis.Redis, config: settings.Settings
) -> None:
    wish = {"openid": "o1", "kf_account": "a@b", "appid": APPID}
    first = producing.submit({**wish, "lane": request.Lane.BATCH})
    again = producing.submit({**wish, "lane": request.Lane.BATCH})
    assert (again.how, doorbells(client, config, "batch")) == ("joined", 1)
    raised = producing.submit(wish)
    assert (raised.how, raised.id) == ("joined", first.id)
    assert doorbells(client, config, "escalation") == 1

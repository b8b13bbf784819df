"""A delivery on a real Valkey against the simulator: what happened there is recorded here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest

from ops.simulator import running, scenario
from worker import runtime
from worker.contract import broker, record, request, settings
from worker.ledger import reader, request_ids

S = record.Status


@pytest.fixture(scope="module")
def wechat() -> Iterator[running.SimulatorThread]:
    """One WeChat for all; each test has fans of its own."""
    with running.SimulatorThread(scenario.Scenario(drip_seconds=0.2)) as started:
        yield started


class Shop:
    """A worker's parts, and what they came to."""

    def __init__(self, config: settings.Settings, wechat: running.SimulatorThread) -> None:
        self.wechat = wechat
        self.config = config
        app = celery.Celery("t", set_as_current=False)
        app.conf.update(broker.configuration(config))
        self.parts = runtime.Runtime(config, app)
        self.parts.announce()
        self.reader = reader.Reader(self.parts.ledger.client, config.key_prefix)
        self.mark = config.key_prefix

    def submit(self, fan: str, agent: str = "anna@shop", **fields: Any) -> str:
        openid = f"{fan}_{self.mark}"
        wish = request.SessionRequest.parse({"openid": openid, "kf_account": agent, **fields})
        return self.parts.ledger.submit(wish, request_ids.new_id()).id

    def deliver(self, *ids: str) -> None:
        self.parts.deliverer.deliver(ids)

    def get(self, request_id: str) -> record.Record:
        one = self.reader.get(request_id)
        assert one is not None
        return one

    def bring_to_an_end(self, *ids: str, seconds: float = 30) -> list[record.Record]:
        """Pass and deliver again and again, as a worker would, until all are final."""
        until = time.monotonic() + seconds
        while not all(self.get(each).final for each in ids):
            assert time.monotonic() < until, [self.get(each).status for each in ids]
            self.parts.ledger.waiting.wake(500)
            self.parts.ledger.waiting.open_rooms(500, rest_seconds=5)
            self.parts._presence.look()
            self.deliver(*ids)
            time.sleep(0.02)
        return [self.get(each) for each in ids]

    def skip_wait(self, request_id: str) -> None:
        """Make it due now."""
        self.parts.ledger.client.zincrby(self.parts.ledger.keys.due, -600_000, request_id)

    def sessions(self, fan: str) -> list[str]:
        """Whom the simulator gave this fan to, over all time."""
        book = self.wechat.book(openid=f"{fan}_{self.mark}")
        return [session["kf_account"] for session in book["sessions"]]


@pytest.fixture
def make(
    config: settings.Settings, wechat: running.SimulatorThread
) -> Iterator[Callable[..., Shop]]:
    """Shops that are closed and swept afterwards."""
    made: list[Shop] = []

    def new(**fields: Any) -> Shop:
        told = settings.load(
            redis_url=config.ledger_url,
            key_prefix=config.key_prefix,
            api_base_url=wechat.url,
            **{"access_token": scenario.FIXED_TOKEN, "call_timeout_seconds": 1, **fields},
        )
        made.append(Shop(told, wechat))
        return made[-1]

    yield new
    for shop in made:
        client = shop.parts.ledger.client
        for pattern in (f"{{{config.key_prefix}}}:*", f"{config.key_prefix}.*"):
            for key in client.scan_iter(pattern, count=1000):
                client.delete(key)
        shop.parts.close()
        shop.parts.doorbell.close()


@pytest.mark.parametrize(
    ("fan", "agent", "status", "reason", "calls", "sessions"),
    [
        ("plain", "anna@shop", S.CREATED, None, 1, ["anna@shop"]),
        ("wrong", "anna@shop", S.FAILED, "invalid_openid", 1, []),
        ("plain", "wrong@shop", S.FAILED, "invalid_agent", 1, []),
        ("plain", "unbound@shop", S.FAILED, "agent_not_bound", 1, []),
        ("unknown", "anna@shop", S.FAILED, "unknown_errcode", 1, []),
        ("code47001", "anna@shop", S.FAILED, "bad_request", 1, []),
        ("busy2", "anna@shop", S.CREATED, None, 3, ["anna@shop"]),
        ("e502x2", "anna@shop", S.CREATED, None, 3, ["anna@shop"]),
        ("cut_before", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("cut_after", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("lied", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("hang", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("drip", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("garbage", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
        ("huge", "anna@shop", S.CREATED, None, 2, ["anna@shop"]),
    ],
)
def test_each_way_a_call_can_end_has_its_outcome(
    make: Callable[..., Shop],
    fan: str,
    agent: str,
    status: record.Status,
    reason: str | None,
    calls: int,
    sessions: list[str],
) -> None:
    """And WeChat's book shows at most one session."""
    shop = make()
    (one,) = shop.bring_to_an_end(shop.submit(fan, agent))
    assert (one.status, one.reason, one.api_calls) == (status, reason, calls)
    assert shop.sessions(fan) == sessions
    assert one.served_by == (sessions[0] if sessions else None)
    assert [attempt.kf_account for attempt in one.attempts] == [agent] * calls


def test_a_fan_whom_somebody_else_serves_is_left_there(make: Callable[..., Shop]) -> None:
    """The record says who."""
    shop = make()
    (one,) = shop.bring_to_an_end(shop.submit("served_bob"))
    assert (one.status, one.served_by) == (S.ALREADY_SERVED, "bob@shop")


def test_the_next_agent_is_asked_when_one_is_offline_or_wrong(
    make: Callable[..., Shop], wechat: running.SimulatorThread
) -> None:
    """As soon as a reading says who is online; a wrong one costs no call then."""
    wechat.tell("agents", kf_account="anna@shop", online=True)
    shop = make()
    fallbacks = ["wrong@shop", "anna@shop"]
    (one,) = shop.bring_to_an_end(shop.submit("plain", "offline@shop", fallbacks=fallbacks))
    assert (one.status, one.served_by, one.api_calls) == (S.CREATED, "anna@shop", 2)


def test_who_comes_online_gets_the_waiting_fan(
    make: Callable[..., Shop], wechat: running.SimulatorThread
) -> None:
    """One call found the agent offline, a reading saw it come, and one call opened the session."""
    shop = make(presence_seconds=1)
    agent = f"late{shop.mark}@shop"
    wechat.tell("agents", kf_account=agent, online=False)
    request_id = shop.submit("plain", agent)
    shop.deliver(request_id)
    one = shop.get(request_id)
    assert (one.status, one.reason, one.api_calls) == (S.WAITING, "agent_offline", 1)
    wechat.tell("agents", kf_account=agent, online=True)
    (one,) = shop.bring_to_an_end(request_id)
    assert (one.status, one.served_by, one.api_calls) == (S.CREATED, agent, 2)


def test_nobody_comes_online_before_the_deadline(make: Callable[..., Shop]) -> None:
    """Expired, with the reason it waited for, and no session."""
    shop = make()
    (one,) = shop.bring_to_an_end(shop.submit("plain", "offline@shop", ttl_seconds=1))
    assert (one.status, one.reason) == (S.EXPIRED, "agent_offline")
    assert one.hint == "Its deadline came first: retry it, give it more time, or name fallbacks."
    assert shop.sessions("plain") == []


def test_a_lost_reply_and_an_agent_gone_since_do_not_make_two_sessions(
    make: Callable[..., Shop], wechat: running.SimulatorThread
) -> None:
    """The lost call had opened the session: it is found, and nobody else is asked."""
    shop = make()
    agent = f"gone{shop.mark}@shop"
    request_id = shop.submit("cut4_after", agent, fallbacks=["anna@shop"])
    shop.deliver(request_id)
    assert shop.get(request_id).status is S.WAITING
    wechat.tell("agents", kf_account=agent, online=False)
    shop.skip_wait(request_id)
    (one,) = shop.bring_to_an_end(request_id)
    assert (one.status, one.served_by, one.api_calls) == (S.CREATED, agent, 5)
    assert shop.sessions("cut4_after") == [agent]


def test_a_token_that_expires_is_replaced_in_the_same_delivery(
    make: Callable[..., Shop], wechat: running.SimulatorThread
) -> None:
    """One more call, no wait."""
    shop = make(
        access_token=None,
        appid=scenario.DEFAULT_APPID,
        appsecret=scenario.DEFAULT_SECRET,
    )
    first, second = shop.submit("plain"), shop.submit("other")
    shop.deliver(first)
    wechat.tell("tokens/expire")
    shop.deliver(second)
    assert shop.get(first).status is S.CREATED
    assert shop.get(second).status is S.CREATED


def test_a_worker_that_dies_in_a_call_leaves_one_session(make: Callable[..., Shop]) -> None:
    """Its lease runs out, and the next worker asks for the same agent."""
    shop = make(call_timeout_seconds=0.5)
    request_id = shop.submit("cut_after", fallbacks=["bob@shop"])
    claim = shop.parts.ledger.claim([request_id], "killed").claim
    assert claim is not None
    shop.skip_wait(request_id)
    (one,) = shop.bring_to_an_end(request_id)
    assert (one.status, one.served_by) == (S.CREATED, "anna@shop")
    assert shop.sessions("cut_after") == ["anna@shop"]


def test_many_slots_on_the_same_doorbells_call_once_a_fan(make: Callable[..., Shop]) -> None:
    """Doubled messages harm nothing, whoever is first."""
    shop = make()
    fans = [f"fan{number}" for number in range(40)]
    ids = [shop.submit(fan, lane="batch") for fan in fans]
    threads = [threading.Thread(target=shop.deliver, args=ids) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {shop.get(each).status for each in ids} == {S.CREATED}
    assert sum(shop.get(each).api_calls for each in ids) == len(ids)
    assert [len(shop.sessions(fan)) for fan in fans] == [1] * len(fans)


def test_the_waiting_room_rings_whose_doorbell_was_lost(make: Callable[..., Shop]) -> None:
    """Through the real broker, each lane in its queue."""
    shop = make()
    shop.submit("a")
    shop.submit("b", lane="batch")
    until = time.monotonic() + 10
    while not all(shop.parts.doorbell.length(lane) for lane in request.Lane):
        assert time.monotonic() < until
        shop.parts.room.tick()
        time.sleep(0.05)
    assert [shop.parts.doorbell.length(lane) for lane in request.Lane] == [1, 1]

"""Requests that wait for agents: who is asked, when, and who is not, on real processes."""

from __future__ import annotations

import collections
import json

from ops.chaos import haste, servers, trial
from ops.simulator import scenario
from tests.acceptance import books, conftest, processes
from worker import waiting_room
from worker.contract import record

S, R = record.Status, record.Reason

FIRST, SECOND, THIRD = "dora@hbshop", "emil@hbshop", "finn@hbshop"
WRONG = "wrong_wim@hbshop"
#: Often enough that a test need not wait long, and seldom enough to count.
PRESENCE_SECONDS = 1.0


def _away(*names: str) -> tuple[scenario.Agent, ...]:
    return tuple(scenario.Agent(kf_account=name, online=False) for name in names)


def _codes(shop: processes.Deployment) -> collections.Counter[int | None]:
    return collections.Counter(each["errcode"] for each in shop.creates())


def test_a_ladder_passes_the_wrong_and_the_offline(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """A fallback who is known to be offline is passed over without a call."""
    shop = deploy(valkey, agents=_away(SECOND))
    shop.start_worker()
    one = shop.outcome(shop.submit(trial.openid(1), WRONG, SECOND, trial.AGENT))
    assert (one.status, one.served_by) == (S.CREATED, trial.AGENT)
    assert [each["errcode"] for each in shop.creates()] == [65401, 0]
    books.check_books(shop, requests=1)


def test_whoever_of_the_targets_comes_first_gets_the_fan(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """A request waits for any of its targets, and costs one call in vain at most."""
    shop = deploy(valkey, agents=_away(FIRST, SECOND, THIRD), presence_seconds=PRESENCE_SECONDS)
    shop.start_worker()
    request_id = shop.submit(trial.openid(1), FIRST, SECOND, THIRD)
    assert shop.wait_status(request_id, S.WAITING).reason is R.AGENT_OFFLINE
    shop.set_online(SECOND, online=True)
    one = shop.outcome(request_id)
    assert (one.status, one.served_by) == (S.CREATED, SECOND)
    assert _codes(shop)[65415] <= 1
    books.check_books(shop, requests=1)


def test_a_deadline_ends_a_wait_for_agents_without_a_call(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """Within two ticks; once it is known who is online, nobody offline is asked."""
    shop = deploy(valkey, agents=_away(FIRST, SECOND, THIRD), presence_seconds=PRESENCE_SECONDS)
    shop.start_worker()
    request_id = shop.submit(trial.openid(1), FIRST, SECOND, THIRD, ttl_seconds=4)
    one = shop.outcome(request_id)
    assert (one.status, one.reason) == (S.EXPIRED, R.AGENT_OFFLINE)
    late = (one.finished_at - one.deadline_at).total_seconds() if one.finished_at else None
    assert late is not None
    assert 0 <= late <= 2 * waiting_room.TICK_SECONDS + 0.5
    calls = shop.wechat.book()["calls"]
    read_at = next(each["at"] for each in calls if each["path"].endswith("/getonlinekflist"))
    assert [each for each in shop.creates() if each["at"] > read_at] == []
    assert 2 <= shop.readings() <= 4 / PRESENCE_SECONDS + 2


def test_a_lost_reply_is_read_back_before_a_fallback_is_asked(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """The first agent has the fan, unseen: the fallback who is online must not get the fan too."""
    shop = deploy(valkey, agents=(scenario.Agent(kf_account=FIRST, online=True),))
    shop.start_worker()
    one = shop.outcome(shop.submit(trial.openid(1, "cut_after_"), FIRST, trial.AGENT))
    assert (one.status, one.served_by) == (S.CREATED, FIRST)
    assert shop.wechat.summary()["sessions_opened"] == 1
    books.check_books(shop, requests=1)


def test_a_full_agent_is_given_no_more_than_there_is_room_for(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """Counted across two workers; who waits goes on as soon as a session closes."""
    shop = deploy(
        valkey, latency_ms=20, agent_capacity=3, presence_seconds=PRESENCE_SECONDS, concurrency=16
    )
    shop.start_worker()
    shop.start_worker()
    ids = shop.submit_many([trial.openid(number) for number in range(10)])
    full = [shop.wait_status(each, S.WAITING) for each in ids if not _is_created(shop, each)]
    trial.poll(lambda: shop.count(S.CREATED) == 3, seconds=20, what="three are served")
    read_before = shop.readings()
    trial.poll(lambda: shop.readings() >= read_before + 3, seconds=20, what="three more readings")
    assert shop.count(S.CREATED) == 3
    waiting = [one for one in map(shop.producer.get, ids) if one and not one.final]
    assert {one.reason for one in waiting} == {R.AGENT_FULL}
    assert sorted(one.ahead for one in waiting if one.ahead is not None) == list(range(7))
    assert full
    while shop.count_live():
        served = [each for each in shop.wechat.book()["sessions"] if each["closed_at"] is None]
        for each in served:
            shop.wechat.tell("close", openid=each["openid"])
        trial.poll(
            lambda: not shop.count_live() or _is_serving(shop), seconds=20, what="the next go"
        )
    assert all(agent["max_serving"] <= 3 for agent in shop.wechat.summary()["agents"])
    assert _codes(shop) == {0: 10}
    books.check_books(shop, requests=10)


def test_a_paused_agents_requests_go_to_the_next_and_on_with_resume(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """Nothing is dropped, and nobody is asked meanwhile."""
    shop = deploy(valkey, agents=(scenario.Agent(kf_account=FIRST, online=True),))
    shop.start_worker()
    assert _said(shop, "pause", FIRST) == {
        "appid": trial.APPID,
        "kf_account": FIRST,
        "paused": True,
        "changed": True,
    }
    held = shop.submit(trial.openid(1), FIRST)
    passed_on = shop.submit(trial.openid(2), FIRST, trial.AGENT)
    assert shop.outcome(passed_on).served_by == trial.AGENT
    assert shop.wait_status(held, S.WAITING).reason is R.PAUSED
    rows = {each["kf_account"]: each for each in _lines(shop, "agents")}
    assert rows[FIRST] | {"serving": None} == {
        "appid": trial.APPID,
        "kf_account": FIRST,
        "online": True,
        "paused": True,
        "serving": None,
        "capacity": None,
        "room": 0,
        "waiting": 1,
    }
    assert [each["kf_account"] for each in shop.creates()] == [trial.AGENT]
    assert _said(shop, "resume", FIRST)["changed"] is True
    assert shop.outcome(held).served_by == FIRST
    books.check_books(shop, requests=2)


def test_a_paused_account_holds_all_and_deadlines_run(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """One gate holds them; resume lets every one of them go."""
    shop = deploy(valkey)
    shop.start_worker()
    _said(shop, "pause")
    ends = shop.submit(trial.openid(0), trial.AGENT, ttl_seconds=2)
    ids = shop.submit_many([trial.openid(number) for number in range(1, 40)], lane="batch")
    for each in ids:
        assert shop.wait_status(each, S.WAITING).reason is R.PAUSED
    one = shop.outcome(ends)
    assert (one.status, one.reason, one.api_calls) == (S.EXPIRED, R.PAUSED, 0)
    assert shop.creates() == []
    _said(shop, "resume")
    shop.wait_all_over()
    assert _codes(shop) == {0: 39}
    books.check_books(shop, requests=40)


def test_one_request_probes_a_blocked_account(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """45011: the account waits for the next minute; then one goes, and the others follow.

    That minute is made to pass.
    """
    shop = deploy(valkey, account={"errcode": 45011}, concurrency=4)
    shop.start_worker()
    ids = shop.submit_many([trial.openid(number) for number in range(60)], lane="batch")
    for each in ids:
        assert shop.wait_status(each, S.WAITING).reason is R.RATE_LIMITED
    assert 1 <= len(shop.creates()) <= 4
    one = shop.producer.get(ids[-1])
    assert one is not None
    assert one.errcode == 45011
    (gate,) = shop.reader.known([trial.APPID])
    assert gate.held_for == R.RATE_LIMITED
    assert gate.held_until is not None
    assert gate.held_until.second <= 6, "soon after a minute begins, but not all accounts at once"
    shop.wechat.tell("accounts", errcode=0)
    in_vain = len(shop.creates())
    haste.pass_holds(shop.client, shop.prefix)
    shop.wait_all_over()
    assert len(shop.creates()) == in_vain + 60
    books.check_books(shop, requests=60)


def test_without_a_list_of_who_is_online_rooms_wake_by_growing_waits(
    deploy: conftest.Deploy, valkey: servers.Server
) -> None:
    """Presence is blind, `status` says so, and nobody is stranded."""
    shop = deploy(valkey, agents=_away(FIRST), presence_seconds=PRESENCE_SECONDS)
    shop.wechat.tell("faults", garbage=1, paths=["/cgi-bin/customservice/getonlinekflist"])
    shop.start_worker()
    ids = shop.submit_many(
        [trial.openid(number) for number in range(20)], lane="batch", kf_account=FIRST
    )
    for each in ids:
        shop.wait_status(each, S.WAITING)
    blind = trial.poll(
        lambda: _said(shop, "status")["gates"][0]["presence_blind"], seconds=20, what="it is blind"
    )
    assert "JSON" in blind
    shop.set_online(FIRST, online=True)
    shop.wait_all_over()
    assert shop.count(S.CREATED) == 20
    assert _codes(shop)[65415] <= 8 + 2  # one a slot, and one a wake
    books.check_books(shop, requests=20)


def _is_created(shop: processes.Deployment, request_id: str) -> bool:
    one = shop.producer.wait(request_id, 1.0)
    return one is not None and one.status is S.CREATED


def _is_serving(shop: processes.Deployment) -> bool:
    return any(agent["serving"] for agent in shop.wechat.summary()["agents"])


def _said(shop: processes.Deployment, *command: str) -> dict[str, object]:
    (said,) = _lines(shop, *command)
    return said


def _lines(shop: processes.Deployment, *command: str) -> list[dict[str, object]]:
    child = shop.start_command(*command)
    assert child.wait(processes.PATIENCE_SECONDS) == 0
    return [json.loads(line) for line in child.output().splitlines() if line.startswith("{")]

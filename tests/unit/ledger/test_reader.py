"""reader: what people and dashboards ask of the ledger."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker import errors
from worker.contract import record
from worker.ledger import dead_list, keys, reader


def test_an_unknown_id_is_none(stage: stages.Stage) -> None:
    """Asking leaves nothing behind."""
    assert stage.reader.get("nobody") is None
    assert stage.reader.newest_of_fan(FAN, APPID) is None
    assert stage.reader.newest_of_fan(FAN) is None
    assert stage.reader.by_key("nothing", APPID) is None
    assert stage.reader.oldest(record.Status.QUEUED) is None
    assert stage.reader.newest_position() == "0"
    assert stage.all_keys() == set()


def test_a_fan_is_found_in_whichever_account_has_the_newest(stage: stages.Stage) -> None:
    """Without an appid all announced accounts are asked."""
    stage.ledger.accounts.announce("w", {}, {APPID: {}, "wx2": {}})
    stage.submit()
    stage.pass_seconds(5)
    newest = stage.submit(appid="wx2").id
    found = stage.reader.newest_of_fan(FAN)
    assert found is not None
    assert found.id == newest


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "abcd"),
        ({"status": record.Status.WAITING}, "b"),
        ({"reason": record.Reason.INVALID_OPENID}, "c"),
        ({"lane": "batch"}, "d"),
        ({"openid": "oA"}, "a"),
        ({"appid": "wx2"}, ""),
        ({"kf_account": OTHER}, "d"),
        ({"errcode": 65415}, "b"),
        ({"status": record.Status.QUEUED, "lane": "escalation"}, "a"),
    ],
)
def test_a_listing_holds_what_the_filter_admits_newest_first(
    stage: stages.Stage, wanted: dict[str, object], found: str
) -> None:
    """By each of the fields that `list` knows."""
    for name in "dcba":
        more = {"lane": "batch", "fallbacks": [OTHER]} if name == "d" else {}
        stage.submit("o" + name.upper(), id=name, **more)
        if name == "b":
            claim = stage.claim("b")
            stage.settle(
                claim,
                "waiting",
                reason="agent_offline",
                attempts=[stages.attempt()],
                wait_seconds=60,
            )
        if name == "c":
            stage.finish("c", "failed", "invalid_openid")
        stage.pass_seconds(1)
    records, more_follow = stage.reader.select(reader.Filter(**wanted), 10)  # type: ignore[arg-type]
    assert ("".join(one.id for one in records), more_follow) == (found, False)


def test_a_cut_listing_says_that_more_follow(stage: stages.Stage) -> None:
    """And holds the newest."""
    for number in range(250):
        stage.submit(f"o{number}", id=f"r{number:03d}")
    records, more_follow = stage.reader.select(reader.Filter(), 220)
    assert [one.id for one in records] == [f"r{n:03d}" for n in range(249, 29, -1)]
    assert more_follow is True
    assert stage.reader.select(reader.Filter(), 250)[1] is False


def test_a_listing_can_be_cut_by_time(stage: stages.Stage) -> None:
    """Both ends included."""
    for name in ("old", "middle", "new"):
        stage.submit(f"o{name}", id=name)
        stage.pass_seconds(60)
    at = stage.get("middle").submitted_at
    wide = datetime.timedelta(seconds=30)
    records, _ = stage.reader.select(reader.Filter(since=at - wide, until=at + wide), 10)
    assert [one.id for one in records] == ["middle"]
    records, _ = stage.reader.select(reader.Filter(since=at), 10)
    assert [one.id for one in records] == ["new", "middle"]


def test_counts_and_the_oldest_age_come_from_the_indexes(stage: stages.Stage) -> None:
    """Told apart by lane and reason."""
    first = stage.submit("oA").id
    stage.pass_seconds(10)
    stage.submit("oB", lane="batch")
    assert stage.reader.counts()[record.Status.QUEUED] == {"escalation": 1, "batch": 1}
    assert stage.reader.oldest(record.Status.QUEUED) == stage.get(first).submitted_at
    stage.wait(first, "token")
    assert stage.reader.counts()[record.Status.WAITING] == {"token": 1}
    assert stage.reader.due() == 2


def test_events_go_on_from_a_position(stage: stages.Stage) -> None:
    """So that nobody reads twice or misses one."""
    stage.submit("oA", id="a")
    position = stage.reader.newest_position()
    stage.submit("oB", id="b")
    (event,) = stage.reader.events(position)
    assert (event.id, event.status, event.reason) == ("b", record.Status.QUEUED, None)
    assert event.as_json()["at"].endswith("Z")
    assert stage.reader.events(event.position) == []
    assert stage.reader.events(event.position, block_ms=1) == []


@pytest.mark.parametrize(
    ("status", "reason", "errcode", "hint"),
    [
        ("failed", "invalid_openid", 40003, "check that this openid was issued for this appid"),
        ("failed", "unconfirmed", None, "Look in WeChat whether this fan has a session"),
        ("failed", "internal_error", None, "A bug of ours: look for delivery_crashed"),
        ("waiting", "agent_offline", 65415, "nothing to do: it goes on when the agent signs in"),
        ("waiting", "token", None, "No usable access token"),
        ("created", None, 0, None),
    ],
)
def test_a_record_says_what_a_person_should_do(
    stage: stages.Stage, status: str, reason: str | None, errcode: int | None, hint: str | None
) -> None:
    """By its reason, or by the code table."""
    request_id = stage.submit().id
    attempts = [] if errcode is None else [stages.attempt(errcode=errcode)]
    stage.settle(stage.claim(request_id), status, reason=reason, attempts=attempts, wait_seconds=60)
    one = stage.get(request_id)
    assert one.errcode == errcode
    assert one.hint == hint if hint is None else (one.hint or "").startswith(hint)


def test_a_record_is_plain_json(stage: stages.Stage) -> None:
    """Under its outside names, times in ISO 8601 UTC."""
    request_id = stage.submit(metadata={"list": [], "n": 2**60}, key="k", fallbacks=["any"]).id
    shown = json.loads(json.dumps(stage.get(request_id).as_json()))
    assert shown["schema"] == record.SCHEMA
    assert shown["metadata"] == {"list": [], "n": 2**60}
    assert shown["targets"] == [AGENT, "any"]
    assert shown["final"] is False
    assert datetime.datetime.fromisoformat(shown["submitted_at"]).tzinfo is not None


def test_workers_announce_themselves_and_say_goodbye(stage: stages.Stage) -> None:
    """With what they say of themselves, and the accounts they serve."""
    stage.ledger.accounts.announce("w1", {"version": "1", "slots": 4}, {"wx1": {}})
    stage.ledger.accounts.announce("w2", {"version": "1", "slots": 4}, {"wx2": {}})
    assert stage.reader.accounts() == ["wx1", "wx2"]
    assert set(stage.reader.workers()) == {"w1", "w2"}
    assert stage.reader.workers()["w1"]["slots"] == 4
    stage.ledger.accounts.depart("w1")
    assert set(stage.reader.workers()) == {"w2"}


def test_a_worker_that_died_silently_is_forgotten_in_time(stage: stages.Stage) -> None:
    """A killed worker says no goodbye; its entry does not stay for ever."""
    stage.ledger.accounts.announce("dead", {}, {})
    stage.client.hset(stage.keys.workers, "dead", "1000000 {}")
    stage.ledger.accounts.announce("alive", {}, {})
    assert set(stage.reader.workers()) == {"alive"}


def test_a_worker_refuses_the_ledger_of_a_newer_release(stage: stages.Stage) -> None:
    """In one line; an older number is no reason."""
    stage.client.set(stage.keys.schema, keys.SCHEMA)
    stage.ledger.accounts.announce("w", {}, {})
    stage.client.set(stage.keys.schema, keys.SCHEMA + 1)
    with pytest.raises(errors.SchemaTooNew, match=f"schema {keys.SCHEMA + 1}") as caught:
        stage.ledger.accounts.announce("w", {}, {})
    assert "\n" not in str(caught.value)


def test_the_dead_list_keeps_the_newest_thousand(stage: stages.Stage) -> None:
    """Cut entries, with where they came from and why."""
    refused = [dead_list.Refused(number, "q", f"why {number}", "x") for number in range(1004)]
    stage.ledger.dead_list.bury(refused)
    stage.ledger.dead_list.bury(
        [dead_list.Refused.now("客".encode() * 5000, queue="q", error="why 1004")]
    )
    assert stage.reader.dead() == 1000
    assert stage.reader.oddities() == {"entries_refused": 1005}
    newest = json.loads(stage.client.lindex(stage.keys.dead, 0))
    assert (newest["queue"], newest["error"], len(newest["entry"])) == ("q", "why 1004", 4096)


def test_whatever_text_an_entry_holds_can_be_buried(stage: stages.Stage) -> None:
    """Lone surrogates are no UTF-8, and a stranger may send them."""
    stage.ledger.dead_list.bury(
        [dead_list.Refused(1, "q", "field '\udfff' unknown", "\ud800 客服")]
    )
    kept = json.loads(stage.client.lindex(stage.keys.dead, 0))
    assert kept["entry"] == "\ud800 客服"


def test_words_of_a_newer_release_stop_no_reader(stage: stages.Stage) -> None:
    """Two releases may share a ledger: what is not known is told as it stands."""
    request_id = stage.submit().id
    news = {"status": "parked", "reason": "moon_is_full", "lane": "vip"}
    stage.client.hset(stage.keys.request(request_id), mapping=news)
    stage.client.xadd(
        stage.keys.events, {"id": request_id, "status": "parked", "reason": "moon_is_full"}
    )
    one = stage.get(request_id)
    assert (one.status, one.reason, one.lane, one.final) == (*news.values(), False)
    assert one.as_json()["reason"] == "moon_is_full"
    assert stage.reader.events()[-1].as_json()["reason"] == "moon_is_full"
    stage.client.hset(stage.keys.request(request_id), "finished_at", 1)
    assert stage.get(request_id).final


def test_a_reason_of_a_newer_release_stops_no_worker(stage: stages.Stage) -> None:
    """It only counts how often in a row somebody waited for the same."""
    request_id = stage.submit().id
    stage.client.hset(stage.keys.request(request_id), "reason", "moon_is_full")
    assert stage.claim(request_id).reason is None


def test_machines_that_stepped_back_are_told_with_the_mend(stage: stages.Stage) -> None:
    """By worker; for one account, or for all of them."""
    marks = [
        f"{APPID} 5000 60000 2 account_blocked 40164 invalid ip 10.0.0.7",
        "* 0 300 1 transient - api.weixin.qq.com: not sent: Name or service not known",
    ]
    stage.announce(worker="w1", marks=marks)
    wide, narrow = sorted(stage.reader.stepped_back()["w1"], key=lambda each: each.appid or "")
    assert (narrow.appid, narrow.strikes, narrow.reason) == (APPID, 2, "account_blocked")
    assert (narrow.errcode, narrow.errmsg) == (40164, "invalid ip 10.0.0.7")
    assert (narrow.until - narrow.since).total_seconds() == 65
    assert "whitelist" in narrow.hint
    assert (wide.appid, wide.errcode) == (None, None)
    assert "proxy" in wide.as_json()["hint"]


@pytest.mark.parametrize(
    "told",
    ["", "s u 1 token", "1 2 x token - no", "1 2 3 token x no", "1 99999999999999999 1 t - n"],
)
def test_a_mark_that_nobody_of_ours_wrote_stops_no_reader(stage: stages.Stage, told: str) -> None:
    """The others are told."""
    stage.announce(worker="w1", marks=[f"{APPID} 0 0 1 token - no token"])
    stage.client.hset(stage.keys.stepped_back("w1"), "wx9", told)
    assert [each.appid for each in stage.reader.stepped_back()["w1"]] == [APPID]

"""watch, observe, blind: who is online, read once for everybody, and only while somebody waits."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER


def wait_for_agents(stage: stages.Stage, openid: str = "oA", appid: str = APPID) -> str:
    """A request that waits since its agent is not online; its account was read before."""
    stage.observe({AGENT: 0}, appid=appid)
    stage.observe({}, appid=appid)
    request_id = stage.submit(openid, appid=appid).id
    assert stage.take(request_id).claim is None
    return request_id


def next_in_seconds(stage: stages.Stage, appid: str = APPID) -> float | None:
    """How long until somebody reads this account; None where nobody will."""
    score = stage.client.zscore(stage.keys.watch, appid)
    return None if score is None else score / 1000 - stage.now()


def test_an_account_is_read_once_an_interval_in_the_whole_fleet(stage: stages.Stage) -> None:
    """Whoever takes it moves its next reading away; a worker that dies delays it, no more."""
    wait_for_agents(stage)
    assert stage.watch() == [], "it was read just now"
    stage.pass_seconds(5.1)
    assert [stage.watch() for _ in range(3)] == [[APPID], [], []]
    stage.pass_seconds(5.1)
    assert stage.watch() == [APPID]


def test_a_reading_begins_when_it_is_taken(stage: stages.Stage) -> None:
    """By the server's clock, since it is compared with other workers'."""
    stage.ledger.accounts.want_reading([APPID])
    (reading,) = stage.ledger.accounts.watch(5, interval_seconds=5)
    assert reading.began_ms / 1000 == pytest.approx(stage.now(), abs=0.5)


def test_a_worker_takes_no_more_accounts_than_it_can_read(stage: stages.Stage) -> None:
    """The longest waiting first; the others are another worker's."""
    appids = ["wx1", "wx2", "wx3"]
    for appid in appids:
        wait_for_agents(stage, appid=appid)
        stage.pass_seconds(1)
    stage.pass_seconds(5)
    assert stage.watch(2) == appids[:2]
    assert stage.watch(2) == appids[2:]


def test_an_account_nobody_waits_for_is_read_no_more(stage: stages.Stage) -> None:
    """And again as soon as somebody does, but not before its interval is over."""
    request_id = wait_for_agents(stage)
    stage.ledger.cancel(request_id)
    stage.pass_seconds(5.1)
    assert stage.watch() == []
    assert next_in_seconds(stage) is None
    stage.ledger.accounts.want_reading([APPID])
    assert stage.watch() == [APPID]
    stage.observe({})
    stage.pass_seconds(2)
    assert stage.take(stage.submit("oB").id).claim is None
    assert next_in_seconds(stage) == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("reason", ["transient", "rate_limited"])
def test_who_does_not_wait_for_agents_needs_no_reading(stage: stages.Stage, reason: str) -> None:
    """Alone, or for the account."""
    stage.wait(stage.submit().id, reason)
    assert next_in_seconds(stage) is None


def test_somebody_may_want_a_reading_although_nobody_waits(stage: stages.Stage) -> None:
    """At once, and once: the reading answers the wish, and so does the failure of one."""
    for answer in (lambda: stage.observe({AGENT: 0}), stage.lose_sight):
        stage.ledger.accounts.want_reading([APPID])
        assert stage.watch() == [APPID]
        answer()
        stage.pass_seconds(5.1)
        assert stage.watch() == []
        assert stage.client.exists(stage.keys.wanted(APPID)) == 0


def test_a_wish_that_nobody_answers_ends(stage: stages.Stage) -> None:
    """A reader that was killed does not leave an account watched for ever."""
    stage.ledger.accounts.want_reading([APPID])
    for _ in range(5):
        assert stage.watch() == [APPID]
        stage.pass_seconds(6.1)
    assert stage.watch() == []
    assert next_in_seconds(stage) is None


@pytest.mark.parametrize("gate", ["paused", "held"])
def test_nobody_is_read_behind_a_closed_gate(stage: stages.Stage, gate: str) -> None:
    """A reading helps nobody there, unless somebody wants to see it."""
    wait_for_agents(stage)
    if gate == "paused":
        stage.ledger.accounts.pause(APPID)
    else:
        stage.wait(stage.submit("oB", kf_account="kf9@acct").id, "quota", seconds=100)
    stage.pass_seconds(6)
    assert stage.watch() == []
    stage.ledger.accounts.want_reading([APPID])
    assert stage.watch() == [APPID]
    stage.observe({})
    if gate == "paused":
        stage.ledger.accounts.resume(APPID)
    stage.pass_seconds(101)
    assert stage.watch() == [APPID]
    stage.check()


def test_readings_begin_when_the_probe_of_a_held_account_succeeds(stage: stages.Stage) -> None:
    """Those who wait for its agents need one now."""
    wait_for_agents(stage)
    stage.observe({})
    probe = stage.submit("oB", kf_account="kf9@acct").id
    stage.wait(probe, "quota", seconds=100)
    stage.pass_seconds(101)
    (probe,) = stage.let_out()
    assert stage.ledger.accounts.watch(5, interval_seconds=60) == []
    stage.settle(stage.claim(probe), "created", served_by="kf9@acct")
    assert stage.watch() == [APPID]


def test_who_waited_for_the_account_is_read_for_once_agents_are_missing(
    stage: stages.Stage,
) -> None:
    """Else nobody would ever learn that somebody is online again."""
    stage.lose_sight()
    stage.observe({AGENT: 0})
    request_id = stage.submit(kf_account="any").id
    stage.wait(request_id, "quota", seconds=100)
    stage.pass_seconds(101)
    stage.lose_sight()
    assert stage.let_out() == []
    assert stage.get(request_id).reason == "agent_offline"
    stage.check()
    stage.pass_seconds(5.1)
    assert stage.watch() == [APPID]


def test_a_reading_says_who_is_online_and_who_is_no_more(stage: stages.Stage) -> None:
    """It counts those who came, and remembers when it first missed somebody."""
    assert stage.observe({AGENT: 1, OTHER: 2}) == 2
    stage.pass_seconds(5)
    assert stage.observe({OTHER: 3}) == 0
    account = stage.account()
    assert account["online"] == OTHER
    assert {name for name in account if name.startswith("on:")} == {f"on:{OTHER}"}
    assert account[f"on:{OTHER}"] == "3"
    assert account[f"off:{AGENT}"] == account["began"]
    stage.pass_seconds(5)
    assert stage.observe({AGENT: 0}) == 1
    account = stage.account()
    assert account["online"] == AGENT
    assert f"off:{AGENT}" not in account
    assert int(account["began"]) - int(account[f"off:{OTHER}"]) == 0


def test_an_older_reading_does_not_overwrite_a_newer(stage: stages.Stage) -> None:
    """A slow worker tells late what it saw."""
    stage.observe({AGENT: 0})
    before = stage.account()
    assert stage.observe({OTHER: 7}, seconds_ago=3) == 0
    assert stage.account() == before


def test_a_name_that_cannot_be_listed_is_left_out(stage: stages.Stage) -> None:
    """No request can name it either."""
    assert stage.observe({"": 1, "anna shop@x": 1, "a|b@x": 1, AGENT: 1}) == 1
    assert stage.account()["online"] == AGENT


def test_each_reading_with_somebody_online_wakes_the_rooms(stage: stages.Stage) -> None:
    """Also where nobody came: somebody may have room now."""
    stage.announce({"": 1})
    stage.observe({AGENT: 1})
    request_id = stage.submit().id
    assert stage.take(request_id).claim is None
    stage.pass_seconds(5)
    assert stage.observe({AGENT: 0}) == 0
    assert stage.let_out() == [request_id]


def test_a_reading_of_nobody_wakes_nobody(stage: stages.Stage) -> None:
    """The rooms rest until their own time."""
    wait_for_agents(stage)
    before = stage.wakes_in_seconds()
    stage.observe({})
    assert stage.wakes_in_seconds() == pytest.approx(before, abs=0.1)


def test_where_nobody_was_online_for_an_hour_a_reading_a_minute_is_enough(
    stage: stages.Stage,
) -> None:
    """And it is trusted until the next, so that nobody is called in vain between the two."""
    request_id = wait_for_agents(stage)
    stage.pass_seconds(3500)
    stage.submit("oA", ttl_seconds=7200)
    stage.observe({})
    assert next_in_seconds(stage) == pytest.approx(5, abs=0.5)
    stage.pass_seconds(110)
    stage.observe({})
    assert next_in_seconds(stage) == pytest.approx(60, abs=0.5)
    for _ in range(9):
        stage.pass_seconds(6)
        assert (stage.watch(), stage.let_out()) == ([], [])
    assert stage.take(stage.submit("oB").id).claim is None
    stage.pass_seconds(6.5)
    assert stage.watch() == [APPID]
    stage.observe({AGENT: 0})
    assert next_in_seconds(stage) == pytest.approx(5, abs=0.5)
    assert stage.let_out() == [request_id]
    stage.check()


def test_a_reading_that_fails_is_news_once(stage: stages.Stage) -> None:
    """Until one succeeds again."""
    assert stage.lose_sight() is True
    assert stage.lose_sight() is False
    assert stage.account()["blind"] == "48001 api unauthorized"
    stage.observe({})
    assert "blind" not in stage.account()
    assert stage.lose_sight() is True


def test_a_reading_that_fails_is_made_again_after_its_own_time(stage: stages.Stage) -> None:
    """Which may be longer, where only a person can help."""
    wait_for_agents(stage)
    stage.pass_seconds(5.1)
    (reading,) = stage.ledger.accounts.watch(5, interval_seconds=20)
    stage.ledger.accounts.cannot_tell(reading, "48001 no", interval_seconds=60)
    assert next_in_seconds(stage) == pytest.approx(60, abs=0.5)


def test_who_waited_for_the_reading_alone_goes_on_when_it_fails(stage: stages.Stage) -> None:
    """Our own sessions are counted then, and nobody waits for what will not come."""
    stage.announce({"": 5})
    request_id = stage.submit().id
    assert stage.take(request_id).needs_reading
    stage.lose_sight()
    assert stage.let_out() == [request_id]
    assert stage.claim(request_id).calling == AGENT


def test_what_was_read_last_is_trusted_for_its_time_also_when_the_next_fails(
    stage: stages.Stage,
) -> None:
    """One failure forgets nothing."""
    stage.observe({OTHER: 0})
    stage.lose_sight()
    assert stage.claim(stage.submit(kf_account="any").id).calling == OTHER


def test_accounts_are_told_apart(stage: stages.Stage) -> None:
    """An agent of one says nothing of the other's."""
    wait_for_agents(stage)
    other = wait_for_agents(stage, "oB", appid="wx2")
    stage.observe({AGENT: 0}, appid="wx2")
    assert stage.let_out() == [other]

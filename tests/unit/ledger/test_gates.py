"""gates: what holds an account or an agent is one thing, read at the claim."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker.contract import request
from worker.ledger import claims

#: What WeChat's refusal of the whole account is waited for as.
HELD = [reason for reason, holds in stages.HOLDS.items() if holds is claims.Holds.ACCOUNT]


def everything(stage: stages.Stage) -> dict[str, Any]:
    """What each key of the ledger holds."""
    read = {
        "hash": stage.client.hgetall,
        "string": stage.client.get,
        "set": stage.client.smembers,
        "zset": lambda key: stage.client.zrange(key, 0, -1, withscores=True),
        "stream": stage.client.xrange,
    }
    return {key: read[stage.client.type(key)](key) for key in stage.all_keys()}


def refuse(
    stage: stages.Stage, claim: claims.Claim, reason: str = "quota", *, seconds: float = 300
) -> None:
    """WeChat refuses the account's calls."""
    stage.settle(claim, "waiting", reason=reason, wait_seconds=seconds, strikes=claim.strikes + 1)


def hold(stage: stages.Stage, *openids: str, reason: str = "quota") -> list[str]:
    """Requests that wait for the account: the first was refused, the others met the gate."""
    ids = [stage.submit(openid).id for openid in openids]
    refuse(stage, stage.claim(ids[0]), reason)
    assert stage.take().claim is None
    return ids


# -- an operator's gates ----------------------------------------------------------------------


@pytest.mark.parametrize("kf_account", ["", AGENT])
def test_what_is_paused_is_held_until_it_is_resumed(stage: stages.Stage, kf_account: str) -> None:
    """Nothing is dropped; one goes ahead afterwards, as after any wait in a room."""
    operator = stage.ledger.accounts
    assert operator.pause(APPID, kf_account) == (APPID, True)
    assert operator.pause(APPID, kf_account) == (APPID, False)
    first, second = (stage.submit(openid).id for openid in ("oA", "oB"))
    assert stage.take(first, second).claim is None
    assert [stage.get(each).reason for each in (first, second)] == ["paused", "paused"]
    stage.pass_seconds(300)
    assert stage.let_out() == []
    stage.check()
    assert operator.resume(APPID, kf_account) == (APPID, True)
    assert operator.resume(APPID, kf_account) == (APPID, False)
    assert stage.let_out() == [first]
    assert stage.claim(first).calling == AGENT
    stage.check()


@pytest.mark.parametrize("kf_account", ["", AGENT])
def test_a_pause_touches_one_gate_whatever_waits(stage: stages.Stage, kf_account: str) -> None:
    """And a resume one wake time a room: neither touches a single request (promise 5)."""
    operator = stage.ledger.accounts
    operator.pause(APPID, kf_account)
    for number in range(20):
        stage.submit(f"o{number}")
    assert stage.take().claim is None
    stage.submit("oQUEUED")
    account = stage.keys.account(APPID)
    for turn, touched in (
        (operator.resume, {account, stage.keys.rooms}),
        (operator.pause, {account}),
    ):
        before = everything(stage)
        turn(APPID, kf_account)
        after = everything(stage)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert changed - {stage.keys.watch} == touched


def test_deadlines_run_on_behind_a_gate(stage: stages.Stage) -> None:
    """With the reason it was held for."""
    stage.ledger.accounts.pause(APPID)
    request_id = stage.submit(ttl_seconds=60).id
    assert stage.take(request_id).claim is None
    stage.pass_seconds(61)
    assert stage.wake().expired == 1
    assert stage.get(request_id).reason == "paused"
    stage.check()


def test_a_gate_holds_its_own_account_and_agent_only(stage: stages.Stage) -> None:
    """Others go on."""
    stage.ledger.accounts.pause(APPID, OTHER)
    stage.ledger.accounts.pause("wx2")
    request_id = stage.submit().id
    assert stage.claim(request_id).id == request_id
    other = stage.submit("oB", appid="wx2").id
    assert stage.take(other).claim is None


def test_a_paused_agent_means_the_next_target(stage: stages.Stage) -> None:
    """As if it were offline; only when all are out the request waits, for any of them."""
    stage.observe({AGENT: 0, OTHER: 0})
    stage.ledger.accounts.pause(APPID, AGENT)
    assert stage.claim(stage.submit(fallbacks=[OTHER]).id).calling == OTHER
    stage.ledger.accounts.pause(APPID, OTHER)
    held = stage.submit("oB", fallbacks=[OTHER]).id
    assert stage.take(held).claim is None
    assert stage.get(held).reason == "paused"
    stage.ledger.accounts.resume(APPID, OTHER)
    assert stage.let_out() == [held]
    assert stage.claim(held).calling == OTHER


def test_a_pause_during_a_call_allows_no_further_one(stage: stages.Stage) -> None:
    """Neither of the account, nor of the agent who would be next."""
    stage.observe({AGENT: 0, OTHER: 0})
    for kf_account in ("", OTHER):
        claim = stage.claim(stage.submit(f"o{kf_account[:3]}", fallbacks=[OTHER]).id)
        stage.ledger.accounts.pause(APPID, kf_account)
        found = stage.find_next(claim, offline=AGENT)
        assert (found.calling, found.held_for) == (None, "paused")
        stage.ledger.accounts.resume(APPID, kf_account)
        stage.pass_seconds(5)
        stage.observe({AGENT: 0, OTHER: 0})


@pytest.mark.parametrize(
    ("known", "appid", "said"),
    [
        (["wx1", "wx2"], "", "appid: missing, and the ledger knows several accounts"),
        ([], "", "appid: missing, and no worker has announced an account"),
        (["wx1"], "wx3", "appid: 'wx3': no worker serves it; known are wx1"),
    ],
)
def test_an_account_that_nobody_serves_cannot_be_paused(
    stage: stages.Stage, known: list[str], appid: str, said: str
) -> None:
    """A slip of the pen must not look like a gate that is closed."""
    stage.ledger.accounts.announce("w1", {}, {each: {} for each in known})
    with pytest.raises(request.InvalidRequest, match=said):
        stage.ledger.accounts.pause(appid)
    with pytest.raises(request.InvalidRequest, match=said):
        stage.ledger.accounts.resume(appid)


def test_the_only_account_is_paused_without_its_name(stage: stages.Stage) -> None:
    """The answer says which one it was."""
    stage.announce()
    assert stage.ledger.accounts.pause() == (APPID, True)
    assert stage.take(stage.submit().id).claim is None


def test_agents_are_read_at_once_after_a_resume(stage: stages.Stage) -> None:
    """Readings were put off while the gate was closed, and a capacity cannot do without."""
    stage.announce({"": 5})
    stage.ledger.accounts.pause(APPID)
    assert stage.take(stage.submit().id).claim is None
    stage.pass_seconds(30)
    assert stage.ledger.accounts.watch(5, interval_seconds=20) == []
    stage.ledger.accounts.resume(APPID)
    assert stage.watch() == [APPID]


# -- WeChat's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", HELD)
def test_a_refused_account_holds_all_its_requests(stage: stages.Stage, reason: str) -> None:
    """They wait for the same, in one room, until the time is over."""
    ids = hold(stage, "oA", "oB", "oC", reason=reason)
    assert {stage.get(each).reason for each in ids} == {reason}
    assert stage.in_room() == ids
    stage.pass_seconds(290)
    assert stage.let_out() == []
    assert stage.wakes_in_seconds() == pytest.approx(10, abs=0.5)
    assert stage.take(stage.submit("oD").id).claim is None
    stage.check()


def test_a_held_account_is_probed_by_one(stage: stages.Stage) -> None:
    """Of all its rooms and lanes, and of whoever comes meanwhile."""
    ids = hold(stage, "oA", "oB")
    elsewhere = stage.submit("oC", kf_account=OTHER, lane="batch").id
    assert stage.take(elsewhere).claim is None
    stage.pass_seconds(290)
    assert stage.let_out() == []
    stage.pass_seconds(11)
    assert stage.let_out() == ids[:1]
    assert stage.take(stage.submit("oD").id).claim.id == ids[0]  # type: ignore[union-attr]
    assert stage.take(stage.submit("oE").id).claim is None
    stage.pass_seconds(10)
    assert stage.let_out() == []
    stage.check()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("created", None),
        ("already_served", None),
        ("failed", "invalid_openid"),
        ("waiting", "agent_offline"),
    ],
)
def test_an_answer_to_the_probe_ends_the_hold(
    stage: stages.Stage, status: str, reason: str | None
) -> None:
    """Whatever it says of the fan: the account's calls are answered again, and its rooms wake."""
    first, second = hold(stage, "oA", "oB")
    elsewhere = stage.submit("oC", kf_account=OTHER).id
    assert stage.take(elsewhere).claim is None
    stage.pass_seconds(290)
    assert stage.let_out() == []
    stage.pass_seconds(11)
    assert stage.let_out() == [first]
    stage.settle(stage.claim(first), status, reason=reason, wait_seconds=60)
    assert not {"hold", "because"} & set(stage.account())
    assert elsewhere in stage.let_out()
    assert stage.take(elsewhere, second).claim is not None
    stage.check()


@pytest.mark.parametrize(
    ("status", "reason", "holds"),
    [
        ("waiting", "transient", claims.Holds.REQUEST),
        ("waiting", "token", claims.Holds.REQUEST),
        ("queued", None, claims.Holds.REQUEST),
    ],
)
def test_a_probe_that_was_not_answered_ends_nothing(
    stage: stages.Stage, status: str, reason: str | None, holds: claims.Holds
) -> None:
    """A lost line, a worker without credentials or one that shuts down tells nothing of WeChat."""
    first, second = hold(stage, "oA", "oB")
    stage.pass_seconds(301)
    stage.let_out()
    stage.settle(stage.claim(first), status, reason=reason, wait_seconds=60, holds=holds)
    assert "hold" in stage.account()
    stage.wake()
    assert stage.let_out() == []
    taken = stage.take(second, stage.submit("oD").id).claim
    assert taken is None or taken.id == first
    stage.check()


def test_a_refused_probe_holds_the_account_on(stage: stages.Stage) -> None:
    """It knows for what, and how often in a row, so that the next wait is longer."""
    first, second = hold(stage, "oA", "oB")
    for strikes in (1, 2, 3):
        stage.pass_seconds(301)
        assert stage.let_out() == [first]
        claim = stage.claim(first)
        assert (claim.reason, claim.strikes) == ("quota", strikes)
        refuse(stage, claim)
        assert stage.let_out() == []
        assert stage.wakes_in_seconds() == pytest.approx(300, abs=0.5)
    assert stage.in_room() == [first, second]
    stage.check()


def test_a_probe_that_never_waited_knows_what_it_probes_for(stage: stages.Stage) -> None:
    """A new request may be the first to come when the time is over."""
    hold(stage, "oA")
    stage.pass_seconds(301)
    claim = stage.claim(stage.submit("oNEW").id)
    assert (claim.reason, claim.strikes) == ("quota", 1)
    assert stage.let_out() == []


@pytest.mark.parametrize("reason", ["gave_up", "internal_error", "unconfirmed", "cancelled"])
def test_a_probe_that_ends_without_an_answer_gives_way_at_once(
    stage: stages.Stage, reason: str
) -> None:
    """The account stays held, and who stands in whatever room finds out in its place."""
    first, second = hold(stage, "oA", "oB")
    stage.pass_seconds(301)
    assert stage.let_out() == [first]
    if reason == "cancelled":
        stage.ledger.cancel(first)
    else:
        stage.settle(stage.claim(first), "failed", reason=reason)
    assert stage.account()["hold"].endswith(" -")
    assert stage.let_out() == [second]
    assert stage.claim(second).id == second
    stage.check()


def test_a_probe_that_a_killed_worker_took_along_gives_way_to_another(stage: stages.Stage) -> None:
    """Half a minute later."""
    first, second = hold(stage, "oA", "oB")
    stage.pass_seconds(301)
    assert stage.let_out() == [first]
    stage.claim(first)
    stage.pass_seconds(29)
    assert stage.let_out() == []
    stage.pass_seconds(2)
    assert stage.let_out() == [second]
    assert stage.claim(second).id == second


def test_a_request_that_calls_nobody_is_no_probe(stage: stages.Stage) -> None:
    """Else those who wait for an agent would use up every probe, and none would be made."""
    hold(stage, "oA")
    stage.observe_nobody(OTHER)
    stage.pass_seconds(301)
    stage.observe_nobody(OTHER)
    for number in range(3):
        idle = stage.submit(f"oIDLE{number}", kf_account=OTHER).id
        assert stage.take(idle).claim is None
        assert stage.get(idle).reason == "agent_offline"
    ready = stage.submit("oREADY", kf_account="kf3@acct").id
    assert stage.claim(ready).id == ready


@pytest.mark.parametrize("status", ["created", "refused"])
def test_late_answers_to_older_calls_change_nothing(stage: stages.Stage, status: str) -> None:
    """They began before the hold: neither end it nor make it longer."""
    late, refused = (stage.claim(stage.submit(openid).id) for openid in ("oA", "oB"))
    refuse(stage, refused, seconds=100)
    before = stage.account()["hold"]
    if status == "refused":
        refuse(stage, late, seconds=900)
        assert stage.wakes_in_seconds() == pytest.approx(100, abs=0.5)
    else:
        stage.settle(late, "created", served_by=AGENT)
    assert stage.account()["hold"] == before
    stage.check()


@pytest.mark.parametrize("gate", ["paused", "held"])
@pytest.mark.parametrize("why", ["cancelled", "expired"])
def test_what_is_over_gets_past_a_gate_to_be_read_back(
    stage: stages.Stage, gate: str, why: str
) -> None:
    """A final state needs to know whether somebody has the fan; no agent is about to be called."""
    request_id = stage.doubted()
    if gate == "paused":
        stage.ledger.accounts.pause(APPID)
        assert stage.take(request_id).claim is None
    else:
        refuse(stage, stage.claim(request_id), seconds=48 * 3600)
    assert stage.in_room() == [request_id]
    if why == "cancelled":
        assert stage.ledger.cancel(request_id) == "asked"
    else:
        stage.pass_seconds(3600)
        assert stage.wake().expired == 0
    claim = stage.claim(request_id)
    assert (claim.id, claim.calling, claim.doubt) == (request_id, None, AGENT)
    stage.settle(claim, why, reason=claim.reason, doubt=claims.Doubt.cleared())
    assert stage.status(request_id) == why
    stage.check()


def test_a_held_fan_may_be_taken_back_like_any_other(stage: stages.Stage) -> None:
    """And the fan's next request meets the same gate."""
    (request_id,) = hold(stage, FAN)
    assert stage.ledger.cancel(request_id) == "cancelled"
    assert stage.take(stage.submit().id).claim is None
    stage.check()

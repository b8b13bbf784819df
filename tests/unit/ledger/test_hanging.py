"""settle: an account whose calls hang is held, and one request at a time probes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER
from worker.ledger import claims

#: How many calls in a row have to hang.
MOST = 5


def hang(
    stage: stages.Stage, claim: claims.Claim, *, strikes: int = 1, hung_ms: int = 10_000
) -> None:
    """The call took long, and left it open what became of the fan."""
    stage.settle(
        claim,
        "waiting",
        reason="transient",
        doubt=claims.Doubt.about(claim.calling or ""),
        attempts=[stages.attempt(errcode=None, error="lost_reply", elapsed_ms=10_000)],
        attempt_count=claim.attempt_count + 1,
        wait_seconds=1,
        strikes=strikes,
        hanging_seconds=15 * strikes,
        hung_ms=hung_ms,
    )


def claim_many(stage: stages.Stage, count: int, appid: str = APPID) -> list[claims.Claim]:
    for number in range(count):
        stage.submit(f"o{number}", appid=appid)
    return [stage.claim(holder=f"w{number}") for number in range(count)]


def hold(stage: stages.Stage) -> None:
    """The account is held, since so many of its calls hung."""
    for claim in claim_many(stage, MOST):
        hang(stage, claim)


def hold_of(stage: stages.Stage) -> tuple[str, str, str]:
    """What the account is held for, how often in a row, and who probes."""
    _, reason, strikes, probe = stage.account()["hold"].split(" ")
    return reason, strikes, probe


def send_probe(stage: stages.Stage, seconds: float = 16) -> claims.Claim:
    """The hold is over: one request finds out whether calls still hang."""
    stage.pass_seconds(seconds)
    stage.wake()
    (ahead,) = stage.let_out()
    claim = stage.claim(ahead)
    assert claim.id == ahead
    return claim


def test_five_calls_that_hang_in_a_row_hold_the_account(stage: stages.Stage) -> None:
    """The fifth waits for that, and nobody else takes a slot to hang in."""
    *first, fifth = claim_many(stage, MOST)
    for claim in first:
        hang(stage, claim)
    assert "hold" not in stage.account()
    hang(stage, fifth)
    assert hold_of(stage) == ("transient", "1", "-")
    assert "hang" in stage.account()["because"]
    assert stage.wakes_in_seconds() == pytest.approx(15, abs=0.5)
    assert fifth.id in stage.in_room()
    late = stage.submit("oLATE").id
    assert stage.take(late).claim is None
    assert (stage.status(late), stage.get(late).reason) == ("waiting", "transient")
    stage.check()


def test_where_another_call_is_answered_meanwhile_the_account_does_not_hang(
    stage: stages.Stage,
) -> None:
    """It is an agent, or one machine's way there; calls that began together end together."""
    *burst, other = claim_many(stage, MOST + 4)
    stage.settle(other, "created", served_by=AGENT, attempts=[stages.attempt()])
    for claim in burst:
        hang(stage, claim, hung_ms=10_000)
    assert "hung" not in stage.account()
    assert "hold" not in stage.account()
    stage.pass_seconds(11)
    stage.wake()
    for _ in range(MOST):
        hang(stage, stage.claim(), hung_ms=10_000)
    assert hold_of(stage) == ("transient", "1", "-"), "nobody was answered since"


def test_an_answer_of_a_moment_after_the_last_note_counts_too(stage: stages.Stage) -> None:
    """Not each is noted: a call that began just after the noted one may be older than the last."""
    *burst, first = claim_many(stage, MOST + 1)
    stage.settle(first, "queued")
    answered = round(stage.now() * 1000) - 10_000
    stage.client.hset(stage.keys.account(APPID), "answered", answered)
    for claim in burst:
        hang(stage, claim, hung_ms=round(stage.now() * 1000) - answered - 1)
    assert "hung" not in stage.account()


def test_an_answer_lets_an_account_go_whose_calls_hung_in_a_row(stage: stages.Stage) -> None:
    """Where Redis stood still, settles come in any order: the calls were answered between them."""
    *burst, between = claim_many(stage, MOST + 1)
    for claim in burst:
        hang(stage, claim)
    assert hold_of(stage) == ("transient", "1", "-")
    answer = stages.attempt(errcode=0, error=None)
    taken = stage.settle(between, "created", served_by=AGENT, attempts=[answer])
    assert taken.has_stirred
    assert not {"hold", "hung", "because"} & set(stage.account())
    stage.check()


@pytest.mark.parametrize(
    "said",
    [
        {"status": "queued"},
        {"status": "waiting", "reason": "agent_offline"},
        {"status": "waiting", "reason": "transient", "wait_seconds": 2},
    ],
)
def test_what_is_no_answer_lets_no_account_go(stage: stages.Stage, said: dict[str, Any]) -> None:
    """A claim that is given back, one that finds nobody to ask, and a busy WeChat."""
    *burst, between = claim_many(stage, MOST + 1)
    for claim in burst:
        hang(stage, claim)
    busy = [stages.attempt(errcode=-1, error="busy")] if said.get("reason") == "transient" else []
    stage.settle(between, **said, attempts=busy)
    assert hold_of(stage) == ("transient", "1", "-")


def test_a_page_of_a_gateway_ends_no_row(stage: stages.Stage) -> None:
    """A quick 502, or a connection that is reset, says nothing of the API behind it."""
    *burst, between, last = claim_many(stage, MOST + 1)
    for claim in burst:
        hang(stage, claim)
    page = stages.attempt(errcode=None, error="unreadable")
    stage.settle(between, "waiting", reason="transient", attempts=[page], wait_seconds=9)
    assert "answered" not in stage.account()
    hang(stage, last)
    assert hold_of(stage) == ("transient", "1", "-")


def test_an_answer_before_the_last_call_of_a_delivery_ends_the_row(stage: stages.Stage) -> None:
    """65415 of the first agent, though nobody else can be asked."""
    *burst, between = claim_many(stage, MOST)
    for claim in burst:
        hang(stage, claim)
    told = stages.progress(between, attempts=[stages.attempt()])
    stage.ledger.find_next(between, told, out=(), offline=AGENT, visited=[AGENT])
    assert "hung" not in stage.account()
    assert "answered" in stage.account()


def test_what_a_machine_cannot_do_ends_no_row(stage: stages.Stage) -> None:
    """It never reached WeChat."""
    stage.announce(worker="w2")
    *burst, between, last = claim_many(stage, MOST + 1)
    for claim in burst[: MOST - 1]:
        hang(stage, claim)
    unreached = [stages.attempt(errcode=None, error="never_left")]
    stage.settle(
        between, "waiting", reason="transient", holds=claims.Holds.MACHINE, attempts=unreached
    )
    assert stage.account()["hung"] == str(MOST - 1)
    assert "answered" not in stage.account()
    hang(stage, last)
    assert hold_of(stage)[0] == "transient"


@pytest.mark.parametrize(("hanging", "well"), [(AGENT, OTHER), (OTHER, AGENT)])
def test_whoever_waits_for_another_agent_probes_next(
    stage: stages.Stage, hanging: str, well: str
) -> None:
    """It may be the agent who hangs, and then its room must not send every probe."""
    for number in range(MOST):
        stage.submit(f"o{number}", kf_account=hanging)
    burst = [stage.claim(holder=f"w{number}") for number in range(MOST)]
    healthy = stage.submit("oWELL", kf_account=well).id
    for claim in burst:
        hang(stage, claim)
    assert stage.take().claim is None
    assert send_probe(stage, 17).id == healthy


def test_a_new_machine_sends_no_probe_where_calls_hang(stage: stages.Stage) -> None:
    """It is not for want of a machine that the account is held."""
    hold(stage)
    held = stage.account()["hold"]
    stage.announce(worker="w2")
    assert stage.account()["hold"] == held


def test_nobody_is_rung_for_an_account_whose_one_call_is_under_way(stage: stages.Stage) -> None:
    """Each doorbell would find that it may have no other slot."""
    shared = claims.Taker(worker="n1", slots=8, served=2)
    for number in range(4):
        stage.submit(f"o{number}")
    hang(stage, stage.claim(holder=shared.holder("t1"), taker=shared))
    stage.pass_seconds(3)
    rings = stage.ledger.waiting.left_queued(10, shared)
    assert sum(len(ids) for ids in rings.values()) == 1
    stage.claim(holder=shared.holder("t2"), taker=shared)
    rings = stage.ledger.waiting.left_queued(10, shared)
    assert not any(rings.values())


def test_after_a_call_that_hung_a_worker_makes_one_at_a_time(stage: stages.Stage) -> None:
    """Where it serves several accounts, until one is answered; others have their slots."""
    shared = claims.Taker(worker="n1", slots=8)
    for number in range(6):
        stage.submit(f"o{number}")
        stage.submit(f"o{number}", appid="wx2")

    def take(turn: str) -> list[str]:
        taken = (stage.take(holder=shared.holder(f"{turn}{n}"), taker=shared) for n in range(4))
        made.extend(claim for each in taken if (claim := each.claim))
        return [claim.appid for claim in made[-4:]]

    made: list[claims.Claim] = []
    assert sorted(take("a")) == [APPID, APPID, "wx2", "wx2"]
    first, second = (each for each in made if each.appid == APPID)
    hang(stage, first)
    assert take("b") == ["wx2"] * 4, "one of its calls is under way"
    stage.settle(second, "created", served_by=AGENT)
    stage.settle(made[-1], "created", served_by=AGENT)
    assert APPID in take("c"), "it answers"


def test_another_account_is_not_held_for_it(stage: stages.Stage) -> None:
    """Calls are counted by account."""
    hold(stage)
    for claim in claim_many(stage, MOST - 1, "wx2"):
        hang(stage, claim)
    assert "hold" not in stage.account("wx2")
    assert stage.account("wx2")["hung"] == str(MOST - 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [("created", None), ("failed", "invalid_openid"), ("waiting", "transient")],
)
def test_a_call_that_ends_in_time_ends_the_row(
    stage: stages.Stage, status: str, reason: str | None
) -> None:
    """Whatever it came to: calls do not hang one after the other."""
    *first, between = claim_many(stage, MOST)
    for claim in first:
        hang(stage, claim)
    stage.settle(between, status, reason=reason, attempts=[stages.attempt()], wait_seconds=99)
    assert "hung" not in stage.account()
    stage.pass_seconds(11)
    stage.submit("oNEXT")
    hang(stage, stage.claim())
    assert stage.account()["hung"] == "1"
    assert "hold" not in stage.account()
    stage.check()


def test_who_makes_no_call_ends_no_row(stage: stages.Stage) -> None:
    """A request that goes back to its lane as its worker stops tells nothing of the API."""
    *first, stopped, last = claim_many(stage, MOST + 1)
    for claim in first[: MOST - 1]:
        hang(stage, claim)
    stage.settle(stopped, "queued")
    hang(stage, last)
    assert hold_of(stage) == ("transient", "1", "-")


def test_calls_that_were_under_way_lengthen_no_hold(stage: stages.Stage) -> None:
    """All slots may hang at once; they join the others in the room."""
    running = claim_many(stage, MOST + 3)
    for claim in running[:MOST]:
        hang(stage, claim)
    held = stage.account()["hold"]
    stage.pass_seconds(1)
    for claim in running[MOST:]:
        hang(stage, claim)
    assert stage.wakes_in_seconds() == pytest.approx(14, abs=0.5)
    assert stage.account()["hold"].split(" ")[1:] == held.split(" ")[1:]
    assert {running[MOST].id, running[-1].id} <= set(stage.in_room())
    stage.check()


def test_a_probe_that_hangs_holds_on_with_more_strikes(stage: stages.Stage) -> None:
    """One call is enough for that; and nobody else goes meanwhile."""
    hold(stage)
    probe = send_probe(stage)
    assert (probe.reason, probe.strikes) == ("transient", 1)
    assert hold_of(stage) == ("transient", "1", probe.id)
    assert stage.take().claim is None
    hang(stage, probe, strikes=probe.strikes + 1)
    assert hold_of(stage) == ("transient", "2", "-")
    assert stage.let_out() == []
    assert stage.wakes_in_seconds() == pytest.approx(30, abs=0.5)
    assert send_probe(stage, 31).strikes == 2
    stage.check()


def test_a_probe_that_succeeds_lets_the_others_go(stage: stages.Stage) -> None:
    """And the account's next calls are counted anew."""
    hold(stage)
    probe = send_probe(stage)
    left = len(stage.in_room())
    taken = stage.settle(
        probe,
        "created",
        served_by=AGENT,
        doubt=claims.Doubt.cleared(),
        attempts=[stages.attempt(errcode=0, error=None)],
    )
    assert taken.has_stirred
    assert not {"hold", "hung", "because"} & set(stage.account())
    assert left > 0
    assert len(stage.let_out()) == left
    stage.pass_seconds(11)
    hang(stage, stage.claim())
    assert stage.account()["hung"] == "1"
    assert "hold" not in stage.account()
    stage.check()


def test_a_hold_for_hanging_calls_is_written_once_though_settled_twice(
    stage: stages.Stage,
) -> None:
    """A settle sent again counts no call twice."""
    (claim,) = claim_many(stage, 1)
    for _ in range(MOST + 1):
        hang(stage, claim)
    assert stage.account()["hung"] == "1"
    assert "hold" not in stage.account()

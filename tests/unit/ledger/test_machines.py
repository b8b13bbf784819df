"""announce, claim and watch: who serves an account, and who stepped back from it."""

from __future__ import annotations

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID
from worker.ledger import claims

MARK = f"{APPID} 0 60000 1 account_blocked 40164 invalid ip"
WIDE = "* 0 500 1 transient - no name"
#: A worker that left the account to others.
BACK = claims.Taker(worker="w1", leaves=f"|{APPID}|")


def marks(stage: stages.Stage) -> dict[str, str]:
    """By worker and scope."""
    start = stage.keys.stepped_back("")
    return {
        f"{key.removeprefix(start)} {scope}": told
        for key in stage.all_keys()
        if key.startswith(start)
        for scope, told in stage.client.hgetall(key).items()
    }


def step_back(stage: stages.Stage, worker: str = "w1", mark: str = MARK) -> bool:
    """Whether the worker is needed all the same."""
    return stage.announce(worker=worker, marks=[mark]).is_needed


def hold(stage: stages.Stage, *, mark: str = MARK) -> str:
    """A request that holds its account, since w1 cannot call and nobody else is there."""
    request_id = stage.submit().id
    claim = stage.claim(request_id)
    stage.ledger.settle(
        claim,
        stages.settlement(
            claim,
            "waiting",
            reason="account_blocked",
            wait_seconds=60,
            holds=claims.Holds.MACHINE,
            mark=mark,
            because="40164 invalid ip",
        ),
        "w1",
        take_next=False,
        taker=claims.Taker(worker="w1"),
    )
    return request_id


def test_a_beat_writes_the_marks_of_its_worker_and_ends_the_others(stage: stages.Stage) -> None:
    """It is the whole truth about this worker, and nothing about the next."""
    stage.announce(worker="w1", marks=[MARK, WIDE])
    stage.announce(worker="w10", marks=[MARK])
    assert set(marks(stage)) == {f"w1 {APPID}", "w1 *", f"w10 {APPID}"}
    since, until, told = marks(stage)[f"w1 {APPID}"].split(" ", 2)
    assert int(until) - int(since) == 60_000
    assert told == "1 account_blocked 40164 invalid ip"
    stage.announce(worker="w1", marks=[WIDE])
    assert set(marks(stage)) == {"w1 *", f"w10 {APPID}"}


def test_a_mark_that_somebody_removed_is_to_be_probed_now(stage: stages.Stage) -> None:
    """One that is new is not there yet."""
    old = f"{APPID} 3000 60000 1 account_blocked 40164 invalid ip"
    assert stage.announce(marks=[MARK]).hurried == set()
    assert stage.announce(marks=[old]).hurried == set()
    stage.client.delete(stage.keys.stepped_back("w1"))
    assert stage.announce(marks=[old]).hurried == {APPID}
    assert stage.announce(marks=[old]).hurried == set(), "once"


def test_a_worker_that_departs_takes_its_marks_along(stage: stages.Stage) -> None:
    """And nobody counts on it."""
    stage.announce(worker="w1", marks=[MARK, WIDE])
    stage.announce(worker="w2")
    stage.ledger.accounts.depart("w1", [APPID])
    stage.ledger.accounts.depart("w2", [APPID])
    assert marks(stage) == {}
    assert step_back(stage, "w3"), "nobody else is there"


def test_a_worker_that_was_killed_is_forgotten(stage: stages.Stage) -> None:
    """With its marks."""
    stage.announce(worker="w1", marks=[MARK])
    stage.client.hset(stage.keys.workers, "w1", "0 {}")
    stage.announce(worker="w2")
    assert marks(stage) == {}
    assert list(stage.reader.workers()) == ["w2"]


@pytest.mark.parametrize(
    ("silent_seconds", "other", "is_needed"),
    [(0, (), False), (14, (), False), (16, (), True), (0, (MARK,), True), (0, (WIDE,), True)],
)
def test_who_stepped_back_is_needed_where_nobody_else_gets_through(
    stage: stages.Stage, silent_seconds: float, other: tuple[str, ...], is_needed: bool
) -> None:
    """Who was silent for three beats does not, nor who stepped back too."""
    stage.announce(worker="w2", marks=other)
    stage.pass_seconds(silent_seconds)
    assert step_back(stage) is is_needed


def test_a_beat_tells_which_accounts_are_others(stage: stages.Stage) -> None:
    """So that a worker without their credentials takes none of their requests."""
    stage.announce(appid="wx2", worker="w2")
    assert stage.announce().others == {"wx2"}


def test_who_stepped_back_leaves_requests_in_their_lane(stage: stages.Stage) -> None:
    """Its own ids are rung for the others at the next tick."""
    stage.announce(worker="w2")
    step_back(stage)
    ids = [stage.submit(f"o{n}").id for n in range(3)]
    taken = stage.ledger.claim(ids[1:2], "d1", taker=BACK)
    assert (taken.claim, taken.passed_on, taken.has_more) == (None, (ids[1],), False)
    assert {stage.status(each) for each in ids} == {"queued"}
    assert stage.wake().ring["escalation"] == (ids[1],)
    assert stage.claim().id == ids[0]
    stage.check()


def test_the_doorbell_of_a_backlog_is_not_passed_on(stage: stages.Stage) -> None:
    """It would come back here as long as the others are busy; they draw by themselves."""
    stage.announce(worker="w2")
    step_back(stage)
    request_id = stage.submit().id
    stage.pass_seconds(2)
    stage.announce(worker="w2")
    assert stage.ledger.claim([request_id], "d1", taker=BACK).passed_on == ()
    assert stage.left_queued() == [request_id]


def test_what_is_left_to_others_bars_nobody_behind_it(stage: stages.Stage) -> None:
    """Up to a thousand; beyond that the others' draining the lane has to be waited for."""
    stage.announce(worker="w2")
    step_back(stage)
    stage.announce(appid="wx2", worker="w1", marks=[MARK])
    for lane in ("batch", "escalation"):
        for n in range(300):
            stage.submit(f"{lane}{n}", lane=lane)
        behind = stage.submit(f"{lane}300", lane=lane, appid="wx2").id
        claim = stage.ledger.claim([], "d1", taker=BACK).claim
        assert claim is not None
        assert claim.id == behind
        stage.settle(claim, "created", served_by=AGENT)


def test_where_nobody_gets_through_the_claim_holds_the_account(stage: stages.Stage) -> None:
    """For what this worker stepped back for; and the next one finds the gate closed."""
    step_back(stage)
    ids = [stage.submit(f"o{n}").id for n in range(2)]
    assert stage.ledger.claim(ids, "d1", taker=BACK).claim is None
    for each in ids:
        one = stage.get(each)
        assert (one.status, one.reason, one.errcode) == ("waiting", "account_blocked", 40164)
    assert stage.wakes_in_seconds() == pytest.approx(60, abs=1)
    stage.check()


def test_a_mark_that_the_ledger_does_not_know_yet_holds_nobody(stage: stages.Stage) -> None:
    """The step that writes it is under way."""
    stage.announce()
    request_id = stage.submit().id
    assert stage.ledger.claim([request_id], "d1", taker=BACK).claim is None
    assert stage.status(request_id) == "queued"


def test_a_step_of_the_clock_keeps_no_machine_from_being_welcome(stage: stages.Stage) -> None:
    """Its sign of life lies further ahead than any can."""
    stage.announce(worker="w2")
    stage.client.zadd(f"{stage.keys.base}serving:{APPID}", {"w2": (stage.now() + 3600) * 1000})
    step_back(stage)
    request_id = stage.submit().id
    assert stage.ledger.claim([request_id], "d1", taker=BACK).claim is None
    assert stage.status(request_id) == "waiting"
    stage.announce(worker="w2")
    assert stage.let_out() == [request_id]


def test_the_end_of_a_request_needs_no_machine(stage: stages.Stage) -> None:
    """A claim of who stepped back passes the whole account by; the waiting room buries it."""
    stage.announce(worker="w2")
    step_back(stage)
    request_id = stage.submit(ttl_seconds=1).id
    stage.pass_seconds(2)
    assert stage.ledger.claim([request_id], "d1", taker=BACK).claim is None
    assert stage.wake().expired == 1
    assert stage.status(request_id) == "expired"


@pytest.mark.parametrize("is_alone", [False, True])
def test_an_end_in_doubt_is_left_to_who_can_read_back(stage: stages.Stage, is_alone: bool) -> None:
    """Where nobody can, it has to end all the same."""
    request_id = stage.doubted()
    if not is_alone:
        stage.announce(worker="w2")
    step_back(stage)
    stage.pass_seconds(1800)
    stage.announce(worker="w1" if is_alone else "w2", marks=[MARK] if is_alone else [])
    claim = stage.ledger.claim([request_id], "d1", taker=BACK).claim
    assert (claim is not None) is is_alone


def test_the_first_machine_that_gets_through_sends_a_probe(stage: stages.Stage) -> None:
    """Long before the hold is over; and only the first one does."""
    stage.announce()
    request_id = hold(stage)
    assert stage.let_out() == []
    stage.announce()
    assert stage.let_out() == [request_id]
    stage.announce(worker="w2")
    assert stage.let_out() == [], "a probe is under way"
    stage.check()


def test_a_new_machine_is_a_reason_to_probe(stage: stages.Stage) -> None:
    """Somebody may have started it because of the trouble."""
    stage.announce()
    request_id = hold(stage)
    step_back(stage)
    assert stage.let_out() == []
    stage.announce(worker="w2")
    assert stage.let_out() == [request_id]


def test_a_beat_of_who_gets_through_ends_no_other_hold(stage: stages.Stage) -> None:
    """WeChat refused the account there, not a machine."""
    stage.announce()
    request_id = stage.submit().id
    stage.wait(request_id, "account_blocked")
    stage.announce()
    stage.announce(worker="w2")
    assert stage.let_out() == []


@pytest.mark.parametrize("reason", ["quota", "rate_limited"])
def test_a_used_up_quota_is_no_machine_s(stage: stages.Stage, reason: str) -> None:
    """Who comes back does not end that hold."""
    stage.announce(marks=[MARK])
    request_id = stage.submit().id
    stage.wait(request_id, reason)
    stage.announce()
    assert stage.let_out() == []


def test_readings_are_left_to_others(stage: stages.Stage) -> None:
    """Their turn is not used up."""
    stage.announce(worker="w2")
    step_back(stage)
    stage.ledger.accounts.want_reading([APPID])
    watch = stage.ledger.accounts.watch
    for leaves in (f"|{APPID}|", "*"):
        assert watch(10, interval_seconds=5, taker=claims.Taker(worker="w1", leaves=leaves)) == []
    other = claims.Taker(worker="w1", leaves="|wx9|")
    assert [each.appid for each in watch(10, interval_seconds=5, taker=other)] == [APPID]


def test_readings_that_nobody_can_make_bar_nobody(stage: stages.Stage) -> None:
    """They are due again an interval later; else those behind them would never have their turn."""
    stage.announce()
    step_back(stage)
    stage.ledger.accounts.want_reading([APPID])
    assert stage.ledger.accounts.watch(10, interval_seconds=5, taker=BACK) == []
    assert stage.watch() == []
    stage.pass_seconds(5)
    assert stage.watch() == [APPID]


def test_who_serves_an_account_rings_for_what_was_left_in_its_lane(stage: stages.Stage) -> None:
    """Who leaves it to others rings for the rest."""
    stage.announce(worker="w2")
    stage.announce(appid="wx2", worker="w1", marks=[MARK])
    for n in range(3):
        stage.submit(f"o{n}")
    other = stage.submit("oOTHER", appid="wx2").id
    stage.pass_seconds(3)
    ring = stage.ledger.waiting.left_queued(2, BACK)
    assert ring["escalation"] == (other,)
    assert len(stage.left_queued()) == 4


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_reading_that_this_machine_cannot_make_blinds_nobody_else(
    stage: stages.Stage, is_alone: bool
) -> None:
    """Where another one can, it is due again at once."""
    stage.announce(worker="w2", marks=[MARK] if is_alone else [])
    stage.ledger.accounts.want_reading([APPID])
    (reading,) = stage.ledger.accounts.watch(1, interval_seconds=5)
    is_news = stage.ledger.accounts.cannot_tell(
        reading, "40164 invalid ip", interval_seconds=60, worker="w1", mark=MARK
    )
    assert is_news is is_alone
    assert (stage.watch() == [APPID]) is not is_alone
    assert ("blind" in stage.account()) is is_alone
    assert f"w1 {APPID}" in marks(stage)


def test_no_probe_is_sent_that_could_ask_nobody(stage: stages.Stage) -> None:
    """A fallback is asked only where a reading tells: the reading comes first."""
    stage.announce()
    stage.observe({"b@x": 0})
    request_id = stage.submit(kf_account="a@x", fallbacks=["b@x"]).id
    stage.ledger.accounts.name(APPID, ["a@x", "b@x"], [])
    claim = stage.claim(request_id)
    stage.settle(claim, "waiting", reason="token", wait_seconds=1)
    stage.pass_seconds(30)
    assert stage.let_out() == []
    assert stage.watch() == [APPID]
    stage.observe({"b@x": 0})
    assert stage.let_out() == [request_id]
    assert stage.claim(request_id).calling == "b@x"

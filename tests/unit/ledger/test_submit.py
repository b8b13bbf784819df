"""submit: write a new request, join the fan's live one, or recognise what was sent before."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import APPID, FAN, OTHER
from worker.contract import record, request
from worker.ledger import ledger, receipts, request_ids, scripts


def test_a_new_request_stands_in_its_lane_and_is_due_at_its_deadline(stage: stages.Stage) -> None:
    """Accepted is queued: in the lane's index, under the fan, due when its time is over."""
    receipt = stage.submit(key="k", metadata={"a": [], "n": 12345678901234567890}, ttl_seconds=600)
    assert (receipt.status, receipt.how) == (record.Status.QUEUED, "new")
    one = stage.get(receipt.id)
    assert one.status is record.Status.QUEUED
    assert one.metadata == {"a": [], "n": 12345678901234567890}
    assert one.key == "k"
    assert one.generation == 1
    assert (one.deadline_at - one.submitted_at).total_seconds() == 600
    assert stage.due_in_seconds(receipt.id) == pytest.approx(600, abs=0.5)
    assert stage.reader.newest_of_fan(FAN, APPID) == one
    assert stage.events() == [(receipt.id, "queued", "")]
    stage.check()


@pytest.mark.parametrize("status", ["queued", "calling", "waiting"])
def test_a_second_submit_joins_the_live_request_of_the_fan(
    stage: stages.Stage, status: str
) -> None:
    """One live request per fan and account, in whatever live state."""
    first = stage.submit().id
    if status == "calling":
        stage.claim(first)
    if status == "waiting":
        stage.wait(first)
    second = stage.submit(kf_account=OTHER)
    assert (second.id, second.how, second.status.value) == (first, "joined", status)
    assert stage.get(first).targets == (stages.AGENT,)
    stage.check()


def test_a_join_takes_the_later_deadline(stage: stages.Stage) -> None:
    """Whoever wishes longer decides."""
    first = stage.submit(ttl_seconds=600).id
    stage.submit(ttl_seconds=60)
    one = stage.get(first)
    assert (one.deadline_at - one.submitted_at).total_seconds() == pytest.approx(600, abs=0.5)
    stage.submit(ttl_seconds=6000)
    one = stage.get(first)
    assert (one.deadline_at - one.submitted_at).total_seconds() == pytest.approx(6000, abs=1)


def test_a_join_moves_the_wake_of_a_waiting_request_to_its_later_deadline(
    stage: stages.Stage,
) -> None:
    """A request that would have expired before its next try is tried."""
    first = stage.submit(ttl_seconds=30).id
    stage.wait(first, "transient", seconds=60)
    assert stage.due_in_seconds(first) == pytest.approx(30, abs=1)
    stage.submit(ttl_seconds=600)
    assert stage.due_in_seconds(first) == pytest.approx(60, abs=1)
    stage.check()


@pytest.mark.parametrize("status", ["queued", "calling", "waiting"])
def test_a_join_takes_the_higher_lane_and_never_the_lower(stage: stages.Stage, status: str) -> None:
    """A batch request that a person waits for becomes an escalation, and stays one."""
    first = stage.submit(lane="batch").id
    if status == "calling":
        stage.claim(first)
    if status == "waiting":
        stage.wait(first)
    stage.submit(lane="escalation")
    assert stage.get(first).lane is request.Lane.ESCALATION
    stage.submit(lane="batch")
    assert stage.get(first).lane is request.Lane.ESCALATION
    stage.check()


def test_an_escalated_request_is_rung_with_the_escalations(stage: stages.Stage) -> None:
    """The doorbells of the batch lane may be many."""
    first = stage.submit(lane="batch").id
    stage.pass_seconds(3)
    stage.submit(lane="escalation")
    assert stage.left_queued("escalation") == [first]


def test_a_join_takes_a_cancel_back(stage: stages.Stage) -> None:
    """Somebody wants the session again before the cancel took effect."""
    first = stage.submit().id
    claim = stage.claim(first)
    assert stage.ledger.cancel(first) == "asked"
    stage.submit()
    stage.settle(claim, "waiting", reason="agent_offline", wait_seconds=60)
    assert stage.status(first) == "waiting"


def test_a_join_during_a_cancelled_delivery_outlives_it(stage: stages.Stage) -> None:
    """A worker that saw the cancel must not end a request that was wished for again since."""
    first = stage.submit().id
    claim = stage.claim(first)
    stage.ledger.cancel(first)
    assert stage.submit().how == "joined"
    stage.settle(claim, "cancelled")
    assert stage.status(first) == "queued"
    stage.check()


def test_a_join_during_the_expiry_of_a_request_outlives_it(stage: stages.Stage) -> None:
    """A worker that saw the old deadline pass must not end a request that has a later one."""
    first = stage.doubted()
    stage.pass_seconds(3600)
    claim = stage.claim(first)
    assert claim.seconds_left < 0
    assert stage.submit(ttl_seconds=600).how == "joined"
    stage.settle(claim, "expired", reason="transient")
    assert stage.status(first) == "queued"
    stage.check()


@pytest.mark.parametrize("status", ["created", "failed", "expired", "cancelled", "already_served"])
def test_a_finished_request_is_not_joined(stage: stages.Stage, status: str) -> None:
    """The fan gets a new request once the last one has its outcome."""
    first = stage.submit().id
    stage.finish(first, status, "invalid_openid" if status == "failed" else None)
    second = stage.submit()
    assert second.how == "new"
    assert second.id != first
    stage.check()


def test_the_same_id_sent_again_is_recognised(stage: stages.Stage) -> None:
    """A submit whose reply was lost can be sent again."""
    stage.submit(id="mine")
    again = stage.submit(id="mine")
    assert (again.id, again.how) == ("mine", "repeated")
    assert len(stage.events()) == 1


def test_the_same_id_for_another_fan_is_refused(stage: stages.Stage) -> None:
    """An id is one request for ever."""
    stage.submit(id="mine")
    with pytest.raises(request.InvalidRequest, match=r"^id: 'mine' is another fan's request"):
        stage.submit("oOTHER", id="mine")


def test_a_repeated_key_is_the_same_request(stage: stages.Stage) -> None:
    """Also when the first one is over."""
    first = stage.submit(key="k1", metadata={"order": 7}).id
    again = stage.submit(key="k1", metadata={"order": 7})
    assert (again.id, again.how, again.status.value) == (first, "repeated", "queued")
    stage.finish(first, "created")
    again = stage.submit(key="k1", metadata={"order": 7})
    assert (again.id, again.how, again.status.value) == (first, "repeated", "created")
    found = stage.reader.by_key("k1", APPID)
    assert found is not None
    assert found.id == first


def test_a_key_with_another_body_is_an_error_that_names_both_ids(stage: stages.Stage) -> None:
    """Nobody's request is silently dropped for another one."""
    first = stage.submit(key="k1").id
    with pytest.raises(request.InvalidRequest) as caught:
        stage.submit(key="k1", kf_account=OTHER, id="second")
    assert str(caught.value).startswith("key: 'k1'")
    assert first in str(caught.value)
    assert "second" in str(caught.value)


def test_another_deadline_is_no_other_body(stage: stages.Stage) -> None:
    """A producer that retries later asks for the same."""
    first = stage.submit(key="k1", ttl_seconds=60).id
    assert stage.submit(key="k1", ttl_seconds=61).id == first


def test_a_key_belongs_to_one_account(stage: stages.Stage) -> None:
    """Two accounts may number their requests alike."""
    first = stage.submit(key="k1").id
    other = stage.submit(key="k1", appid="wx2", openid="oOTHER")
    assert other.how == "new"
    assert other.id != first


def test_a_key_lives_a_day_or_as_long_as_its_request(stage: stages.Stage) -> None:
    """Whichever is longer."""
    stage.submit(key="short", ttl_seconds=60)
    stage.submit("oOTHER", key="long", ttl_seconds=40 * 3600)
    day, longer = (
        stage.client.pttl(stage.keys.key(APPID, key)) / 3_600_000 for key in ("short", "long")
    )
    assert day == pytest.approx(24, abs=0.01)
    assert longer == pytest.approx(40, abs=0.01)


def test_a_key_outlives_the_longer_life_that_a_join_brings(stage: stages.Stage) -> None:
    """A key is kept for its request's life, however long that becomes."""
    stage.submit(key="own", ttl_seconds=20 * 3600)
    stage.pass_seconds(19 * 3600)
    stage.submit(ttl_seconds=48 * 3600)
    left_hours = stage.client.pttl(stage.keys.key(APPID, "own")) / 3_600_000
    assert left_hours == pytest.approx(48, abs=0.01)


def test_a_joiners_key_finds_the_request_it_joined(stage: stages.Stage) -> None:
    """The key stands for the one live request."""
    first = stage.submit(key="a").id
    assert stage.submit(key="b").id == first
    again = stage.submit(key="b")
    assert (again.id, again.how) == (first, "repeated")


def test_the_only_account_needs_no_name(stage: stages.Stage) -> None:
    """`appid` may be left out where the ledger knows only one account."""
    stage.ledger.accounts.announce("w1", {}, {"wxonly": {}})
    assert stage.get(stage.submit(appid=None).id).appid == "wxonly"


@pytest.mark.parametrize(
    ("known", "appid", "said"),
    [
        ([], None, "appid: missing, and no worker has announced an account"),
        (
            ["wx1", "wx2"],
            None,
            "appid: missing, and the ledger knows several accounts; name one of",
        ),
        (["wx1", "wx2"], "wx3", "appid: 'wx3': no worker serves it; known are "),
    ],
)
def test_an_account_that_nobody_serves_is_refused_at_submit(
    stage: stages.Stage, known: list[str], appid: str | None, said: str
) -> None:
    """A request that no worker will ever take is not accepted."""
    stage.ledger.accounts.announce("w1", {}, {each: {} for each in known})
    with pytest.raises(request.InvalidRequest, match=said):
        stage.submit(appid=appid)
    assert stage.events() == []


def test_many_are_written_in_one_go_and_the_refused_stands_in_its_place(
    stage: stages.Stage,
) -> None:
    """A bad row of a file does not stop the others."""
    stage.submit("oA", key="k")
    wishes = [
        (stage.wish("oB"), "b"),
        (stage.wish("oC", key="k"), "c"),
        (stage.wish("oB"), "b2"),
    ]
    new, refused, joined = stage.ledger.submit_many(wishes)
    assert new == receipts.Receipt(id="b", status=record.Status.QUEUED, how="new")
    assert isinstance(refused, request.InvalidRequest)
    assert joined == receipts.Receipt(id="b", status=record.Status.QUEUED, how="joined")


def test_a_past_deadline_among_many_stands_in_its_place(stage: stages.Stage) -> None:
    """A deadline is judged at submit; one that passed meanwhile refuses its own row only."""
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
    wishes = [(stage.wish("oA", deadline_at=past), "a"), (stage.wish("oB"), "b")]
    refused, new = stage.ledger.submit_many(wishes)
    assert isinstance(refused, request.InvalidRequest)
    assert str(refused).startswith("deadline_at: ")
    assert new == receipts.Receipt(id="b", status=record.Status.QUEUED, how="new")


def test_a_script_takes_only_so_many_wishes(
    stage: stages.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis serves nobody else meanwhile; the answers come in the order of the wishes."""
    run_many, sizes = scripts.Scripts.run_many, []

    def counted(self: scripts.Scripts, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        answers = run_many(self, name, calls)
        sizes.extend(map(len, answers))
        return answers

    monkeypatch.setattr(scripts.Scripts, "run_many", counted)
    ids = [f"i{number:03d}" for number in range(2 * ledger.WISHES_A_SCRIPT + 3)]
    written = stage.ledger.submit_many([(stage.wish(f"o{each}"), each) for each in ids])
    assert [each.id for each in written if isinstance(each, receipts.Receipt)] == ids
    assert sizes == [ledger.WISHES_A_SCRIPT, ledger.WISHES_A_SCRIPT, 3]
    assert stage.client.zrange(stage.keys.index(record.Status.QUEUED, "escalation"), 0, -1) == ids
    stage.check()


def test_wishes_of_one_script_join_each_other(stage: stages.Stage) -> None:
    """The second for a fan joins the first, with its longer life and its higher lane."""
    wishes = [
        (stage.wish("oA", lane="batch", ttl_seconds=60), "a"),
        (stage.wish("oB", lane="batch"), "b"),
        (stage.wish("oA", lane="escalation", ttl_seconds=600), "a2"),
        (stage.wish("oA", lane="batch", ttl_seconds=300), "a3"),
    ]
    written = stage.ledger.submit_many(wishes)
    assert [(each.id, each.how) for each in written if isinstance(each, receipts.Receipt)] == [
        ("a", "new"),
        ("b", "new"),
        ("a", "joined"),
        ("a", "joined"),
    ]
    assert stage.get("a").lane is request.Lane.ESCALATION
    assert stage.due_in_seconds("a") == pytest.approx(600, abs=1)
    stage.check()


def test_many_sent_again_are_recognised_one_by_one(stage: stages.Stage) -> None:
    """When the reply to all was lost: also those that joined, and one sent twice at once."""
    wishes = [
        (stage.wish("oA"), "a"),
        (stage.wish("oA"), "a2"),
        (stage.wish("oB"), "b"),
        (stage.wish("oB"), "b"),
    ]
    stage.ledger.submit_many(wishes)
    again = stage.ledger.submit_many(wishes)
    assert [(each.id, each.how) for each in again if isinstance(each, receipts.Receipt)] == [
        (request_id, "repeated") for request_id in ("a", "a", "b", "b")
    ]
    assert len(stage.events()) == 2
    stage.check()


def test_each_of_many_is_refused_for_its_own_reason(stage: stages.Stage) -> None:
    """Those between them are written."""
    stage.ledger.accounts.announce("w1", {}, {APPID: {}, "wx2": {}})
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
    wishes = [
        (stage.wish("oA", appid="wx3"), "a"),
        (stage.wish("oB", key="k"), "b"),
        (stage.wish("oC", key="k"), "c"),
        (stage.wish("oD", deadline_at=past), "d"),
        (stage.wish("oE"), "b"),
        (stage.wish("oF", appid=None), "f"),
        (stage.wish("oG", appid="wx3"), "g"),
        (stage.wish("oB", key="k"), "b2"),
        (stage.wish("oB", appid="wx2", key="k"), "h"),
    ]
    results = stage.ledger.submit_many(wishes)
    said = [
        f"{each.id} {each.how}" if isinstance(each, receipts.Receipt) else str(each)
        for each in results
    ]
    expected = (
        "appid: 'wx3': no worker serves it",
        "b new",
        "key: 'k' was used for another request, b, which c",
        "deadline_at: ",
        "id: 'b' is another fan's request",
        "appid: missing, and the ledger knows several accounts",
        "appid: 'wx3': no worker serves it",
        "b repeated",
        "h new",
    )
    pairs = zip(said, expected, strict=True)
    assert [text for text, start in pairs if not text.startswith(start)] == []
    stage.check()


def test_what_a_producer_wrote_stays_its_own_among_many(stage: stages.Stage) -> None:
    """Metadata and keys belong to one wish, and are nobody's JSON but the producer's."""
    one = stage.wish("oA", key="k", metadata={"a": [], "n": 12345678901234567890})
    stage.ledger.submit_many([(one, "a"), (stage.wish("oB"), "b")])
    assert stage.get("a").metadata == {"a": [], "n": 12345678901234567890}
    assert (stage.get("a").key, stage.get("b").key) == ("k", None)
    assert stage.get("b").metadata is None


def test_ids_made_together_keep_their_order() -> None:
    """So the rows of a file are served in their order; later ones sort behind them."""
    ids = request_ids.new_ids(500)
    assert ids == sorted(set(ids))
    assert request_ids.new_ids(0) == []
    ends = time.monotonic() + 5
    while (later := request_ids.new_id())[:10] == ids[0][:10]:
        assert time.monotonic() < ends
    assert later > ids[-1]


def test_an_id_tells_when_it_was_made() -> None:
    """As in every release: its first 48 bits are the milliseconds since 1970."""
    before_ms = time.time_ns() // 1_000_000
    number = 0
    for digit in request_ids.new_id():
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(digit)
    assert before_ms <= number >> 52 <= time.time_ns() // 1_000_000


def test_ids_sort_by_time_and_differ() -> None:
    """20 characters of the ids' alphabet, so that doorbells may carry them."""
    ids = [request_ids.new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(len(each) == 20 and each.isalnum() and each == each.lower() for each in ids)
    assert [each[:8] for each in ids] == sorted(each[:8] for each in ids)


def test_a_join_sent_again_is_the_same_join(stage: stages.Stage) -> None:
    """Even when what it joined has ended since: the wish was heard once."""
    first = stage.submit().id
    assert stage.submit(id="id99999").how == "joined"
    stage.finish(first, "created")
    again = stage.submit(id="id99999")
    assert (again.id, again.how, again.status) == (first, "repeated", "created")


def test_an_account_of_a_past_trial_makes_no_choice_hard(stage: stages.Stage) -> None:
    """Only accounts that a worker serves now count when a submit names none."""
    stage.ledger.accounts.announce("w1", {}, {"default": {}})
    two_minutes_ago = (stage.client.time()[0] - 120) * 1000
    stage.client.hset(stage.keys.accounts, "default", two_minutes_ago)
    stage.ledger.accounts.announce("w2", {}, {"wxreal": {}})
    assert stage.reader.accounts() == ["default", "wxreal"]
    assert stage.get(stage.submit(appid=None).id).appid == "wxreal"

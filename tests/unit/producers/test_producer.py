from __future__ import annotations

import datetime
import threading
import time

import pytest
import redis

from producers import chunks, failures, link, producer
from tests.unit.producers import conftest
from worker import errors
from worker.contract import request, settings
from worker.ledger import ledger, reader, receipts, request_ids

WISH = {"openid": "o1", "kf_account": "a@b", "appid": "wx1"}
ESCALATION, BATCH = request.Lane.ESCALATION, request.Lane.BATCH


def test_a_request_comes_as_keywords_a_mapping_or_a_session_request(
    producing: producer.SessionProducer,
) -> None:
    first = producing.submit(**WISH)
    again = [producing.submit(WISH), producing.submit(request.SessionRequest.parse(WISH))]
    assert first.how == "new"
    assert [(each.how, each.id) for each in again] == [("joined", first.id)] * 2


def test_only_what_is_queued_for_the_first_time_or_as_an_escalation_is_rung(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    first = producing.submit({**WISH, "lane": "batch"})
    producing.submit({**WISH, "lane": "batch"})
    producing.submit(WISH)
    assert bell.rings == [(BATCH, [first.id]), (ESCALATION, [first.id])]


def test_a_broken_doorbell_does_not_harm_a_submit(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    bell.broken = True
    assert producing.submit(**WISH).how == "new"


def test_an_unknown_field_names_the_nearest_one(producing: producer.SessionProducer) -> None:
    with pytest.raises(request.InvalidRequest, match="did you mean kf_account"):
        producing.submit(openid="o1", kf_acount="a@b")


def test_a_lost_submit_is_sent_again_under_its_id(producing: producer.SessionProducer) -> None:
    request_id = request_ids.new_id()
    assert producing.submit(WISH, id=request_id).how == "new"
    assert producing.submit(WISH, id=request_id) == receipts.Receipt(
        id=request_id, status=producer.record.Status.QUEUED, how="repeated"
    )


@pytest.mark.parametrize("wrong", ["x", "a" * 19 + "é", "A" * 20, "../../../etc/passwd00"])
def test_an_id_that_no_submit_named_is_refused(
    producing: producer.SessionProducer, wrong: str
) -> None:
    with pytest.raises(request.InvalidRequest, match="id: "):
        producing.submit(WISH, id=wrong)


def test_a_hanging_ledger_ends_a_submit_in_time(
    config: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As looking up a name can hang, for which no socket has a timeout."""
    let_go = threading.Event()
    monkeypatch.setattr(ledger.Ledger, "submit", lambda *_: let_go.wait(10))
    hasty = config.model_copy(update={"submit_timeout_seconds": 0.1})
    producing = producer.SessionProducer(hasty)
    started = time.monotonic()
    with pytest.raises(failures.SubmitFailed, match=r"no answer within 0\.1 s") as caught:
        producing.submit(**WISH)
    assert time.monotonic() - started < 0.6
    assert caught.value.maybe_written
    let_go.set()


def test_many_are_answered_in_their_order_and_rung_by_lane(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    wishes: list[chunks.Wish] = [
        {**WISH, "openid": "o1", "lane": "batch"},
        {**WISH, "openid": "not an openid"},
        {**WISH, "openid": "o2"},
        {**WISH, "openid": "o1"},
    ]
    one, bad, two, again = producing.submit_many(wishes)
    assert isinstance(bad, request.InvalidRequest)
    assert isinstance(one, receipts.Receipt)
    assert isinstance(two, receipts.Receipt)
    assert isinstance(again, receipts.Receipt)
    assert (one.how, two.how, again.how, again.id) == ("new", "new", "joined", one.id)
    assert sorted(bell.rings) == [(BATCH, [one.id]), (ESCALATION, [two.id, one.id])]


def test_the_first_of_many_wake_all_slots(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    """A few hundred in ten full messages would wait for one another while slots stand idle."""
    wishes = [{**WISH, "openid": f"o{n}", "lane": "batch"} for n in range(2 * chunks.SIZE)]
    producing.submit_many(wishes)
    assert [len(ids) for _, ids in bell.rings] == [chunks.SIZE, chunks.SIZE]
    assert bell.slots == [64, None]


def test_many_may_all_be_refused_or_come_checked(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    assert producing.submit_many([]) == []
    for each in producing.submit_many([{"openid": "o1"}, "text", None]):  # type: ignore[list-item]
        assert isinstance(each, request.InvalidRequest)
    (receipt,) = producing.submit_many([request.SessionRequest.parse(WISH)])
    assert isinstance(receipt, receipts.Receipt)
    assert bell.rings == [(ESCALATION, [receipt.id])]


def test_many_are_queued_in_their_order(producing: producer.SessionProducer) -> None:
    results = producing.submit_many({**WISH, "openid": f"o{n}"} for n in range(200))
    ids = [each.id for each in results if isinstance(each, receipts.Receipt)]
    assert len(ids) == 200
    with producing.reading() as reads:
        newest_first, _ = reads.select(reader.Filter(), limit=200)
    assert [each.id for each in newest_first] == ids[::-1]


def test_a_ledger_lost_among_many_keeps_what_was_answered_before(
    producing: producer.SessionProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "SIZE", 2)
    write = ledger.Ledger.submit_many
    seen = []

    def lose_the_second(self: ledger.Ledger, wishes: object) -> object:
        seen.append(wishes)
        if len(seen) == 2:
            raise errors.LedgerUnavailable("redis://fake", "gone", maybe_written=False)
        return write(self, wishes)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger.Ledger, "submit_many", lose_the_second)
    with pytest.raises(failures.SubmitFailed) as caught:
        producing.submit_many([{**WISH, "openid": f"o{n}"} for n in range(5)])
    assert len(caught.value.results) == 2
    assert len(caught.value.ids) >= 2


def test_a_stream_reads_no_further_than_it_must(
    producing: producer.SessionProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "SIZE", 10)
    taken = []

    def endless() -> object:
        n = 0
        while True:
            n += 1
            taken.append(n)
            yield {**WISH, "openid": f"o{n}"}

    next(iter(producing.stream(endless())))  # type: ignore[arg-type]
    assert len(taken) == chunks.SIZE * chunks.AT_ONCE


def test_cancel_and_retry_say_what_they_came_to(
    producing: producer.SessionProducer, bell: conftest.FakeBell
) -> None:
    request_id = producing.submit(**WISH).id
    bell.rings.clear()
    assert producing.retry(request_id) == producer.Change(
        id=request_id, result="live", detail="queued"
    )
    assert producing.cancel(request_id).is_done
    assert producing.cancel(request_id).is_done
    assert producing.retry(request_id) == producer.Change(
        id=request_id, result="queued", detail="escalation"
    )
    assert bell.rings == [(ESCALATION, [request_id])]
    assert producing.cancel("nobody").result == "unknown"
    assert not producing.retry("nobody").is_done


def test_a_request_is_found_by_its_fan_and_by_its_key(producing: producer.SessionProducer) -> None:
    request_id = producing.submit(**WISH, key="k1").id
    by_fan, by_key = producing.find(openid="o1", appid="wx1"), producing.find(key="k1", appid="wx1")
    assert by_fan is not None
    assert by_key is not None
    assert by_fan.id == by_key.id == request_id
    assert producing.get("nobody") is None
    assert producing.find(openid="nobody", appid="wx1") is None
    with pytest.raises(ValueError, match="one of them"):
        producing.find()


def test_wait_for_an_unknown_id_ends_at_once(producing: producer.SessionProducer) -> None:
    assert producing.wait("nobody", 60) is None


def test_events_go_on_after_a_position_or_a_moment(producing: producer.SessionProducer) -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
    ids = [producing.submit(**{**WISH, "openid": f"o{n}"}).id for n in range(3)]
    everything = list(producing.events())
    assert [each.id for each in everything] == ids
    assert [each.id for each in producing.events(everything[0].position)] == ids[1:]
    assert [each.id for each in producing.events(before)] == ids
    assert list(producing.events(before + datetime.timedelta(hours=1))) == []


def test_a_failing_read_is_a_ledger_out_of_reach(producing: producer.SessionProducer) -> None:
    with pytest.raises(errors.LedgerUnavailable) as caught, producing.reading():
        raise redis.exceptions.TimeoutError("Timeout reading from socket")
    assert not caught.value.maybe_written


def test_all_threads_of_a_process_share_one_link_and_a_forked_child_has_its_own(
    producing: producer.SessionProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[link.Link] = []
    threads = [threading.Thread(target=lambda: links.append(producing._link())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({id(each) for each in links}) == 1
    monkeypatch.setattr(producer.os, "getpid", lambda: -1)
    assert producing._link() is not links[0]


def test_a_closed_producer_opens_again_when_it_is_used(
    producing: producer.SessionProducer,
) -> None:
    request_id = producing.submit(**WISH).id
    producing.close()
    assert producing.get(request_id) is not None

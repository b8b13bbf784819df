"""accepting: a request that came by Celery alone is written once, or refused to the dead list."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import APPID
from worker import accepting, errors
from worker.ledger import dead_list

WISH = {"openid": "oA", "kf_account": "kf1@acct", "appid": APPID}


class Desk(stages.Stage):
    """A ledger, and the dead list as a plain list."""

    def __init__(self) -> None:
        super().__init__(fakeredis.FakeRedis(decode_responses=True), "t")
        self.refused: list[tuple[bytes, str, str]] = []

    def accept(
        self, fields: dict[str, Any], *, task_id: str = "task-1", queue: str = "kf.batch"
    ) -> str | None:
        return accepting.accept(
            fields,
            task_id=task_id,
            queue=queue,
            ledger=self.ledger,
            refuse=lambda entry, queue, why: self.refused.append((entry, queue, why)),
        )


@pytest.fixture
def desk() -> Iterator[Desk]:
    """The ledger agrees with itself afterwards."""
    made = Desk()
    yield made
    made.check()


@pytest.mark.parametrize("no_key", [{}, {"key": None}])
def test_without_a_key_the_task_id_is_the_key(desk: Desk, no_key: dict[str, None]) -> None:
    """A message that comes twice is one request, also when the first one is over."""
    first = desk.accept({**WISH, **no_key})
    assert first is not None
    assert desk.get(first).key == "task-1"
    desk.finish(first, "created")
    assert desk.accept({**WISH, **no_key}) == first
    assert desk.accept({**WISH, **no_key}, task_id="task-2") != first


def test_a_key_of_its_own_wins(desk: Desk) -> None:
    """The producer knows better what is the same."""
    first = desk.accept({**WISH, "key": "order-7"})
    assert desk.accept({**WISH, "key": "order-7"}, task_id="task-2") == first


@pytest.mark.parametrize("no_lane", [{}, {"lane": None}])
@pytest.mark.parametrize("lane", ["escalation", "batch"])
def test_without_a_lane_the_queue_tells_it(desk: Desk, lane: str, no_lane: dict[str, None]) -> None:
    """Whoever sends to kf.batch means batch."""
    request_id = desk.accept({**WISH, **no_lane}, queue=f"kf.{lane}")
    assert request_id is not None
    assert desk.get(request_id).lane == lane


def test_a_lane_of_its_own_wins(desk: Desk) -> None:
    """Wherever it was sent."""
    request_id = desk.accept({**WISH, "lane": "escalation"}, queue="kf.batch")
    assert request_id is not None
    assert desk.get(request_id).lane == "escalation"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "missing; a request names at least kf_account and openid"),
        ({**WISH, "opneid": "x"}, "opneid: unknown field; did you mean openid?"),
        ({**WISH, "openid": "客服"}, "openid: '客服'"),
        ({**WISH, "openid": "\ud800"}, "openid: '\\ud800'"),
        ({**WISH, "\ud800": "x"}, ""),
        ({**WISH, "metadata": {"a": "\udfff"}}, "metadata: not writable as JSON"),
        ({**WISH, "metadata": {"a": float("nan")}}, "metadata: not writable as JSON"),
        ({**WISH, "deadline_at": "2001-01-01T00:00:00Z"}, "deadline_at: 2001-01-01"),
        ({**WISH, "key": ""}, "key: ''"),
        ({"openid": "oA", "kf_account": "a@b"}, "appid: missing, and no worker has announced"),
    ],
)
def test_a_refused_request_goes_to_the_dead_list_with_its_error(
    desk: Desk, fields: dict[str, Any], why: str
) -> None:
    """Whole, and where it came from."""
    assert desk.accept(fields) is None
    ((entry, queue, said),) = desk.refused
    read = json.loads(entry)
    assert read == fields or read != read or "nan" in repr(read)
    assert queue == "kf.batch"
    assert why in said
    desk.ledger.dead_list.bury([dead_list.Refused.now(entry, queue=queue, error=said)])


def test_what_celery_made_of_a_refused_request_is_written_as_it_came(desk: Desk) -> None:
    """A date in the metadata, which JSON has no word for: Celery writes it as one and reads it."""
    moment = datetime.datetime(2031, 1, 1, tzinfo=datetime.UTC)
    assert desk.accept({**WISH, "metadata": {"at": moment}}) is None
    ((entry, _, said),) = desk.refused
    assert said.startswith("metadata: not writable as JSON")
    assert json.loads(entry)["metadata"]["at"]["__value__"] == moment.isoformat()


def test_a_deadline_that_celery_made_a_time_of_is_taken(desk: Desk) -> None:
    """A plain client writes it as it has it."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    assert desk.accept({**WISH, "deadline_at": moment})


def test_a_key_used_for_something_else_is_refused(desk: Desk) -> None:
    """As at any other door."""
    desk.accept({**WISH, "key": "k"})
    assert desk.accept({**WISH, "key": "k", "kf_account": "other@acct"}) is None
    assert desk.refused[0][2].startswith("key: 'k' was used for another request")


def test_a_ledger_that_is_away_for_a_moment_is_tried_again_under_the_same_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try may have been written."""
    submit, ids = desk.ledger.submit, []

    def losing(wish: Any, request_id: str) -> Any:
        ids.append(request_id)
        receipt = submit(wish, request_id)
        if len(ids) < 3:
            raise errors.LedgerUnavailable("redis://h", "lost", maybe_written=True)
        return receipt

    monkeypatch.setattr(desk.ledger, "submit", losing)
    assert desk.accept(WISH) == ids[0]
    assert len(set(ids)) == 1
    assert len(desk.events()) == 1


def test_replicas_that_are_behind_are_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is there, and others want the slot: the message comes back by itself."""
    tries = []

    def behind(*_: Any) -> None:
        tries.append(1)
        raise errors.TooFewReplicas("redis://h", "0 of 1", maybe_written=True)

    monkeypatch.setattr(desk.ledger, "submit", behind)
    with pytest.raises(errors.TooFewReplicas):
        desk.accept(WISH)
    assert len(tries) == 1


def test_a_ledger_that_stays_away_is_said_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message goes back to its queue, and nothing to the dead list."""

    def away(*_: Any) -> None:
        raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)

    monkeypatch.setattr(desk.ledger, "submit", away)
    monkeypatch.setattr(accepting, "LEDGER_SECONDS", 0.1)
    with pytest.raises(errors.LedgerUnavailable):
        desk.accept(WISH)
    assert desk.refused == []

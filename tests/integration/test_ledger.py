"""The ledger's unit tests once more on a real Valkey, and what only a real one can tell."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import redis

from tests.unit.ledger import stage as stages
from tests.unit.ledger.test_agents import *  # noqa: F403 - its tests run here too
from tests.unit.ledger.test_changing import *  # noqa: F403
from tests.unit.ledger.test_claim import *  # noqa: F403
from tests.unit.ledger.test_gates import *  # noqa: F403
from tests.unit.ledger.test_hanging import *  # noqa: F403
from tests.unit.ledger.test_lanes import *  # noqa: F403
from tests.unit.ledger.test_newest_of_fans import *  # noqa: F403
from tests.unit.ledger.test_reader import *  # noqa: F403
from tests.unit.ledger.test_readings import *  # noqa: F403
from tests.unit.ledger.test_rooms import *  # noqa: F403
from tests.unit.ledger.test_settle import *  # noqa: F403
from tests.unit.ledger.test_submit import *  # noqa: F403
from tests.unit.ledger.test_waking import *  # noqa: F403
from worker.ledger import connection


@pytest.fixture
def server(valkey_url: str) -> Iterator[redis.Redis]:
    """The shared server, as a worker opens it."""
    with connection.connect(valkey_url, timeout_seconds=5, max_connections=8) as client:
        yield client


@pytest.fixture
def stage(server: redis.Redis) -> Iterator[stages.Stage]:
    """A deployment of this test's own, removed after it."""
    own = stages.Stage(server, f"t{uuid.uuid4().hex[:12]}")
    yield own
    own.clean_up()


def bytes_of(stage: stages.Stage, key: str) -> int:
    return int(stage.client.memory_usage(key, samples=0) or 0)


def test_a_waiting_request_takes_less_than_a_kibibyte(stage: stages.Stage) -> None:
    """One target, three attempts, no metadata, no key; record, indexes and fan (promise 5)."""
    made = 200
    for number in range(made):
        openid = f"o{number:027d}"
        request_id = stage.submit(openid, kf_account="kf2001@gh_0123456789ab").id
        for calls in range(3):
            claim = stage.claim(request_id)
            stage.settle(
                claim,
                "waiting",
                reason="agent_offline" if calls == 2 else "transient",
                attempts=[stages.attempt(claim.targets[0], errmsg="kf is offline")],
                attempt_count=calls,
                strikes=calls + 1,
                wait_seconds=60 if calls == 2 else 0,
            )
            if calls < 2:
                stage.wake()
        assert stage.client.object("encoding", stage.keys.request(request_id)) == "listpack"
    assert len(stage.in_room("kf2001@gh_0123456789ab")) == made
    total = sum(bytes_of(stage, key) for key in stage.all_keys() - {stage.keys.events})
    assert total / made <= 1024


def test_scripts_meet_no_limit_of_the_server(stage: stages.Stage) -> None:
    """A full pass over 500 ids of each kind."""
    wishes = [(stage.wish(f"o{n}", ttl_seconds=60), f"p{n:04d}") for n in range(500)]
    stage.ledger.submit_many(wishes)
    stage.pass_seconds(3)
    assert len(stage.left_queued(limit=500)) == 500
    stage.pass_seconds(60)
    assert stage.wake(limit=500).expired == 500
    stage.pass_seconds(stage.config.retention_hours * 3600)
    assert stage.ledger.waiting.purge(500) == 500

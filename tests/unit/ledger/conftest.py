"""A fake Redis for the ledger's tests; `integration/test_ledger.py` runs them on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis

from tests.unit.ledger import stage as stages


@pytest.fixture
def server() -> Iterator[redis.Redis]:
    """A Redis of this test's own."""
    with fakeredis.FakeRedis(decode_responses=True) as client:
        yield client


@pytest.fixture
def stage(server: redis.Redis) -> stages.Stage:
    """A deployment of this test's own."""
    return stages.Stage(server, "t")

"""A producer over a fake Redis, and a doorbell that remembers who rang."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import fakeredis
import pytest

from producers import link, producer
from worker.contract import request, settings
from worker.ledger import connection


class FakeBell:
    """Remembers its rings; `broken` makes it fail."""

    def __init__(self) -> None:
        self.rings: list[tuple[request.Lane, list[str]]] = []
        #: For how many slots each was.
        self.slots: list[int | None] = []
        self.broken = False
        #: How many messages wait in each lane, and how often that was asked.
        self.lengths = dict.fromkeys(request.Lane, 0)
        self.looks = 0
        self.is_closed = False

    def ring(self, lane: request.Lane, ids: Sequence[str], /, *, slots: int | None = None) -> int:
        self._reach()
        self.rings.append((lane, list(ids)))
        self.slots.append(slots)
        return 1

    def length(self, lane: request.Lane, /) -> int:
        self._reach()
        self.looks += 1
        return self.lengths[lane]

    def _reach(self) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bell() -> FakeBell:
    return FakeBell()


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, bell: FakeBell) -> settings.Settings:
    """Settings whose ledger and doorbell are fakes of this test's own."""
    server = fakeredis.FakeServer()
    monkeypatch.setattr(
        connection,
        "connect",
        lambda *_, **__: fakeredis.FakeRedis(server=server, decode_responses=True),
    )
    monkeypatch.setattr(link.Link, "_open_bell", lambda _: bell)
    return settings.load(redis_url="redis://fake", submit_timeout_seconds=60)  # a slow fake


@pytest.fixture
def producing(config: settings.Settings) -> producer.SessionProducer:
    return producer.SessionProducer(config)

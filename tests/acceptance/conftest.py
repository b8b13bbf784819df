"""A real Valkey for the session; for each test a WeChat, a key prefix and workers of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.chaos import children, servers
from tests.acceptance import processes

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A server with its append-only file and a password that must never show."""
    directory = tmp_path_factory.mktemp("valkey")
    with children.Children(directory) as some:
        yield servers.valkey(directory, some, password=processes.REDIS_PASSWORD)


Deploy = Callable[..., processes.Deployment]


@contextlib.contextmanager
def deploying(directory: Path) -> Iterator[Deploy]:
    """Gives what makes deployments, each under a new prefix, and puts them away."""
    with contextlib.ExitStack() as end:

        def deploy(valkey: servers.Server, **chosen: Any) -> processes.Deployment:
            prefix = f"kf-{os.getpid()}-{next(_numbers)}"
            made = processes.Deployment(valkey, directory, prefix=prefix, **chosen)
            return end.enter_context(made)

        yield deploy


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """`deploy(valkey, latency_ms=50, concurrency=2)`: a deployment, without a worker yet."""
    with deploying(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def deploy_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """The same for all tests of a module."""
    with deploying(tmp_path_factory.mktemp("module")) as made:
        yield made


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[servers.Server]:
    """A server that this test may freeze and kill."""
    directory = tmp_path / "own-valkey"
    directory.mkdir()
    with children.Children(directory) as some:
        yield servers.valkey(directory, some)

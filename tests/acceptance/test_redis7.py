"""What Debian brings as Redis is a ledger and a broker as good as the Valkey of all other tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.chaos import children, quiet, servers, trial
from ops.simulator import scenario
from tests import needs
from tests.acceptance import books, conftest, processes
from worker.contract import record

pytestmark = pytest.mark.debian

S, R = record.Status, record.Reason

REQUESTS = 50
LATE = "lena@hbshop"
PASSWORD = f":{processes.REDIS_PASSWORD}"


@pytest.fixture(scope="module")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """Debian's server, on TCP and on a Unix socket."""
    directory = tmp_path_factory.mktemp("redis7")
    with children.Children(directory) as some:
        yield servers.Server(
            needs.redis_server(),
            directory,
            some,
            login=PASSWORD,
            requirepass=processes.REDIS_PASSWORD,
            unixsocket=_socket(directory),
        )


@pytest.mark.parametrize("scheme", ["redis"])
def test_redis_7_keeps_what_is_promised(
    redis7: servers.Server, deploy: conftest.Deploy, scheme: str
) -> None:
    """A killed worker, an agent who comes back and a lost reply: one outcome and session each."""
    away = scenario.Agent(kf_account=LATE, online=False)
    shop = deploy(
        redis7,
        agents=(away,),
        latency_ms=20,
        call_timeout_seconds=0.5,
        concurrency=4,
        presence_seconds=0.5,
    )
    if scheme == "unix":
        place = f"unix://{PASSWORD}@{_socket(redis7.directory)}"
        shop.environment["KF_REDIS_URL"] = place
    worker = shop.start_worker()
    lost = shop.outcome(shop.submit(trial.openid(REQUESTS + 1, "cut_after_")))
    assert len(shop.creates(lost.openid)) == 2
    waiting = shop.submit(trial.openid(REQUESTS), LATE)
    assert shop.wait_status(waiting, S.WAITING).reason is R.AGENT_OFFLINE
    shop.submit_many((trial.openid(number) for number in range(REQUESTS)), lane="batch")
    trial.poll(lambda: shop.count(S.CREATED) >= 10, seconds=20, what="some are created")
    worker.kill()
    assert shop.count_live() > 1, "it was killed with work to do"
    worker = shop.start_worker()
    shop.set_online(LATE, online=True)

    shop.wait_all_over()
    quiet.wait(shop.client, shop.prefix)  # the dead worker may have had a doorbell in hand
    records = books.check_books(shop, requests=REQUESTS + 2)
    assert {one.status for one in records} == {S.CREATED}
    assert shop.outcome(waiting).served_by == LATE
    assert worker.stop() == 0


def _socket(directory: Path) -> Path:
    return directory / "redis.sock"

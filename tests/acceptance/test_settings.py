"""A worker that cannot work stops at its start with one line that names what to mend."""

from __future__ import annotations

import pytest

from ops.chaos import servers
from tests.acceptance import conftest


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"KF_CONCURRENCY": "x"}, "KF_CONCURRENCY"),
        ({"KF_APPSECRET": ""}, "KF_APPSECRET"),
        ({"KF_APPID": ""}, "KF_APPID"),
        ({"KF_REDIS_URL": "http://127.0.0.1:6379"}, "KF_REDIS_URL"),
        ({"KF_API_BASE_URL": "http://api.weixin.qq.com"}, "KF_API_BASE_URL"),
        ({"KF_APPSECRET_FILE": "/nowhere/secret", "KF_APPSECRET": ""}, "KF_APPSECRET_FILE"),
    ],
    ids=lambda wrong: "+".join(wrong) if isinstance(wrong, dict) else "",
)
def test_a_wrong_setting_stops_the_worker_with_its_name(
    valkey: servers.Server, deploy: conftest.Deploy, wrong: dict[str, str], named: str
) -> None:
    """One line, no traceback, the variable's name, an exit status that is not 0."""
    worker = deploy(valkey).launch_worker(**wrong).child
    assert worker.wait(20) not in (0, None)
    (line,) = worker.output().splitlines()
    assert named in line


def test_a_ledger_of_a_newer_release_stops_the_worker(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """An old worker on a new ledger would write what nobody reads: it says so and stops."""
    shop = deploy(valkey)
    shop.client.set(shop.keys.schema, 99)
    worker = shop.launch_worker().child
    assert worker.wait(20) not in (0, None)
    (line,) = worker.output().splitlines()
    assert "schema 99" in line
    assert shop.reader.workers() == {}
    assert shop.reader.accounts() == []

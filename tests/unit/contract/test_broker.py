"""broker: settings in kombu's spelling, so that both sides speak of the same queues and keys."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import celery
import pytest
import redis

from worker.contract import broker, request, settings

#: What kombu's channel reads of itself on its way to connection parameters.
CHANNEL_FIELDS = [
    "max_connections",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "socket_keepalive_options",
    "retry_on_timeout",
    "client_name",
]


def configured(url: str = "redis://h:6379/3", **fields: Any) -> dict[str, Any]:
    return broker.configuration(settings.Settings(redis_url=url, _env_file=None, **fields))


def reached(url: str, transport: str | None = None) -> dict[str, Any]:
    """What a plain kombu makes of the broker URL; it opens nothing."""
    app = celery.Celery("t", set_as_current=False)
    app.conf.update(configured(url))
    if transport:
        app.conf.broker_transport = transport
    connection = app.connection_for_write()
    channel = connection.get_transport_cls().Channel
    unopened: Any = SimpleNamespace(**dict.fromkeys(CHANNEL_FIELDS), _registered=False)
    unopened.connection = SimpleNamespace(client=connection, default_port=6379)
    for name in ("_process_credential_provider", "_prepare_virtual_host", "_filter_tcp_connparams"):
        setattr(unopened, name, functools.partial(getattr(channel, name), unopened))
    unopened.connection_class = redis.Connection
    unopened.connection_class_ssl = redis.SSLConnection
    found: dict[str, Any] = channel._connparams(unopened)
    return found


def test_the_names_are_contract() -> None:
    """Plain Celery clients script against them."""
    assert (broker.DELIVER, broker.SUBMIT) == ("kfsession.deliver", "kfsession.submit")
    assert [broker.queue_name("kf", lane) for lane in request.Lane] == ["kf.escalation", "kf.batch"]


def test_escalations_are_read_before_batches() -> None:
    """The order of the queues is their priority."""
    conf = configured(key_prefix="shop")
    assert [queue.name for queue in conf["task_queues"]] == ["shop.escalation", "shop.batch"]
    assert [queue.routing_key for queue in conf["task_queues"]] == ["shop.escalation", "shop.batch"]
    assert conf["broker_transport_options"]["queue_order_strategy"] == "priority"
    assert conf["task_default_queue"] == "shop.escalation"


def test_messages_of_every_priority_are_read() -> None:
    """Whatever steps a plain client's kombu knows, by default 0, 3, 6 and 9."""
    steps = configured()["broker_transport_options"]["priority_steps"]
    assert steps == list(range(10))


def test_the_prefix_keeps_deployments_on_one_database_apart() -> None:
    """Also kombu's own keys."""
    options = configured(key_prefix="shop")["broker_transport_options"]
    assert options["unacked_key"] == "shop.unacked"
    assert options["unacked_index_key"] == "shop.unacked_index"
    assert options["unacked_mutex_key"] == "shop.unacked_mutex"


def test_only_json_and_no_results() -> None:
    """Nobody waits for a task, and nothing is unpickled."""
    conf = configured()
    assert conf["accept_content"] == ["json"]
    assert conf["task_serializer"] == "json"
    assert conf["task_ignore_result"] is True
    assert conf["worker_pool"] == "threads"
    assert conf["worker_enable_remote_control"] is False


def test_a_running_task_is_never_given_to_another_worker() -> None:
    """The visibility timeout outlasts the longest task: 10 s of starting, then one request."""
    conf = configured(call_timeout_seconds=60)
    assert conf["broker_transport_options"]["visibility_timeout"] > 10 + 60


def test_every_wait_for_the_broker_is_bounded() -> None:
    """Long ones are None unless set."""
    conf = configured(concurrency=7)
    options = conf["broker_transport_options"]
    assert options["socket_timeout"]
    assert options["socket_connect_timeout"]
    assert options["max_connections"] == 27
    assert conf["worker_concurrency"] == 7
    assert conf["broker_connection_max_retries"] is None


@pytest.mark.parametrize(
    ("url", "place", "database", "password"),
    [
        ("redis://h/0", ("h", 6379), 0, None),
        ("redis://:p%40w%2F@h:1234/5", ("h", 1234), 5, "p@w/"),
        ("redis://u:pw@h", ("h", 6379), 0, "pw"),
        ("rediss://:pw@h:6380/1", ("h", 6380), 1, "pw"),
        ("unix:///run/v.sock", "/run/v.sock", 0, None),
        ("unix:///run/v.sock?db=3", "/run/v.sock", 3, None),
        ("unix://:p%40w%2F@/run/v.sock?db=3", "/run/v.sock", 3, "p@w/"),
        ("sentinel://h1:1,h2:2/NAME/4", ("h1", 1), 4, None),
        ("sentinel://:p%40w%2F@h1:1,h2:2/NAME", ("h1", 1), 0, "p@w/"),
    ],
)
def test_kombu_reads_the_same_server_as_the_ledger(
    url: str, place: object, database: int, password: str | None
) -> None:
    """Host or path, database and password, whatever the spelling."""
    found = reached(url)
    assert (found.get("path") or (found["host"], found["port"])) == place
    assert (found["db"], found["password"]) == (database, password)


def test_all_sentinels_and_the_masters_name_are_handed_on() -> None:
    """Any living sentinel is enough."""
    conf = configured("sentinel://:pw@h1:1,h2/NAME/4")
    assert conf["broker_url"] == "sentinel://:pw@h1:1/4;sentinel://:pw@h2:26379/4"
    assert conf["broker_transport_options"]["master_name"] == "NAME"


def test_the_broker_may_be_another_server_than_the_ledger() -> None:
    """KF_BROKER_URL decides."""
    conf = configured("redis://ledger/0", broker_url="redis://broker/1")
    assert conf["broker_url"] == "redis://broker/1"


@pytest.mark.parametrize("transport", [None, "worker.intake:Transport"])
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {"ssl_cert_reqs": "required"}),
        ("?ssl_ca_certs=/ca.pem", {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}),
        ("?ssl_cert_reqs=none", {"ssl_cert_reqs": "none"}),
    ],
)
def test_tls_is_used_and_verified_on_both_sides(
    transport: str | None, query: str, options: dict[str, str]
) -> None:
    """By producers through kombu's transport, by workers through the checking one."""
    found = reached(f"rediss://:pw@h:6380/1{query}", transport)
    assert issubclass(found["connection_class"], redis.SSLConnection)
    assert {name: value for name, value in found.items() if name.startswith("ssl_")} == options
    plain = reached("redis://h/0", transport)
    assert not issubclass(plain["connection_class"], redis.SSLConnection)

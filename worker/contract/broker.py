"""Turns settings into the Celery configuration that producers and workers share.

Messages are doorbells (DESIGN.md): they carry ids, nobody waits for a result, and losing one harms
nothing. So nothing here tries to make the broker durable; it only has to be quick to fail.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

import kombu
import redis.backoff
import redis.connection
import redis.retry

from worker.contract import request, settings, urls

#: The two tasks; plain Celery clients script against these names.
DELIVER, SUBMIT = "kfsession.deliver", "kfsession.submit"
#: A task runs for a turn of at most 10 s and one call; after this kombu gives it to another.
VISIBILITY_TIMEOUT_SECONDS = 120
#: Kombu keeps a list a priority; a message of a plain client's must not lie where nobody looks.
PRIORITIES = range(10)


def queue_name(prefix: str, lane: request.Lane) -> str:
    """The queue of `lane`: `kf.escalation`, `kf.batch`."""
    return f"{prefix}.{lane}"


def configuration(config: settings.Settings) -> dict[str, Any]:
    """Celery's settings for `config`, for either side."""
    queues = [
        kombu.Queue(name, routing_key=name, exchange=kombu.Exchange(""), durable=True)
        for name in (queue_name(config.key_prefix, lane) for lane in request.Lane)
    ]
    return {
        "broker_url": _kombu_url(config.celery_url),
        "broker_use_ssl": _tls_options(config.celery_url),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 5,
        "broker_pool_limit": 10,
        "broker_pool_acquire_timeout": config.submit_timeout_seconds,
        "broker_transport_options": _transport_options(config),
        "task_queues": queues,
        "task_default_queue": queues[0].name,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "worker_pool": "threads",
        "worker_concurrency": config.concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


def _transport_options(config: settings.Settings) -> dict[str, Any]:
    prefix = config.key_prefix
    options: dict[str, Any] = {
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "unacked_key": f"{prefix}.unacked",
        "unacked_index_key": f"{prefix}.unacked_index",
        "unacked_mutex_key": f"{prefix}.unacked_mutex",
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_connections": config.concurrency + 20,
        "priority_steps": list(PRIORITIES),
        "queue_order_strategy": "priority",
    }
    if parts := urls.sentinel_parts(config.celery_url):
        # One try each: to ask dead sentinels again and again costs more time than a ring has.
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        asking = {"socket_timeout": 5, "retry": once}
        options |= {"master_name": parts[1], "sentinel_kwargs": asking}
    return options


def _tls_options(url: str) -> dict[str, Any] | None:
    """TLS as redis-py reads it from the URL: verified unless the URL says otherwise.

    Left to itself kombu verifies nothing, and a transport of our own would not even use TLS.
    """
    if not url.startswith("rediss://"):
        return None
    options = redis.connection.parse_url(url).items()
    given = {name: value for name, value in options if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **given}


def _kombu_url(url: str) -> str:
    """The same server in kombu's spelling."""
    if url.startswith("unix://"):
        path, _, query = url.removeprefix("unix://").partition("?")
        (number,) = urllib.parse.parse_qs(query).get("db", ["0"])
        return f"redis+socket://{path}?virtual_host={number}"
    if parts := urls.sentinel_parts(url):
        hosts, _, database, password = parts
        login = f":{urllib.parse.quote(password, safe='')}@" if password else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{database}" for host, port in hosts)
    return url.partition("?")[0] if url.startswith("rediss://") else url

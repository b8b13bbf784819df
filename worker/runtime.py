"""Puts a worker together out of its settings; its parts live from `start` to `close`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import secrets
import socket
import threading

import celery
import structlog

from worker import (
    credentials,
    deliverer,
    errors,
    machine,
    presence,
    probing,
    refusals,
    waiting_room,
)
from worker import doorbell as doorbells
from worker.contract import settings
from worker.ledger import connection
from worker.ledger import ledger as ledgers
from worker.wechat import account as wechat_account

log = structlog.get_logger(__name__)

#: Longest wait for an answer from Redis, in seconds.
REDIS_TIMEOUT_SECONDS = 5.0
#: Redis connections beyond two a slot, one of them kept: the waiting room, tokens, and some air.
SPARE_CONNECTIONS = 20


class Runtime:
    """A worker's parts. `app` is the Celery app whose connections ring the doorbells."""

    def __init__(self, config: settings.Settings, app: celery.Celery) -> None:
        #: Set once the worker shuts down: running calls end, nothing new starts.
        self.stopping = threading.Event()
        self._config = config
        self._client = connection.connect(
            config.ledger_url,
            timeout_seconds=REDIS_TIMEOUT_SECONDS,
            max_connections=2 * config.concurrency + SPARE_CONNECTIONS,
        )
        self._credentials = credentials.Credentials(config, self._client)
        self._accounts = {each.appid: self._account(each) for each in config.accounts()}
        self._capacities = {
            each.appid: {"": each.agent_capacity or 0, **each.capacities}
            for each in config.accounts()
        }
        # Two containers may share their host's name and number their processes alike.
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.machine = machine.Machine(
            name,
            self._accounts.keys(),
            slots=config.concurrency,
            changed=self._announce_soon,
        )
        self.ledger = ledgers.Ledger(self._client, config)
        self.refusals = refusals.Refusals(self.ledger.dead_list)
        self.doorbell = doorbells.Doorbell(app, config.key_prefix)
        self._presence = presence.Presence(
            self.ledger.accounts,
            self._accounts,
            self.machine,
            seconds=config.presence_seconds,
            call_seconds=config.call_timeout_seconds,
            news=self._hurry,
        )
        self._probes = probing.Probes(self.machine, self._accounts)
        self.room = waiting_room.WaitingRoom(
            self.ledger.waiting,
            self.doorbell,
            self.machine,
            slots=config.concurrency,
            announce=self.announce,
            look=self._look,
        )
        self.deliverer = deliverer.Deliverer(
            self.ledger,
            self._accounts,
            config,
            self.machine,
            hurry=self._hurry,
            stopping=self.stopping,
        )

    def _hurry(self) -> None:
        """Something changed that the waiting room should not wait a tick for."""
        self.room.hurry()

    def _announce_soon(self) -> None:
        self.room.announce_soon()

    def _look(self) -> None:
        """Begin the readings and the probes that are due."""
        self._presence.look()
        self._probes.look()

    def announce(self) -> None:
        """Tell the ledger that this worker lives, and what it could not tell before."""
        about = {
            "version": importlib.metadata.version("kfsession"),
            "slots": self._config.concurrency,
        }
        fleet = self.ledger.accounts.announce(
            self.machine.name, about, self._capacities, self.machine.packed()
        )
        self.machine.hear(fleet)
        self.refusals.bury_kept()

    def close(self) -> None:
        """Say goodbye and close every connection."""
        self._presence.stop()
        self._probes.stop()
        with contextlib.suppress(errors.LedgerUnavailable):
            self.ledger.accounts.depart(self.machine.name, self._accounts)
            self.refusals.bury_kept()  # only where the ledger is there
        self.refusals.close()
        self._credentials.close()
        self._client.close()

    def _account(self, account: settings.Account) -> wechat_account.Account:
        return wechat_account.Account(
            appid=account.appid,
            transport=self._credentials.api,
            tokens=self._credentials.token_source(account),
            has_token_of_wechat=account.appsecret is not None,
        )


_current: Runtime | None = None


def current() -> Runtime:
    """The runtime of this worker process."""
    if _current is None:
        raise RuntimeError("no worker runs in this process: start `celery -A worker.app worker`")
    return _current


def start(config: settings.Settings, app: celery.Celery) -> Runtime:
    """Build the runtime of this process and announce it.

    Raises InvalidSettings without credentials, SchemaTooNew on a newer release's ledger. A Redis
    that is away only delays the announcement: the waiting room repeats it.
    """
    global _current
    _current = Runtime(config, app)
    try:
        _current.announce()
    except errors.LedgerUnavailable as error:
        log.error("out_of_reach", error=str(error))
    return _current

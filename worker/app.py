"""The Celery app: `celery -A worker.app worker` is the whole command; settings do the rest.

Nothing is read at import. Celery asks for its configuration when it first needs it, and the signals
below start and end the runtime around Celery's own life.
"""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import celery
from celery import bootsteps, signals

from worker import errors, logs, runtime
from worker.contract import broker, settings

#: Celery reports every message it takes and finishes, at DEBUG with all that is in it; a settled
#: request is reported once, by us.
_CHATTY_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.pool")
#: Workers do not talk to each other: the ledger says who lives, and their talk is not checked.
_NO_CHATTER = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
#: Where the checking transport of a broker's scheme has a name of its own.
_TRANSPORTS = {"sentinel": "SentinelTransport", "unix": "UnixTransport"}
#: A worker whose slots were all busy asks for messages again when Celery's loop next turns, and a
#: slot that comes free does not turn it: by itself it turns once a second.
TURN_SECONDS = 0.05


def _configuration() -> dict[str, Any]:
    try:
        config = settings.load()
    except settings.InvalidSettings as error:
        _stop(error)
    celery_settings = broker.configuration(config)
    scheme = config.celery_url.partition("://")[0]
    celery_settings["broker_transport"] = f"worker.intake:{_TRANSPORTS.get(scheme, 'Transport')}"
    # At `redis+socket://` kombu would take its own transport, which checks nothing.
    celery_settings["broker_url"] = celery_settings["broker_url"].removeprefix("redis+")
    celery_settings["broker_transport_options"] |= {
        "on_refused": _refuse,
        "may_consume": _may_consume,
    }
    return celery_settings


def _refuse(entry: bytes, queue: str, why: str) -> None:
    runtime.current().refusals.add(entry, queue, why)


def _may_consume() -> bool:
    return runtime.current().machine.may_consume()


def _stop(error: Exception) -> NoReturn:
    raise SystemExit(f"kfsession: {error}")


class WaitingRoomStep(bootsteps.StartStopStep):
    """Runs the waiting room while the pool runs."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        """Begin to watch."""
        runtime.current().room.start()

    def stop(self, _worker: Any) -> None:
        """End the watch."""
        runtime.current().room.stop()


class TurningStep(bootsteps.StartStopStep):
    """Turns Celery's loop often enough that no free slot stands idle before full queues."""

    requires = ("celery.worker.components:Hub",)

    def start(self, worker: Any) -> None:
        """Begin to turn."""
        self._turning = worker.hub.call_repeatedly(TURN_SECONDS, lambda: None)

    def stop(self, _worker: Any) -> None:
        """Leave it to Celery."""
        self._turning.cancel()


app = celery.Celery("kfsession", include=["worker.tasks"], set_as_current=True)
app.add_defaults(_configuration)
app.steps["worker"].add(WaitingRoomStep)
app.steps["worker"].add(TurningStep)


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.configure(settings.load())
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    sender.options |= _NO_CHATTER
    try:
        runtime.start(settings.load(), app)
    except (settings.InvalidSettings, errors.SchemaTooNew) as error:
        _stop(error)


@signals.worker_shutting_down.connect
def _stop_taking(**_: Any) -> None:
    runtime.current().stopping.set()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    runtime.current().close()

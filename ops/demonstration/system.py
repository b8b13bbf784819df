"""Takes a plan and hands on the whole system, running here: Valkey, simulator, worker.

`kfsession route` runs beside them when its time has come.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import producers
from ops.demonstration import cast, plan, simulated
from ops.stack import embedded, lock, parts
from producers import terminal
from worker.contract import settings

#: Where it keeps its data and its parts' logs, under the current directory.
HOME = Path(".kfsession/demo")
_LOCK = Path(".kfsession/demo.lock")

#: Short, so that a call that hangs does not hold up the demo.
CALL_TIMEOUT_SECONDS = 2.0
#: Short, so that fans follow soon when an agent comes or has room again.
PRESENCE_SECONDS = 1.0
#: A part gets so long to end: the worker, its calls.
GRACE_SECONDS = 4.0
#: A cold start on a busy machine.
_START_SECONDS = 30.0
_LISTENING = re.compile(rb"listening on (http://\S+)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What runs."""

    redis_url: str
    producer: producers.SessionProducer
    wechat: simulated.Simulated
    #: Valkey, simulator, worker.
    parts: tuple[parts.Part, parts.Part, parts.Part]
    #: What the worker runs with, and `kfsession route` too.
    environment: Mapping[str, str] = dataclasses.field(repr=False)

    def check(self) -> None:
        """Raises PartFailed when a part ended by itself."""
        for part in self.parts:
            part.check()


@contextlib.contextmanager
def running(course: plan.Plan) -> Iterator[System]:
    """All parts from their start to their end; raises Taken, PartFailed, OSError.

    The worker may still ask Redis and WeChat while it ends, so it holds on to both.
    """
    with contextlib.ExitStack() as stack:
        held = lock.take(_LOCK, "another demo")
        stack.callback(os.close, held)
        terminal.say(f"demo: starting Valkey, a simulated WeChat and a worker; logs are in {HOME}")
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        valkey = stack.enter_context(_valkey(held))
        wechat = stack.enter_context(_wechat(course, held))
        redis_url = valkey.wait_for(lambda: embedded.announced_url(_announcement()), _START_SECONDS)
        api_url = wechat.wait_for(lambda: _listening(wechat), _START_SECONDS)
        environment = _environment(_worker_settings(redis_url, api_url))
        worker = stack.enter_context(
            parts.Part(
                "worker",
                parts.worker(),
                grace_seconds=GRACE_SECONDS,
                env=environment,
                cwd=HOME,  # the .env of the directory is not the demo's
                log=HOME / "worker.log",
                holds=(held, valkey.lifeline, wechat.lifeline),
            )
        )
        producer = stack.enter_context(producers.SessionProducer(_settings(redis_url)))
        worker.wait_for(lambda: _announced(producer), _START_SECONDS)
        yield System(
            redis_url=redis_url,
            producer=producer,
            wechat=simulated.Simulated(api_url),
            parts=(valkey, wechat, worker),
            environment=environment,
        )


def start_route(running: System, capacity: int) -> parts.Part:
    """`kfsession route --json`, under way; its summary is the last line of its log."""
    valkey, wechat, _ = running.parts
    return parts.Part(
        "route",
        parts.python(
            *("-c", "from ops import cli; cli.main()"),
            *("route", "--json", "--capacity", str(capacity)),
        ),
        grace_seconds=GRACE_SECONDS,
        env=running.environment,
        cwd=HOME,
        log=HOME / "route.log",
        holds=(valkey.lifeline, wechat.lifeline),  # it may ask both while it ends
    )


def _valkey(held: int) -> parts.Part:
    return parts.Part(
        "valkey",
        embedded.command(HOME, _announcement()),
        grace_seconds=GRACE_SECONDS,
        log=HOME / "valkey.log",
        holds=(held,),
    )


def _wechat(course: plan.Plan, held: int) -> parts.Part:
    chosen = HOME / "scenario.toml"
    chosen.write_text(course.scenario)
    return parts.Part(
        "simulator",
        parts.python("-m", "ops.simulator", "--port", "0", "--scenario", str(chosen)),
        grace_seconds=GRACE_SECONDS,
        log=HOME / "simulator.log",
        holds=(held,),
    )


def _announcement() -> Path:
    return HOME / "ledger.json"


def _listening(wechat: parts.Part) -> str | None:
    said = _LISTENING.search(wechat.log.read_bytes()) if wechat.log else None
    return said[1].decode() if said else None


def _announced(producer: producers.SessionProducer) -> bool | None:
    with producer.reading() as reads:
        return True if reads.workers() else None


def _worker_settings(redis_url: str, api_url: str) -> dict[str, str]:
    accounts = HOME / "accounts.toml"
    accounts.write_text(cast.accounts_toml())
    return {
        "KF_REDIS_URL": redis_url,
        "KF_API_BASE_URL": api_url,
        "KF_ACCOUNTS_FILE": str(accounts.resolve()),
        "KF_CALL_TIMEOUT_SECONDS": str(CALL_TIMEOUT_SECONDS),
        "KF_PRESENCE_SECONDS": str(PRESENCE_SECONDS),
        "KF_CONCURRENCY": "16",
        "KF_LOG_FORMAT": "json",
    }


def _environment(chosen: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `chosen` as its only settings of ours."""
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith("KF_")
    } | dict(chosen)


def _settings(redis_url: str) -> settings.Settings:
    """The producer's settings, whatever the environment and the directory's .env say."""
    for name in [each for each in os.environ if each.upper().startswith("KF_")]:
        del os.environ[name]
    return settings.load(_env_file=None, redis_url=redis_url)

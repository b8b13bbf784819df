"""Takes a plan and hands on the whole system, running here: Valkey, simulator, worker."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import producers
from ops.demonstration import plan, simulated
from ops.simulator import scenario
from ops.stack import embedded, lock, parts
from producers import terminal
from worker.contract import settings

#: Where it keeps its data and its parts' logs, under the current directory.
HOME = Path(".kfsession/demo")
_LOCK = Path(".kfsession/demo.lock")

#: Short, so that a call that hangs does not hold up the demo.
CALL_TIMEOUT_SECONDS = 2.0
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
    parts: tuple[parts.Part, ...]

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
        worker = stack.enter_context(
            parts.Part(
                "worker",
                parts.worker(),
                grace_seconds=GRACE_SECONDS,
                env=_environment(_worker_settings(redis_url, api_url)),
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
    return {
        "KF_REDIS_URL": redis_url,
        "KF_API_BASE_URL": api_url,
        "KF_APPID": scenario.DEFAULT_APPID,
        "KF_APPSECRET": scenario.DEFAULT_SECRET,
        "KF_CALL_TIMEOUT_SECONDS": str(CALL_TIMEOUT_SECONDS),
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

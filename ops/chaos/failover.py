"""Takes the master away under a stream of requests: `python -m ops.chaos.failover`.

Masters are killed; with `--stops` the last ones are stopped instead and go on later, while they
think themselves masters still. Expected where submit waits for a replica: whatever it returned a
receipt for ends, once. Without, a receipt may be lost with the master: it counts how many were.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import redis

from ops.chaos import children, sentinel, stack, trial
from producers import SessionProducer, SubmitFailed
from worker.contract import record, settings
from worker.ledger import connection, reader

#: Who is online; requests name one of them, a second besides, or anybody.
_AGENTS = tuple(f"{name}@hbshop" for name in ("anna", "bert", "cora", "dirk"))
#: How long a sender rests before it sends again what failed, in seconds.
_REST_SECONDS = 0.1
#: How long a failover may take that began before the master went on, in seconds.
_EARLY_SECONDS = 10.0


class _Shop:
    """Servers, sentinels, a WeChat, workers and a producer; all gone when it ends."""

    def __init__(self, given: argparse.Namespace, end: contextlib.ExitStack) -> None:
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="kfsession-chaos-")))
        some = end.enter_context(children.Children(folder))
        self.servers = sentinel.Sentinel(folder, some, min_replicas=given.min_replicas)
        agents = "".join(f'[[agents]]\nkf_account = "{name}"\n' for name in _AGENTS)
        self.wechat = stack.Simulator(
            some, folder, latency_ms=given.latency_ms, seed=given.seed, scenario=agents
        )
        knobs = {
            "redis_url": self.servers.url,
            "api_base_url": self.wechat.url,
            "appid": trial.APPID,
            "appsecret": trial.APPSECRET,
            "call_timeout_seconds": given.call_timeout,
            "concurrency": given.slots,
            "submit_replicas": given.replicas,
        }
        variables = {f"KF_{name.upper()}": str(value) for name, value in knobs.items()}
        self.producer = end.enter_context(SessionProducer(settings.load(**knobs)))
        client = connection.connect(self.servers.url, timeout_seconds=10, max_connections=8)
        self.reader = reader.Reader(end.enter_context(contextlib.closing(client)), "kf")
        environment = children.environment(**variables)
        workers = [stack.Worker(some, environment) for _ in range(given.workers)]
        for worker in workers:
            worker.wait_ready(self.reader)


class _Senders:
    """Threads that submit at a rate, and send again under its own id what failed."""

    def __init__(self, producer: SessionProducer, given: argparse.Namespace) -> None:
        self._producer = producer
        self._rate = given.rate
        self._numbers = iter(range(given.requests))
        self._lock = threading.Lock()
        self._patience = given.patience
        #: What a receipt was returned for, by the fan's number.
        self.accepted: dict[int, str] = {}
        self.sent_again = 0
        self._threads = [threading.Thread(target=self._work) for _ in range(given.senders)]

    def start(self) -> None:
        """Begin to send."""
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing new, and wait for what is under way."""
        with self._lock:
            self._numbers = iter(())
        self.join()

    def join(self) -> None:
        """Wait until everything is accepted."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, self._started + number / self._rate - time.monotonic()))
            self._send(number)

    def _send(self, number: int) -> None:
        until, request_id = time.monotonic() + self._patience, None
        while time.monotonic() < until:
            try:
                receipt = self._producer.submit(_wish(number), id=request_id)
            except SubmitFailed as error:
                (request_id,) = error.ids
                with self._lock:
                    self.sent_again += 1
                time.sleep(_REST_SECONDS)
            else:
                self.accepted[number] = receipt.id
                return


def _wish(number: int) -> dict[str, object]:
    """One agent, two, or anybody: where more than one would do, a lost claim may end elsewhere."""
    first, second = (_AGENTS[(number + by) % len(_AGENTS)] for by in (0, 1))
    targets = [(first, ()), (first, (second,)), ("any", ())]
    kf_account, fallbacks = targets[number % len(targets)]
    openid = trial.openid(number)
    return {
        "appid": trial.APPID,
        "openid": openid,
        "kf_account": kf_account,
        "fallbacks": list(fallbacks),
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when a fan has two agents, a record lies, or what replicas had was lost."""
    given = _parser().parse_args(arguments)
    trial.show_settings(given)
    with trial.ended_by_signals(), contextlib.ExitStack() as end:
        shop = _Shop(given, end)
        senders = _Senders(shop.producer, given)
        end.callback(senders.stop)
        started = time.monotonic()
        senders.start()
        recoveries = list(_fail_over(shop, senders, given))
        senders.join()
        trial.poll(
            lambda: _is_over(shop.reader),
            seconds=given.patience,
            what="all requests end",
            every=0.2,
        )
        trial.show(
            requests=given.requests,
            failovers=len(recoveries),
            seconds=round(time.monotonic() - started, 1),
            accepted=len(senders.accepted),
            sent_again=senders.sent_again,
        )
        return _judge(shop, senders.accepted, given, max(recoveries, default=0.0))


def _fail_over(shop: _Shop, senders: _Senders, given: argparse.Namespace) -> Iterator[float]:
    """Take the master away each time some more are accepted; yields how long each recovery took."""
    for number in range(1, given.failovers + 1):
        enough = given.requests * number // (given.failovers + 1)
        trial.poll(
            lambda enough=enough: len(senders.accepted) >= enough,  # type: ignore[misc]
            seconds=given.patience,
            what=f"{enough} requests are accepted",
        )
        _, master = shop.servers.master_address()
        is_stopped = number > given.failovers - given.stops
        (shop.servers.freeze if is_stopped else shop.servers.kill)(master)
        struck_at = time.time()
        # Who is asked when a call is made again, whose outcome went down with the master?
        shop.wechat.switch(_AGENTS[number % len(_AGENTS)], online=False)
        now = _wait_promoted(shop, master, given.thaw_after if is_stopped else None)
        if is_stopped and given.thaw_after is None:
            shop.servers.thaw(master)
        settled_at = trial.poll(
            lambda now=now, struck_at=struck_at: _first_settled(now, struck_at),  # type: ignore[misc]
            seconds=given.patience,
            what="a request is settled at the new master",
        )
        yield settled_at - struck_at
        if not is_stopped:
            shop.servers.restart(master)
        shop.servers.wait_whole()
        shop.wechat.switch(_AGENTS[number % len(_AGENTS)], online=True)


def _wait_promoted(shop: _Shop, master: int, thaw_after: float | None) -> int:
    """The port of the master of now: where the old one goes on early, it may stay it."""
    if thaw_after is None:
        return shop.servers.wait_promoted(master)
    time.sleep(thaw_after)
    shop.servers.thaw(master)
    with contextlib.suppress(trial.TooLate):
        return shop.servers.wait_promoted(master, seconds=_EARLY_SECONDS)
    return master


def _first_settled(port: int, after: float) -> float:
    """When this very server first wrote an outcome after a moment (Unix seconds); 0: not yet."""
    position = f"{round(after * 1000)}-0"
    with redis.Redis(port=port, decode_responses=True) as client:
        reads = reader.Reader(client, "kf")
        while page := reads.events(position):
            settled = (each.at.timestamp() for each in page if each.status in record.FINAL)
            if first := next(settled, 0.0):
                return first
            position = page[-1].position
    return 0.0


def _outcomes(reads: reader.Reader) -> dict[str, int]:
    counts = reads.counts()
    return {
        f"{status} {reason}".strip(): size
        for status in record.FINAL
        for reason, size in counts[status].items()
    }


def _is_over(reads: reader.Reader) -> bool:
    with contextlib.suppress(redis.exceptions.RedisError):
        return not reads.due()
    return False


def _judge(shop: _Shop, accepted: dict[int, str], given: argparse.Namespace, longest: float) -> int:
    ended = {number: shop.reader.get(each) for number, each in accepted.items()}
    lost = [number for number, one in ended.items() if one is None or not one.final]
    served = {
        each["openid"]: each["kf_account"]
        for each in shop.wechat.book()["sessions"]
        if each["opened_by"] == "create"
    }
    untrue = [
        one.id
        for one in ended.values()
        if one is not None and one.is_success and served.get(one.openid) != one.served_by
    ]
    summary = shop.wechat.summary()
    doubled = len(summary["fans_given_to_two_agents"])
    unserved = sum(trial.openid(number) not in served for number in lost)
    calls = Counter(summary["creates_by_errcode"])
    trial.show(
        lost=f"{len(lost)} of {len(accepted)} accepted, {unserved} of them without a session"
        f" ({_promise(given)})",
        doubled=doubled,
        untrue_records=len(untrue),
        longest_recovery=f"{longest:.1f} s",
        create_calls=calls.total(),
        outcomes=_outcomes(shop.reader),
    )
    is_kept = not lost or not given.replicas
    return 0 if is_kept and not doubled and not untrue and len(accepted) == given.requests else 1


def _promise(given: argparse.Namespace) -> str:
    if given.replicas:
        return f"submit waited for {given.replicas}: none may be lost"
    return "submit waited for no replica: what only the master had is lost with it"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos.failover")
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--failovers", type=int, default=3)
    parser.add_argument("--stops", type=int, default=0, help="of these by SIGSTOP, the last ones")
    parser.add_argument(
        "--thaw-after", type=float, help="seconds; else once another master is promoted"
    )
    parser.add_argument("--replicas", type=int, default=1, help="of two, that submit waits for")
    parser.add_argument(
        "--min-replicas", type=int, default=1, help="without whom a master takes no writes"
    )
    parser.add_argument("--rate", type=float, default=250.0, help="requests a second")
    parser.add_argument("--senders", type=int, default=16, help="threads that submit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=16, help="calls at the same time, a worker")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--call-timeout", type=float, default=1.0, help="leases derive from it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Our way: requests in the ledger, rung by doorbells, real workers with default settings."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import producers
from ops.bench.contenders import contender
from ops.chaos import children, stack, trial
from worker.contract import record, request, settings
from worker.ledger import reader, receipts


class Ours(contender.Contender):
    """`lane` is where its requests go, `processes` how many workers share them."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        sessions: int,
        warm_up: int,
        lane: request.Lane,
        processes: int = 1,
    ) -> None:
        super().__init__(name, title, sessions=sessions, warm_up=warm_up)
        self._lane = lane
        self._processes = processes
        self._ids: set[str] = set()

    def prepare(self, field: contender.Field) -> None:
        valkey = self._open_valkey(field)
        config = settings.load(_env_file=None, redis_url=valkey.url)
        self.producer = self._end.enter_context(producers.SessionProducer(config))
        client = self._end.enter_context(contextlib.closing(valkey.client()))
        self._reader = reader.Reader(client, config.key_prefix)
        self._environment = children.environment(
            KF_REDIS_URL=valkey.url,
            KF_API_BASE_URL=field.server.url,
            KF_APPID=trial.APPID,
            KF_APPSECRET=trial.APPSECRET,
        )

    def launch(self, field: contender.Field) -> None:
        started = [stack.Worker(field.some, self._environment) for _ in range(self._processes)]
        for worker in started:
            worker.wait_ready(self._reader)
            self._follow(worker.child)

    def enqueue(self, openids: Sequence[str]) -> None:
        self._before = self._created()
        results = self.producer.submit_many(wish(openid, self._lane) for openid in openids)
        self._ids = {each.id for each in results if isinstance(each, receipts.Receipt)}
        if len(self._ids) < len(openids):
            raise RuntimeError(f"{self.name}: of {len(openids)} requests not all were accepted")

    def is_over(self) -> bool:
        return self._created() - self._before >= len(self._ids)

    def confirmed(self) -> int:
        wanted = reader.Filter(status=record.Status.CREATED)
        newest, _ = self._reader.select(wanted, len(self._ids))
        return sum(each.id in self._ids and each.served_by == trial.AGENT for each in newest)

    def _created(self) -> int:
        return sum(self._reader.counts()[record.Status.CREATED].values())


def wish(openid: str, lane: request.Lane) -> dict[str, object]:
    """What a producer asks for."""
    return {"appid": trial.APPID, "openid": openid, "kf_account": trial.AGENT, "lane": lane}

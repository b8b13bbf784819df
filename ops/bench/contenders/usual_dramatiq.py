"""The usual dramatiq way: one message a fan, its result in Redis, a stock worker."""

from __future__ import annotations

from collections.abc import Sequence

from ops.bench.contenders import contender
from ops.bench.peers import dramatiq_actor
from ops.chaos import trial

#: Of the one process that it is given.
THREADS = 64


class UsualDramatiq(contender.Contender):
    """One process with as many threads as our worker has slots."""

    def prepare(self, field: contender.Field) -> None:
        broker_url = self._open_valkey(field).url
        results_url = contender.results_url(broker_url)
        self._servers = {"BROKER_URL": broker_url, "RESULTS_URL": results_url}
        self._results = self._connect(results_url)
        self._backend = dramatiq_actor.results_in(results_url)
        self._actor = dramatiq_actor.connected(broker_url, self._backend)
        self._end.callback(self._actor.broker.close)
        self._url = field.server.create_url

    def launch(self, field: contender.Field) -> None:
        command = ["dramatiq", "--processes", "1", "--threads", str(THREADS)]
        command += ["ops.bench.peers.dramatiq_actor:connect_from_environment"]
        self._run(field, *command, **self._servers)

    def enqueue(self, openids: Sequence[str]) -> None:
        self._before = self._results.dbsize()
        self._sent = [self._actor.send(self._url, trial.AGENT, openid) for openid in openids]

    def is_over(self) -> bool:
        return self._results.dbsize() - self._before >= len(self._sent)

    def confirmed(self) -> int:
        return sum(each.get_result(backend=self._backend) == trial.AGENT for each in self._sent)

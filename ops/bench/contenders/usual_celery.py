"""The usual Celery way: one message a fan, its result in Redis, a stock worker."""

from __future__ import annotations

from collections.abc import Sequence

from ops.bench.contenders import contender
from ops.bench.peers import celery_app
from ops.chaos import trial


class UsualCelery(contender.Contender):
    """`pool` and `slots` are what the worker's command says."""

    def __init__(
        self, name: str, title: str, *, sessions: int, warm_up: int, pool: str, slots: int
    ) -> None:
        super().__init__(name, title, sessions=sessions, warm_up=warm_up)
        self._pool = pool
        self._slots = slots

    def prepare(self, field: contender.Field) -> None:
        broker_url = self._open_valkey(field).url
        results_url = contender.results_url(broker_url)
        self._servers = {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": results_url}
        self._results = self._connect(results_url)
        self._app = celery_app.connected(broker_url, results_url)
        self._end.callback(self._app.close)
        self._url = field.server.create_url

    def launch(self, field: contender.Field) -> None:
        command = ["celery", "-A", "ops.bench.peers.celery_app", "worker"]
        command += ["--pool", self._pool, "--concurrency", str(self._slots)]
        self._run(field, *command, **self._servers)

    def enqueue(self, openids: Sequence[str]) -> None:
        self._before = self._results.dbsize()
        task = self._app.tasks[celery_app.TASK]
        self._sent = [task.delay(self._url, trial.AGENT, openid) for openid in openids]

    def is_over(self) -> bool:
        return self._results.dbsize() - self._before >= len(self._sent)

    def confirmed(self) -> int:
        return sum(each.get(timeout=1) == trial.AGENT for each in self._sent)

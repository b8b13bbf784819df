"""The usual RQ way: one job a fan, its result in Redis, a stock worker.

A worker of RQ 3.0 takes one job at a time, and by default forks for each; a pool starts several
processes. The pool's are SimpleWorkers, which do not fork: the fastest that RQ has for short I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

import rq

from ops.bench.contenders import contender
from ops.bench.peers import rq_config
from ops.chaos import trial

#: How long a result is kept, in seconds: a day, as Celery does.
_RESULT_SECONDS = 86_400
#: As many retries, and as long apart, as the others'.
_RETRY = rq.Retry(max=30, interval=[1, 2, 4, 8, 16, 32, 60])


class UsualRq(contender.Contender):
    """A pool of so many `workers`, or a single plain one."""

    def __init__(
        self, name: str, title: str, *, sessions: int, warm_up: int, workers: int = 1
    ) -> None:
        super().__init__(name, title, sessions=sessions, warm_up=warm_up)
        self._processes = workers

    def prepare(self, field: contender.Field) -> None:
        self._valkey_url = self._open_valkey(field).url
        self._queue = rq.Queue(rq_config.QUEUES[0], connection=self._connect(self._valkey_url))
        self._url = field.server.create_url

    def launch(self, field: contender.Field) -> None:
        command = ["worker", "--with-scheduler"]
        if self._processes > 1:
            command = ["worker-pool", "--num-workers", str(self._processes)]
            command += ["--worker-class", "rq.SimpleWorker"]
        command += ["--config", rq_config.__name__, "--url", self._valkey_url]
        self._run(field, "rq.cli", *command)

    def enqueue(self, openids: Sequence[str]) -> None:
        self._before = self._finished()
        self._sent = [
            self._queue.enqueue(
                rq_config.JOB,
                self._url,
                trial.AGENT,
                openid,
                retry=_RETRY,
                result_ttl=_RESULT_SECONDS,
            )
            for openid in openids
        ]

    def is_over(self) -> bool:
        return self._finished() - self._before >= len(self._sent)

    def confirmed(self) -> int:
        return sum(each.return_value(refresh=True) == trial.AGENT for each in self._sent)

    def _finished(self) -> int:
        count: int = self._queue.finished_job_registry.get_job_count(cleanup=False)
        return count

"""The bare loop: 64 threads, one `requests.Session`, no queue, no record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ops.bench.contenders import contender
from ops.chaos import stack, trial


class BareLoop(contender.Contender):
    """It freezes itself when it is through; what it has done only WeChat knows."""

    def prepare(self, field: contender.Field) -> None:
        self._file: Path = field.directory / "fans-of-the-bare-loop.txt"

    def launch(self, field: contender.Field) -> None:
        script = "ops.bench.peers.bare_script"
        self._run(field, script, field.server.create_url, trial.AGENT, str(self._file))
        what = "the bare loop is ready"
        trial.poll(self.workers[0].is_frozen, seconds=stack.START_SECONDS, what=what)

    def enqueue(self, openids: Sequence[str]) -> None:
        self._file.write_text("\n".join(openids))

    def is_over(self) -> bool:
        return self.workers[0].is_frozen()

    def confirmed(self) -> None:
        return None

"""Runs scripts, and hands their answers on once enough replicas have what they wrote."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis

from worker import errors
from worker.ledger import election, scripts

#: A wait for replicas ends a little before the caller gives up, so that the reason is known.
_WAIT_SHARE = 0.9
_SAFE = "it is safe to send the same again"


class ReplicatedScripts(scripts.Scripts):
    """The same scripts: at least `replicas` must have what a script wrote, else LedgerUnavailable.

    Over Sentinel these replicas must be those of a master that the sentinels confirm afterwards.
    The wait ends `within_seconds`, or when the client's own patience would. Script and WAIT go over
    one connection in one round trip: over another, a failover in between would show replicas that
    never saw the write.
    """

    def __init__(
        self,
        client: redis.Redis,
        base: str,
        *,
        retention_ms: int,
        url: str,
        replicas: int,
        within_seconds: float,
    ) -> None:
        super().__init__(client, base, retention_ms=retention_ms, url=url)
        patience = client.connection_pool.connection_kwargs.get("socket_timeout") or within_seconds
        self._replicas = replicas
        self._election = election.Election(client)
        self._seconds = min(within_seconds, patience) * _WAIT_SHARE

    def run(self, name: str, *arguments: scripts.Argument) -> Any:
        """Run one script, as `run_many` does."""
        (answer,) = self.run_many(name, [arguments])
        return answer

    def _pipeline(self, name: str, calls: Sequence[Sequence[scripts.Argument]]) -> list[Any]:
        ends = time.monotonic() + self._seconds
        with self._kept.one() as one:  # which may have to connect first
            left_ms = max(1, round((ends - time.monotonic()) * 1000))
            commands: list[tuple[scripts.Argument, ...]] = [
                # A master of a moment ago has no scripts yet, and a second try no time left.
                ("SCRIPT", "LOAD", self._sources[name]),
                *(self._evalsha(name, arguments) for arguments in calls),
                # WAIT is for this connection's last write, and a submit sent again writes nothing.
                ("SET", f"{self._base}replicated", time.time_ns() // 1_000_000),
                ("WAIT", self._replicas, left_ms),
            ]
            one.send_packed_command(one.pack_commands(commands))
            _, *answers, written, reached = [_answer(one) for _ in commands]
            self.check([*answers, written])
            if isinstance(reached, Exception) or reached < self._replicas:
                raise self._shortage(reached)  # perhaps it is a master no more: the next asks anew
            try:
                self._election.confirm(one)
            except election.NotConfirmed as error:
                raise errors.LedgerUnavailable(
                    self._url, f"written, but {error}; {_SAFE}", maybe_written=True
                ) from None
        return answers

    def _shortage(self, reached: int | Exception) -> errors.TooFewReplicas:
        what = reached if isinstance(reached, Exception) else f"{reached} of {self._replicas}"
        return errors.TooFewReplicas(
            self._url,
            f"written, but too few replicas have it (KF_SUBMIT_REPLICAS): {what} within"
            f" {self._seconds:.1f} s; {_SAFE}",
            maybe_written=True,
        )


def _answer(one: redis.Connection) -> Any:
    """The next answer; what Redis refuses stands in its place."""
    try:
        return one.read_response()
    except redis.exceptions.ResponseError as error:
        return error

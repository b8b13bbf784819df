"""Takes a rate and hands in requests of new fans at it; remembers which were accepted.

Each tenth of a second brings as many as the clock says by then, so that a stall is made up for and
nothing drifts. What the ledger did not answer is sent again, under the same ids.
"""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import producers
from ops.chaos import trial
from worker.contract import request
from worker.ledger import receipts

#: The ladder's other agents, and one whom nobody has ever seen online.
BERT, CARL, NOBODY = "bert@hbshop", "carl@hbshop", "offline@hbshop"
_TICK_SECONDS = 0.1
#: Most that go in one call, after a stall: it must be one round trip, whose ids are told together.
_MOST_AT_ONCE = 400
#: How long the ledger may be away before that is a failure of the trial.
_PATIENCE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One sort of request; `share` is how many of 100 are like it."""

    share: int
    targets: Sequence[str]
    lane: request.Lane = request.Lane.BATCH
    ttl_seconds: int = 900
    #: How the fan's name begins, for the simulator.
    steer: str = ""


_KINDS = (
    _Kind(share=53, targets=[trial.AGENT]),
    _Kind(share=23, targets=[trial.AGENT], lane=request.Lane.ESCALATION),
    _Kind(share=8, targets=[trial.AGENT, BERT, CARL]),
    _Kind(share=4, targets=[BERT, request.ANY], lane=request.Lane.ESCALATION),
    _Kind(share=4, targets=[request.ANY]),
    _Kind(share=2, targets=[NOBODY], ttl_seconds=5),
    _Kind(share=2, targets=[trial.AGENT, BERT], steer="served_carl_"),
    _Kind(share=2, targets=[trial.AGENT], steer="wrong_"),
    # Unsure until their deadlines: one sort has its session then, the other has none.
    _Kind(share=1, targets=[trial.AGENT], ttl_seconds=5, steer="lied99_"),
    _Kind(share=1, targets=[trial.AGENT, BERT], ttl_seconds=5, steer="cut99_before_"),
)


class Load:
    """An open loop: whether or not the workers keep up, the next ones come."""

    def __init__(self, producer: producers.SessionProducer, *, rate: float, seed: int) -> None:
        #: The id of each fan's request.
        self.accepted: dict[str, str] = {}
        #: Calls that the ledger did not answer.
        self.unanswered = 0
        #: The longest that a request was late, in seconds.
        self.most_late_seconds = 0.0
        self._producer = producer
        self._rate = rate
        self._chance = random.Random(seed)  # noqa: S311 - the same seed, the same requests
        self._shares = [kind.share for kind in _KINDS]

    def run(self, is_over: threading.Event) -> None:
        """Hand in requests until `is_over`."""
        started, sent, tick = time.monotonic(), 0, 0
        while not is_over.is_set():
            elapsed = time.monotonic() - started
            due = int(elapsed * self._rate)
            for first in range(sent, due, _MOST_AT_ONCE):
                self._send(range(first, min(due, first + _MOST_AT_ONCE)))
            self.most_late_seconds = max(self.most_late_seconds, elapsed - sent / self._rate)
            sent = due
            tick = max(tick + 1, int(elapsed / _TICK_SECONDS))
            is_over.wait(max(0.0, started + tick * _TICK_SECONDS - time.monotonic()))

    def _send(self, numbers: range) -> None:
        wishes = [self._wish(number) for number in numbers]
        results: Sequence[receipts.Receipt | request.InvalidRequest]
        try:
            results = self._producer.submit_many(wishes)
        except producers.SubmitFailed as error:
            self.unanswered += 1
            ids = error.ids or [None] * len(wishes)
            results = [self._send_again(*pair) for pair in zip(wishes, ids, strict=True)]
        for wish, result in zip(wishes, results, strict=True):
            if isinstance(result, request.InvalidRequest):
                raise result
            self.accepted[wish["openid"]] = result.id

    def _send_again(self, wish: Mapping[str, Any], request_id: str | None) -> receipts.Receipt:
        ends = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._producer.submit(wish, id=request_id)
            except producers.SubmitFailed as error:
                self.unanswered += 1
                (request_id,) = error.ids
                if time.monotonic() > ends:
                    raise

    def _wish(self, number: int) -> dict[str, Any]:
        (kind,) = self._chance.choices(_KINDS, self._shares)
        return {
            "appid": trial.APPID,
            "openid": trial.openid(number, kind.steer),
            "kf_account": kind.targets[0],
            "fallbacks": list(kind.targets[1:]),
            "lane": kind.lane,
            "ttl_seconds": kind.ttl_seconds,
        }

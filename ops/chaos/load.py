"""Sends a trial's requests from a thread of its own, and remembers which were accepted.

The fans are of all kinds: most are given to an agent at once, others by a ladder, to any agent, to
one who serves them already, to nobody before their deadline, or are nobody at all. Both agents who
work come and go by turns, so that whoever asks again may have to ask another one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import producers
from ops.chaos import stack, trial
from producers import failures

#: Agents of the simulator: who comes and goes with anna, who never comes, and no agent at all.
BOB, AWAY, WRONG = "bob@hbshop", "offline1@hbshop", "wrong1@hbshop"
#: How long those wait who wait in vain, in seconds, and the shortest life a request can have.
SHORT_TTL_SECONDS, SHORTEST_TTL_SECONDS = 8.0, 1.0

#: How long a producer may take for a few requests, in seconds.
PATIENCE_SECONDS = 60.0
#: How many requests one call of the producer sends.
_CHUNK = 100
_PAUSE_SECONDS = 0.1
#: How long one of the agents is away, and both are there, by turns.
_TURN_SECONDS = 1.0


def wish(number: int, short_ttl_seconds: float) -> dict[str, Any]:
    """The request of one fan; its kind comes round again after twenty."""
    fan: dict[str, Any] = {"appid": trial.APPID, "openid": trial.openid(number), "lane": "batch"}
    match number % 20:
        case 0 | 1 | 2 | 3 | 4:
            return fan | {"kf_account": trial.AGENT, "fallbacks": [BOB]}
        case 5 | 6 | 7:
            return fan | {"kf_account": BOB, "fallbacks": [trial.AGENT]}
        case 8:
            return fan | {"kf_account": AWAY, "fallbacks": [BOB, trial.AGENT]}
        case 9:
            return fan | {"kf_account": WRONG, "fallbacks": ["any"]}
        case 10 | 11:
            return fan | {"kf_account": "any"}
        case 12:
            about = {"key": f"order-{number}", "metadata": {"n": number}}
            return fan | {"kf_account": BOB, "lane": "escalation", **about}
        case 13:
            return fan | {"openid": trial.openid(number, "served_carl_"), "kf_account": BOB}
        case 14:
            return fan | {"kf_account": AWAY, "ttl_seconds": short_ttl_seconds}
        case 15:
            return fan | {"openid": trial.openid(number, "wrong_"), "kf_account": trial.AGENT}
        case _:
            return fan | {"kf_account": trial.AGENT}


class Load:
    """The requests of `count` fans, sent as fast as they are allowed and the ledger takes them.

    Who waits in vain does so for `short_ttl_seconds`.
    """

    def __init__(
        self, producer: producers.SessionProducer, count: int, *, short_ttl_seconds: float
    ) -> None:
        #: The ids that producers were told.
        self.accepted: set[str] = set()
        #: How the requests were accepted: new, joined, repeated.
        self.how: Counter[str] = Counter()
        self._producer = producer
        self._count = count
        self._short_ttl_seconds = max(SHORTEST_TTL_SECONDS, short_ttl_seconds)
        self._allowed = threading.Condition()
        self._most = 0
        self._is_over = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to send what is allowed."""
        self._thread.start()

    def allow(self, most: int) -> None:
        """Let so many requests go, in all."""
        with self._allowed:
            self._most = max(self._most, most)
            self._allowed.notify()

    def wait(self, seconds: float) -> None:
        """Until all are accepted; raises TooLate, or what went wrong."""
        self.allow(self._count)
        self._thread.join(seconds)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise trial.TooLate(f"{self._count} requests are accepted: not within {seconds:g} s")

    def stop(self) -> None:
        """Send no more."""
        with self._allowed:
            self._is_over = True
            self._allowed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, wishes: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have these accepted, however often they must be sent, under the same ids; these ids."""
        try:
            results = self._producer.submit_many(wishes)
        except failures.SubmitFailed as error:
            ids = error.ids if len(error.ids) == len(wishes) else [None] * len(wishes)
            results = [self._send_again(*pair) for pair in zip(wishes, ids, strict=True)]
        accepted = []
        for each in results:
            if isinstance(each, Exception):
                raise each
            self.accepted.add(each.id)
            accepted.append(each.id)
            self.how[each.how] += 1
        return accepted

    def _run(self) -> None:
        try:
            for first in range(0, self._count, _CHUNK):
                numbers = range(first, min(first + _CHUNK, self._count))
                with self._allowed:
                    self._allowed.wait_for(lambda at=first: self._most > at or self._is_over)  # type: ignore[misc]
                    if self._is_over:
                        return
                self.submit([wish(number, self._short_ttl_seconds) for number in numbers])
        except BaseException as error:
            self._failure = error

    def _send_again(self, one: Mapping[str, Any], request_id: str | None) -> producers.Receipt:
        ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._producer.submit(one, id=request_id)
            except failures.SubmitFailed as error:
                (request_id,) = error.ids
                if self._is_over or time.monotonic() > ends:
                    raise
                time.sleep(_PAUSE_SECONDS)


class Shifts:
    """Has anna and bob away by turns, with both there in between, from a thread of its own."""

    def __init__(self, wechat: stack.Simulator) -> None:
        self._wechat = wechat
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shifts", daemon=True)

    def __enter__(self) -> Shifts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for name in (trial.AGENT, BOB):
            self._wechat.switch(name, online=True)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the simulator ends before us
            while True:
                for name in (trial.AGENT, BOB):
                    for online in (False, True):
                        self._wechat.switch(name, online=online)
                        if self._is_over.wait(_TURN_SECONDS):
                            return

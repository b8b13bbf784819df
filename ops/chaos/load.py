"""Sends a trial's requests from a thread of its own, and remembers which were accepted.

The fans are of all kinds: most are given to an agent at once, others by a ladder, to any agent, to
one who serves them already, to nobody before their deadline, or are nobody at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import producers
from ops.chaos import trial
from producers import failures

#: Agents of the simulator: who is online, never online, and no agent at all.
BOB, AWAY, WRONG = "bob@hbshop", "offline1@hbshop", "wrong1@hbshop"
#: How long those wait who wait in vain, in seconds, and the shortest life a request can have.
SHORT_TTL_SECONDS, SHORTEST_TTL_SECONDS = 8.0, 1.0

#: How long a producer may take for a few requests, in seconds.
PATIENCE_SECONDS = 60.0
#: How many requests one call of the producer sends.
_CHUNK = 100
_PAUSE_SECONDS = 0.1


def wish(number: int, short_ttl_seconds: float) -> dict[str, Any]:
    """The request of one fan; its kind comes round again after twenty."""
    fan: dict[str, Any] = {"appid": trial.APPID, "openid": trial.openid(number), "lane": "batch"}
    match number % 20:
        case 3 | 4 | 5:
            return fan | {"kf_account": AWAY, "fallbacks": [trial.AGENT, BOB]}
        case 6:
            return fan | {"kf_account": WRONG, "fallbacks": [BOB]}
        case 7:
            return fan | {"kf_account": "any"}
        case 8:
            about = {"key": f"order-{number}", "metadata": {"n": number}}
            return fan | {"kf_account": BOB, "lane": "escalation", **about}
        case 9:
            return fan | {"openid": trial.openid(number, "served_bob_"), "kf_account": trial.AGENT}
        case 10:
            return fan | {"kf_account": AWAY, "ttl_seconds": short_ttl_seconds}
        case 11:
            return fan | {"openid": trial.openid(number, "wrong_"), "kf_account": trial.AGENT}
        case _:
            return fan | {"kf_account": trial.AGENT}


class Load:
    """The requests of `count` fans, sent as fast as the ledger takes them; `start` begins.

    Who waits in vain does so for `short_ttl_seconds`.
    """

    def __init__(
        self, producer: producers.SessionProducer, count: int, *, short_ttl_seconds: float
    ) -> None:
        #: The ids that producers were told.
        self.accepted: set[str] = set()
        self._producer = producer
        self._count = count
        self._short_ttl_seconds = max(SHORTEST_TTL_SECONDS, short_ttl_seconds)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="load", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until all are accepted; raises TooLate."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._is_over.set()
            raise trial.TooLate(f"{self._count} requests are accepted: not within {seconds:g} s")

    def stop(self) -> None:
        """Send no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _send(self) -> None:
        for numbers in _chunks(self._count):
            self.submit([wish(number, self._short_ttl_seconds) for number in numbers])

    def submit(self, wishes: Sequence[Mapping[str, Any]]) -> None:
        """Have these accepted, however often they must be sent: some may be there already then."""
        while not self._is_over.is_set():
            try:
                receipts = self._producer.submit_many(wishes)
            except failures.SubmitFailed:
                time.sleep(_PAUSE_SECONDS)
                continue
            for each in receipts:
                if isinstance(each, Exception):
                    raise each
                self.accepted.add(each.id)
            return


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, _CHUNK):
        yield range(start, min(start + _CHUNK, count))

"""Takes the requests that one run of `route` submitted and keeps count of what became of them."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Collection

from producers.route import standing
from worker.contract import record
from worker.ledger import reader


class Tally:
    """One run's requests of one account: those that are live, and how many ended how."""

    def __init__(self, appid: str) -> None:
        self._appid = appid
        #: The id of each live request, by its fan.
        self._ids: dict[str, str] = {}
        #: Live requests as they were last seen, by id.
        self._seen: dict[str, record.Record] = {}
        #: Every fan this run submitted.
        self.openids: set[str] = set()
        #: Requests by how they ended.
        self.ended: collections.Counter[str] = collections.Counter()
        #: How many fans each agent got.
        self.routed: collections.Counter[str] = collections.Counter()

    @property
    def open(self) -> int:
        """How many are not over."""
        return len(self._ids)

    @property
    def live(self) -> Collection[record.Record]:
        """Those that are not over, as they were last seen."""
        return self._seen.values()

    def is_settled(self, now: datetime.datetime) -> bool:
        """Whether every request is over, or waits for something that may last."""
        has_unseen = len(self._seen) < len(self._ids)
        return not has_unseen and not any(standing.is_moving(one, now) for one in self.live)

    def add(self, openid: str, request_id: str) -> None:
        """A request was submitted."""
        self._ids[openid] = request_id
        self.openids.add(openid)

    def refresh(self, reads: reader.Reader) -> None:
        """Read again what is not over."""
        newest = reads.newest_of_fans(self._appid, list(self._ids))
        for openid, request_id in list(self._ids.items()):
            one = newest.get(openid)
            if one is None or one.id != request_id:  # the fan has a newer one already
                one = reads.get(request_id)
            if one is None:
                continue
            if one.final:
                self._end(openid, one)
            else:
                self._seen[request_id] = one

    def _end(self, openid: str, one: record.Record) -> None:
        del self._ids[openid]
        self._seen.pop(one.id, None)
        self.ended[one.status] += 1
        if one.is_success and one.served_by:
            self.routed[one.served_by] += 1

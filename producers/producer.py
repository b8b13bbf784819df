"""Takes requests from Python code, writes them to the ledger, and tells what became of them.

`SessionProducer` is lazy, thread-safe, and safe after a fork. It needs no worker code beyond the
contract and the ledger, and runs inside web servers, scripts and notebooks.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from producers import chunks, failures, link
from worker import errors
from worker.contract import record, request, settings
from worker.ledger import reader, receipts, request_ids

#: Shortest and longest pause between two looks of `wait`, in seconds.
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.05, 1.0
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{20}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a cancel or a retry came to.

    `result` of a cancel: cancelled; asked (a call under way decides); final (`detail` is the status
    that stands); unknown. Of a retry: queued (`detail` is the lane); live or succeeded (the status
    that stands); superseded (the fan's other live request); unknown.
    """

    id: str
    result: str
    detail: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether it was done, or will be as far as WeChat lets it."""
        return self.result in ("cancelled", "asked", "queued")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a pause or resume came to; without `kf_account` it is the whole account's."""

    appid: str
    kf_account: str | None
    is_paused: bool
    has_changed: bool


class SessionProducer:
    """One deployment's producer; make one a process and share it among threads.

    Every method raises LedgerUnavailable when Redis does not answer.
    """

    def __init__(self, config: settings.Settings) -> None:
        self._config = config
        self._links: dict[int, link.Link] = {}

    @classmethod
    def from_env(cls) -> SessionProducer:
        """With the settings of the environment; raises InvalidSettings when one is wrong."""
        return cls(settings.load())

    # -- writing -----------------------------------------------------------------------------------

    def submit(
        self, wish: chunks.Wish | None = None, /, *, id: str | None = None, **fields: Any
    ) -> receipts.Receipt:
        """Write one request, given as a SessionRequest, a mapping, or keywords named as its fields.

        Returns or raises within KF_SUBMIT_TIMEOUT_SECONDS: InvalidRequest when a rule is broken,
        SubmitFailed when Redis did not answer. Give that error's id as `id` to send it again.
        """
        until = time.monotonic() + self._config.submit_timeout_seconds
        checked = chunks.checked(fields if wish is None else wish)
        request_id = request_ids.new_id() if id is None else _checked_id(id)
        current = self._link()
        try:
            receipt = current.write(lambda: current.ledger.submit(checked, request_id))
        except errors.LedgerUnavailable as error:
            raise failures.SubmitFailed(error, ids=[request_id]) from None
        if chunks.is_to_ring(checked, receipt):
            current.ring(checked.lane, [receipt.id], until=until)
        return receipt

    def submit_many(self, wishes: Iterable[chunks.Wish]) -> list[chunks.Result]:
        """Write many requests; a Receipt or an InvalidRequest for each, in their order.

        Raises SubmitFailed when Redis did not answer; its `results` are those got before.
        """
        results: list[chunks.Result] = []
        try:
            results.extend(self.stream(wishes))
        except failures.SubmitFailed as error:
            error.results = results
            raise
        return results

    def stream(self, wishes: Iterable[chunks.Wish]) -> Iterator[chunks.Result]:
        """`submit_many` for more requests than memory holds: nothing is sent until it is iterated.

        Reads about 1500 wishes ahead. Raises SubmitFailed when Redis did not answer.
        """
        yield from chunks.submit(wishes, self._link())

    def cancel(self, request_id: str) -> Change:
        """Take a request back."""
        current = self._link()
        answer = current.write(lambda: current.ledger.cancel(request_id))
        if answer in ("cancelled", "asked", "unknown"):
            return Change(id=request_id, result=answer)
        return Change(id=request_id, result="final", detail=answer)

    def retry(self, request_id: str) -> Change:
        """Run a failed, expired or cancelled request again, with a fresh deadline and budget."""
        until = time.monotonic() + self._config.submit_timeout_seconds
        current = self._link()
        result, detail = current.write(lambda: current.ledger.retry(request_id))
        if result == "queued":
            current.ring(request.Lane(detail), [request_id], until=until)
        return Change(id=request_id, result=result, detail=detail or None)

    def pause(self, kf_account: str | None = None, *, appid: str | None = None) -> Gate:
        """Hold an account's requests, or those for one agent; deadlines run on.

        Raises InvalidRequest for an agent or account that cannot be meant.
        """
        return self._turn(kf_account, appid, is_paused=True)

    def resume(self, kf_account: str | None = None, *, appid: str | None = None) -> Gate:
        """Let go what `pause` holds."""
        return self._turn(kf_account, appid, is_paused=False)

    def _turn(self, kf_account: str | None, appid: str | None, *, is_paused: bool) -> Gate:
        if kf_account is not None:
            request.check_single_agent(kf_account)
        current = self._link()
        turn = current.ledger.accounts.pause if is_paused else current.ledger.accounts.resume
        found, has_changed = current.write(lambda: turn(appid or "", kf_account or ""))
        return Gate(
            appid=found, kf_account=kf_account, is_paused=is_paused, has_changed=has_changed
        )

    def want_reading(self, appids: Sequence[str]) -> None:
        """Ask the workers to read who is online in these accounts, although nobody waits."""
        current = self._link()
        current.write(lambda: current.ledger.accounts.want_reading(appids))

    # -- reading -----------------------------------------------------------------------------------

    def get(self, request_id: str) -> record.Record | None:
        """One record as it stands, or None for an unknown id."""
        with self.reading() as reads:
            return reads.get(request_id)

    def find(
        self, *, openid: str | None = None, key: str | None = None, appid: str | None = None
    ) -> record.Record | None:
        """The fan's newest request, or the one a key stands for; give one of the two."""
        with self.reading() as reads:
            if openid is not None and key is None:
                return reads.newest_of_fan(openid, appid)
            if key is not None and openid is None:
                return reads.by_key(key, appid)
        raise ValueError("find: give openid or key, one of them")

    def wait(self, request_id: str, timeout: float) -> record.Record | None:
        """The record once it is final, else as it is after `timeout` seconds; None: unknown id."""
        ends = time.monotonic() + timeout
        pause = _FIRST_LOOK_SECONDS
        while True:
            one = self.get(request_id)
            left = ends - time.monotonic()
            if one is None or one.final or left <= 0:
                return one
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, _LAST_LOOK_SECONDS)

    def events(
        self, since: str | datetime.datetime = "0", *, follow: bool = False
    ) -> Iterator[reader.Event]:
        """Changes of state, oldest first: after a position (an event's), or from a moment on.

        With `follow` it goes on for ever, waiting for the next; otherwise it ends with the newest.
        """
        after = since if isinstance(since, str) else _position_before(since)
        block_ms = round(min(1.0, self._config.submit_timeout_seconds / 2) * 1000)
        while True:
            with self.reading() as reads:
                page = reads.events(after, block_ms=block_ms if follow else None)
            yield from page
            if page:
                after = page[-1].position
            elif not follow:
                return

    def reading(self) -> AbstractContextManager[reader.Reader]:
        """The whole read model, for listings and counts: `with producer.reading() as reads: …`."""
        return self._link().reading()

    # -- what is open ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what this process opened; the next use opens it again."""
        current = self._links.pop(os.getpid(), None)
        if current is not None:
            current.close()

    def __enter__(self) -> SessionProducer:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _link(self) -> link.Link:
        """This process's link. A child of a fork must not touch its parent's sockets or locks."""
        process = os.getpid()
        current = self._links.get(process)
        if current is None:  # building opens nothing, so the loser of a race is simply dropped
            current = self._links.setdefault(process, link.Link(self._config))
        return current


def _checked_id(request_id: str) -> str:
    if not _ID.fullmatch(request_id):
        raise request.InvalidRequest(f"id: {request_id!r}: not an id that a submit has named")
    return request_id


def _position_before(moment: datetime.datetime) -> str:
    """The last position an event before `moment` can have."""
    return f"{max(0, round(moment.timestamp() * 1000) - 1)}-{2**64 - 1}"

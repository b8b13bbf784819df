"""The ledger's steps, for producers and workers: each is one atomic script, so no crash splits it.

`submit → claim → renew* → settle` is the life of a request seen from here; `cancel` and `retry` are
an operator's. `waiting` holds the waiting room's steps, `accounts` those about accounts and their
agents. Every step may be sent again when its reply was lost: scripts recognise
their own work by id, holder or fence.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from worker import errors
from worker.contract import record, request, settings
from worker.ledger import (
    accounts,
    attempts,
    claims,
    dead_list,
    keys,
    receipts,
    replicated,
    waiting,
)
from worker.ledger import scripts as lua

#: How long an idempotency key is kept at least, in ms.
KEY_MS = 24 * 3600 * 1000

#: How many wishes one script writes, so that Redis serves nobody else for a few ms only.
WISHES_A_SCRIPT = 50


class Ledger:
    """One deployment's requests in one Redis."""

    def __init__(self, client: redis.Redis, config: settings.Settings) -> None:
        self.client = client
        self.keys = keys.Keys(config.key_prefix)
        self._config = config
        self._lease_ms = round(config.lease_seconds * 1000)
        retention_ms, url = round(config.retention_hours * 3600 * 1000), config.ledger_url
        self._scripts = lua.Scripts(client, self.keys.base, retention_ms=retention_ms, url=url)
        self._submits = self._scripts
        if config.submit_replicas:
            self._submits = replicated.ReplicatedScripts(
                client,
                self.keys.base,
                retention_ms=retention_ms,
                url=url,
                replicas=config.submit_replicas,
                within_seconds=config.submit_timeout_seconds,
            )
        self.accounts = accounts.Accounts(client, self.keys, self._scripts)
        self.waiting = waiting.Waiting(self._scripts, lease_ms=self._lease_ms)
        self.dead_list = dead_list.DeadList(client, self.keys, self._scripts)

    # -- producers -------------------------------------------------------------------------------

    def submit(self, wish: request.SessionRequest, request_id: str) -> receipts.Receipt:
        """Write `wish` under `request_id`; sending it again under the same id is safe.

        Raises InvalidRequest when the ledger refuses it, LedgerUnavailable when Redis did not
        answer, or too few replicas have it (KF_SUBMIT_REPLICAS).
        """
        now = datetime.datetime.now(datetime.UTC)
        arguments = self._submit_arguments(wish, request_id, now)
        (answer,) = self._submits.run("submit", KEY_MS, *arguments)
        result = receipts.read(answer, wish, request_id)
        if isinstance(result, request.InvalidRequest):
            raise result
        return result

    def submit_many(
        self, wishes: Sequence[tuple[request.SessionRequest, str]]
    ) -> list[receipts.Receipt | request.InvalidRequest]:
        """Write many (wish, id) pairs in one round trip; what is refused stands in its place."""
        now = datetime.datetime.now(datetime.UTC)
        fit: list[tuple[lua.Argument, ...]] = []
        refused: dict[int, request.InvalidRequest] = {}
        for place, (wish, request_id) in enumerate(wishes):
            try:
                fit.append(self._submit_arguments(wish, request_id, now))
            except request.InvalidRequest as error:
                refused[place] = error
        calls = [
            (KEY_MS, *itertools.chain.from_iterable(fit[at : at + WISHES_A_SCRIPT]))
            for at in range(0, len(fit), WISHES_A_SCRIPT)
        ]
        answers = itertools.chain.from_iterable(self._submits.run_many("submit", calls))
        return [
            refused.get(place) or receipts.read(next(answers), wish, request_id)
            for place, (wish, request_id) in enumerate(wishes)
        ]

    def _submit_arguments(
        self, wish: request.SessionRequest, request_id: str, now: datetime.datetime
    ) -> tuple[lua.Argument, ...]:
        return (
            request_id,
            wish.appid or "",
            wish.openid,
            "|".join(wish.targets),
            wish.lane.value,
            wish.ttl_ms(self._config.default_ttl_seconds(wish.lane), now),
            wish.key or "",
            wish.digest if wish.key else "",
            wish.metadata_json,
        )

    # -- workers ---------------------------------------------------------------------------------

    def claim(
        self,
        ids: Sequence[str],
        holder: str,
        *,
        rest_seconds: float = 5.0,
        again: bool = False,
        taker: claims.Taker = claims.ANYBODY,
        prefers_tried: bool = False,
    ) -> claims.Taken:
        """Answer a doorbell for `ids`: take the next request, whoever that is.

        Escalations go before batches, accounts take turns, and of each the oldest goes first.
        Those for whom nobody can be asked go to their room, which `rest_seconds` wakes where
        presence does not. `holder` names the delivery; `again` says that an earlier try of this
        claim had no answer. Accounts that `taker` leaves to others, or that hold their share of its
        slots, are passed by. `prefers_tried` takes somebody who is tried again before a first
        try; otherwise first tries go first.
        """
        lease_ends = self._lease_ends()
        following = self._following(
            holder, taker, rest_seconds=rest_seconds, again=again, prefers_tried=prefers_tried
        )
        is_unread, has_more, unknown, passed_on, *row = self._scripts.run("claim", *following, *ids)
        return dataclasses.replace(
            _taken((is_unread, has_more, *row), lease_ends),
            unknown=tuple(unknown),
            passed_on=tuple(passed_on),
        )

    def settle(
        self,
        claim: claims.Claim,
        settlement: claims.Settlement,
        holder: str,
        *,
        rest_seconds: float = 5.0,
        take_next: bool = True,
        again: bool = False,
        taker: claims.Taker = claims.ANYBODY,
        prefers_tried: bool = False,
    ) -> claims.Taken:
        """Write what became of `claim` and, unless told not to, take the next request with it."""
        progress = settlement.progress
        following: tuple[lua.Argument, ...] = ()
        if take_next:
            following = self._following(
                holder, taker, rest_seconds=rest_seconds, again=again, prefers_tried=prefers_tried
            )
        lease_ends = self._lease_ends()
        written, stirred, *taken = self._scripts.run(
            "settle",
            claim.id,
            claim.fence,
            settlement.status.value,
            settlement.reason or "",
            settlement.holds.value,
            round(settlement.wait_seconds * 1000),
            progress.doubt.mark,
            settlement.served_by or "",
            progress.attempt_count,
            progress.api_calls,
            settlement.strikes,
            settlement.crashes,
            "|".join(sorted(settlement.out)),
            settlement.because,
            round((settlement.hanging_seconds or 0) * 1000),
            settlement.hung_ms,
            taker.worker,
            settlement.mark,
            len(progress.attempts),
            *_packed(progress, claim.targets),
            *following,
        )
        is_ours = written != "lost"
        return dataclasses.replace(
            _taken(taken[0] if taken else (0, 0), lease_ends),
            settled=is_ours,
            became=written if is_ours else None,
            has_stirred=bool(stirred),
        )

    def renew(
        self, claim: claims.Claim, kf_account: str, progress: claims.Progress
    ) -> claims.Claim:
        """Keep `claim` for a call to `kf_account`, who stands in the ledger before the call.

        Raises LeaseLost when the claim is somebody else's. The answer says whether the request was
        taken back meanwhile.
        """
        return self._renew(claim, progress, kf_account=kf_account)

    def find_next(
        self,
        claim: claims.Claim,
        progress: claims.Progress,
        *,
        out: Iterable[str],
        offline: str | None = None,
        visited: Iterable[str] = (),
    ) -> claims.Claim:
        """Keep `claim` for the next target that can be asked: its `calling`, else its `held_for`.

        `out` are the targets found wrong; `offline` is an agent whom WeChat just said to be so:
        nobody asks that one until a later reading says otherwise, and for some time where the last
        one did. Who was `visited` in this delivery is not asked again; after the deadline nobody
        is (`is_over`). Raises LeaseLost.
        """
        return self._renew(claim, progress, out=out, offline=offline or "", visited=visited)

    def _renew(
        self,
        claim: claims.Claim,
        progress: claims.Progress,
        *,
        kf_account: str | None = None,
        out: Iterable[str] = (),
        offline: str = "",
        visited: Iterable[str] = (),
    ) -> claims.Claim:
        lease_ends = self._lease_ends()
        what, *found = self._scripts.run(
            "renew",
            claim.id,
            claim.fence,
            kf_account or "",
            int(kf_account is None),
            self._lease_ms,
            progress.doubt.mark,
            "|".join(sorted(out)),
            offline,
            "|".join(sorted(visited)),
            progress.attempt_count,
            progress.api_calls,
            len(progress.attempts),
            *_packed(progress, claim.targets),
        )
        if what == "lost":
            raise errors.LeaseLost(f"{claim.id}: its lease ran out and it was taken back")
        calling, reason, needs_reading, left_ms = found
        return dataclasses.replace(
            claim,
            calling=calling or None,
            held_for=record.reason_of(reason),
            needs_reading=bool(needs_reading),
            is_cancelled=what == "cancelled",
            is_over=what == "over",
            seconds_left=left_ms / 1000,
            lease_ends=lease_ends,
        )

    def _following(
        self,
        holder: str,
        taker: claims.Taker,
        *,
        rest_seconds: float,
        again: bool,
        prefers_tried: bool,
    ) -> tuple[lua.Argument, ...]:
        rest_ms = round(rest_seconds * 1000)
        by = (taker.worker, taker.leaves, taker.slots, taker.served)
        return (holder, self._lease_ms, int(again), rest_ms, *by, int(prefers_tried))

    def _lease_ends(self) -> float:
        """Taken before the script runs, so that we think the lease over before Redis does."""
        return time.monotonic() + self._lease_ms / 1000

    # -- operators -------------------------------------------------------------------------------

    def cancel(self, request_id: str) -> str:
        """Take a request back.

        Returns `cancelled`; `asked` when a call under way, or a read-back, decides first; else the
        final status that stands, or `unknown`.
        """
        return str(self._scripts.run("cancel", request_id))

    def retry(self, request_id: str) -> tuple[str, str]:
        """Run a failed, expired or cancelled request again.

        Returns (`queued`, lane); or why not: `unknown`, `live` and `succeeded` with the status that
        stands, `superseded` with the fan's other live request.
        """
        ttls = (self._config.default_ttl_seconds(lane) for lane in request.Lane)
        what, *detail = self._submits.run("retry", request_id, *(round(ttl * 1000) for ttl in ttls))
        return str(what), str(detail[0]) if detail else ""

    def count(self, name: str) -> None:
        """Count something odd, for `status` to show."""
        with self._scripts.reaching():
            self.client.hincrby(self.keys.counters, name, 1)


def _packed(progress: claims.Progress, targets: Sequence[str]) -> list[lua.Argument]:
    first = progress.api_calls - len(progress.attempts)
    return [
        part
        for number, attempt in enumerate(progress.attempts, start=first)
        for part in attempts.pack(attempt, number, targets)
    ]


def _taken(answer: Sequence[Any], lease_ends: float) -> claims.Taken:
    needs_reading, has_more, *row = answer
    return claims.Taken(
        claim=claims.Claim.parse(row[0], lease_ends=lease_ends) if row and row[0] else None,
        has_more=bool(has_more),
        needs_reading=bool(needs_reading),
    )

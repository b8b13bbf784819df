"""What the ledger knows of accounts and their agents: who is online, what is paused or held.

`announce` is a worker's sign of life; `watch → observe` or `cannot_tell` is one reading of who is
online; `pause` and `resume` are an operator's. Each step is one atomic script.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from worker import errors
from worker.contract import request
from worker.ledger import claims, keys, moments
from worker.ledger import scripts as lua

#: How long a wish for a reading stands, in seconds.
WANTED_SECONDS = 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An account whose agents this worker is to read now."""

    appid: str
    #: When it was taken, by the server's clock; the reading begins no earlier.
    began_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a worker's beat learns of the other workers."""

    #: Whether it stepped back from an account that no other worker can serve now.
    is_needed: bool
    #: The accounts that other workers serve, and this one does not.
    others: frozenset[str] = frozenset()
    #: The scopes whose mark somebody removed, since the trouble is mended: probe now.
    hurried: frozenset[str] = frozenset()


class Accounts:
    """The accounts of one deployment."""

    def __init__(self, client: redis.Redis, names: keys.Keys, scripts: lua.Scripts) -> None:
        self._client = client
        self._keys = names
        self._scripts = scripts

    # -- workers ---------------------------------------------------------------------------------

    def announce(
        self,
        worker: str,
        about: Mapping[str, Any],
        capacities: Mapping[str, Mapping[str, int]],
        marks: Sequence[str] = (),
    ) -> Fleet:
        """Say that `worker` lives, and what it alone cannot do; returns how others stand.

        `capacities` holds each account it serves: how many sessions an agent may serve, under
        "" for all, and under the name of each that differs; 0 is no limit. `marks` are all those
        with which it stepped back (`scripts/machines.lua`); one that is not there any more ends.
        Three beats' silence means that others cannot count on it, a minute's that it is gone.
        Raises SchemaTooNew when a newer release has written this ledger.
        """
        told = [part for appid, own in capacities.items() for part in (appid, _capacity(own))]
        schema, is_needed, others, hurried = self._scripts.run(
            "announce", keys.SCHEMA, worker, json.dumps(about), len(capacities), *told, *marks
        )
        if schema > keys.SCHEMA:
            raise errors.SchemaTooNew(
                f"the ledger has schema {schema}, this release knows {keys.SCHEMA}: upgrade it"
            )
        return Fleet(
            is_needed=bool(is_needed), others=frozenset(others), hurried=frozenset(hurried)
        )

    def depart(self, worker: str, appids: Iterable[str] = ()) -> None:
        """Say that `worker`, who served these accounts, is gone."""
        self._scripts.run("depart", worker, *appids)

    def watch(
        self, limit: int, *, interval_seconds: float, taker: claims.Taker = claims.ANYBODY
    ) -> list[Reading]:
        """Take up to `limit` accounts that somebody waits for and that are due for a reading.

        Nobody else gets the same account before `interval_seconds` are over. What `taker`
        leaves to others is not taken.
        """
        interval_ms = round(interval_seconds * 1000)
        now_ms, appids = self._scripts.run("watch", limit, interval_ms, taker.leaves, taker.worker)
        return [Reading(appid=appid, began_ms=int(now_ms)) for appid in appids]

    def observe(
        self,
        reading: Reading,
        sessions: Mapping[str, int],
        *,
        interval_seconds: float,
        trusted_seconds: float,
    ) -> int:
        """Write who is online, with the sessions each serves; returns how many came.

        The account is read again after `interval_seconds` at the earliest; what this reading says
        stands for `trusted_seconds`.
        """
        online = [name for name in sessions if _is_name(name)]
        return int(
            self._scripts.run(
                "observe",
                reading.appid,
                reading.began_ms,
                round(interval_seconds * 1000),
                round(trusted_seconds * 1000),
                *(part for name in online for part in (name, sessions[name])),
            )
        )

    def name(self, appid: str, able: Iterable[str], unable: Iterable[str]) -> None:
        """Write which agents the account has: those able to serve, and those who are not bound.

        Nobody at all is no answer.
        """
        can, cannot = list(filter(_is_name, able)), list(filter(_is_name, unable))
        if can or cannot:
            self._scripts.run("names", appid, len(can), *can, *cannot)

    def cannot_tell(
        self,
        reading: Reading,
        why: str,
        *,
        interval_seconds: float,
        worker: str = "",
        mark: str = "",
    ) -> bool:
        """Nobody can tell who is online: `why` is "errcode errmsg"; whether this is news.

        Where the trouble is this worker's own, it steps back with `mark`, and another one reads.
        """
        interval_ms = round(interval_seconds * 1000)
        told = self._scripts.run(
            "blind", reading.appid, reading.began_ms, why, interval_ms, worker, mark
        )
        return bool(told)

    # -- operators -------------------------------------------------------------------------------

    def want_reading(self, appids: Iterable[str]) -> None:
        """Ask the workers for a reading of who is online, although nobody waits.

        It comes when the account's next one may begin.
        """
        wanted = list(appids)
        with self._scripts.reaching(), self._client.pipeline() as pipe:
            pipe.time()
            for appid in wanted:
                pipe.hmget(self._keys.account(appid), "next", "tried")
            (seconds, _), *told = pipe.execute()
            for appid, (next_ms, tried_ms) in zip(wanted, told, strict=True):
                pipe.set(self._keys.wanted(appid), 1, ex=WANTED_SECONDS)
                next_ms = moments.next_reading_ms(next_ms, tried_ms, seconds * 1000)
                pipe.zadd(self._keys.watch, {appid: next_ms})
            pipe.execute()

    def pause(self, appid: str = "", kf_account: str = "") -> tuple[str, bool]:
        """Hold an account's requests, or those for one agent; nothing is dropped, deadlines run.

        Without `appid` it is the only account known. Returns the account, and whether that changed
        anything. Raises InvalidRequest when there is no such account.
        """
        return self._turn(appid, kf_account, is_paused=True)

    def resume(self, appid: str = "", kf_account: str = "") -> tuple[str, bool]:
        """Let go what `pause` holds; answers as `pause` does."""
        return self._turn(appid, kf_account, is_paused=False)

    def _turn(self, appid: str, kf_account: str, *, is_paused: bool) -> tuple[str, bool]:
        found, *said = self._scripts.run("gate", appid, kf_account, int(is_paused))
        if found == "refused":
            why, known = said
            raise request.InvalidRequest(unknown_account(why, known, appid))
        return str(found), bool(said[0])


def unknown_account(why: str, known: str, appid: str | None) -> str:
    """What is wrong with the account named, or not named, and the mend."""
    match why:
        case "which_account" if known:
            return f"appid: missing, and the ledger knows several accounts; name one of {known}"
        case "which_account":
            return "appid: missing, and no worker has announced an account; start one, or name it"
        case _:
            return f"appid: {appid!r}: no worker serves it; known are {known}"


def _capacity(own: Mapping[str, int]) -> str:
    """As the scripts read it: "20 anna@shop 50 "."""
    single = "".join(f"{name} {number} " for name, number in own.items() if name)
    return f"{own.get('', 0)} {single}"


def _is_name(kf_account: str) -> bool:
    """Whether the scripts can list it: prefix@account, without a space or a bar."""
    return "@" in kf_account and not any(each.isspace() or each == "|" for each in kf_account)

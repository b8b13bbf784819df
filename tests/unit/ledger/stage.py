"""One deployment's ledger on any Redis, with the moves that every ledger test makes.

The clock is the server's own, so a test does not move it forward: it moves everything that the
ledger remembers back (`pass_seconds`), which comes to the same on a fake and on a real server.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable
from typing import Any

import redis

from worker.contract import record, request, settings
from worker.ledger import claims, keys, ledger, reader, receipts

APPID, AGENT, OTHER, FAN = "wx1", "kf1@acct", "kf2@acct", "oFAN0000000000000000000000001"
#: Both lanes may be rung.
RING = dict.fromkeys(request.Lane, True)
SILENCE = dict.fromkeys(request.Lane, False)
EXPIRED = reader.Filter(status=record.Status.EXPIRED)

_HASH_TIMES = ("submitted_at", "updated_at", "deadline_at", "next_attempt_at", "finished_at")
_EXPIRING = ("key:", "doubt:")


class Stage:
    """A ledger, its reader, and shorthands for what tests do with them."""

    def __init__(self, client: redis.Redis, prefix: str, **overrides: Any) -> None:
        self.client = client
        self.config = settings.Settings(key_prefix=prefix, _env_file=None, **overrides)
        self.ledger = ledger.Ledger(client, self.config)
        self.reader = reader.Reader(client, prefix)
        self.keys = keys.Keys(prefix)
        self._ids = iter(range(10**6))

    # -- a request's way ----------------------------------------------------------------------

    def wish(self, openid: str = FAN, **fields: Any) -> request.SessionRequest:
        given = {"openid": openid, "kf_account": AGENT, "appid": APPID, **fields}
        return request.SessionRequest.parse(given)

    def submit(
        self, openid: str = FAN, *, id: str | None = None, **fields: Any
    ) -> receipts.Receipt:
        own = id or f"id{next(self._ids):05d}"
        return self.ledger.submit(self.wish(openid, **fields), own)

    def claim(self, *ids: str, holder: str = "w1") -> claims.Claim:
        """The claim that must be there to take."""
        claim = self.ledger.claim(ids, holder).claim
        assert claim is not None
        return claim

    def called(self, *ids: str, holder: str = "w1") -> claims.Claim:
        """A claim whose agent stands in the ledger, as right before a call."""
        claim = self.claim(*ids, holder=holder)
        return self.ledger.renew(claim, AGENT, progress(claim))

    def settle(self, claim: claims.Claim, status: str, **fields: Any) -> claims.Taken:
        return self.ledger.settle(
            claim, settlement(claim, status, **fields), [], "w1", take_next=False
        )

    def wait(self, request_id: str, reason: str = "agent_offline", seconds: float = 60) -> None:
        """Bring a queued request to `waiting`."""
        claim = self.claim(request_id)
        assert claim.id == request_id
        self.settle(claim, "waiting", reason=reason, wait_seconds=seconds)

    def finish(self, request_id: str, status: str, reason: str | None = None) -> None:
        """Bring a queued request to a final state, as it gets there in life."""
        if status == "cancelled":
            assert self.ledger.cancel(request_id) == status
            return
        if status == "expired":
            self.pass_seconds(49 * 3600)
            assert self.wake().expired == 1
            return
        claim = self.claim(request_id)
        assert claim.id == request_id
        self.settle(claim, status, reason=reason)

    def doubted(self, kf_account: str = AGENT, openid: str = FAN) -> str:
        """A queued request of a fan who may have been given to `kf_account`."""
        request_id = self.submit(openid).id
        claim = self.claim(request_id)
        self.settle(
            claim,
            "waiting",
            reason="transient",
            doubt=claims.Doubt.about(kf_account),
            wait_seconds=0,
        )
        self.wake()
        return request_id

    def wake(
        self, *, limit: int = 100, ring: dict[request.Lane, bool] | None = None
    ) -> ledger.Woken:
        return self.ledger.wake(limit, RING if ring is None else ring)

    def get(self, request_id: str) -> record.Record:
        one = self.reader.get(request_id)
        assert one is not None
        return one

    def status(self, request_id: str) -> str:
        return self.get(request_id).status.value

    def doubt(self, openid: str = FAN) -> str | None:
        return self.client.get(self.keys.doubt(APPID, openid))

    def due_in_seconds(self, request_id: str) -> float | None:
        score = self.client.zscore(self.keys.due, request_id)
        seconds, micros = self.client.time()
        return None if score is None else score / 1000 - seconds - micros / 1e6

    # -- the clock ----------------------------------------------------------------------------

    def pass_seconds(self, seconds: float) -> None:
        """Move everything the ledger remembers so far into the past."""
        ms = round(seconds * 1000)
        for key in self.all_keys():
            name = key.removeprefix(self.keys.base)
            if name in ("due", "retention") or name.startswith("index:"):
                for member in self.client.zrange(key, 0, -1):
                    self.client.zincrby(key, -ms, member)
            elif name.startswith("request:"):
                known = self.client.hgetall(key)
                for field in (*_HASH_TIMES, "kept_until"):
                    if field in known:
                        self.client.hset(key, field, int(known[field]) - ms)
            elif name.startswith(_EXPIRING):
                left = self.client.pttl(key)
                if left > ms:
                    self.client.pexpire(key, left - ms)
                else:
                    self.client.delete(key)

    # -- the whole ledger ---------------------------------------------------------------------

    def all_keys(self) -> set[str]:
        return set(self.client.scan_iter(match=self.keys.base + "*", count=1000))

    def events(self) -> list[tuple[str, str, str]]:
        return [(each.id, each.status.value, each.reason or "") for each in self.reader.events()]

    def check(self) -> None:
        """Whatever happened, the structures of the ledger agree with the records."""
        records = {
            key.rpartition(":")[2]: self.client.hgetall(key)
            for key in self.all_keys()
            if key.startswith(self.keys.request(""))
        }
        counted: dict[str, set[str]] = {}
        for request_id, fields in records.items():
            status = record.Status(fields["status"])
            detail = {"queued": fields["lane"], "calling": "", "created": "", "already_served": ""}
            key = self.keys.index(status, detail.get(status.value, fields["reason"]))
            counted.setdefault(key, set()).add(request_id)
        stored = {
            key: set(self.client.zrange(key, 0, -1))
            for key in self.all_keys()
            if key.startswith(self.keys.base + "index:")
        }
        assert stored == counted
        final = {
            each for each, fields in records.items() if record.Status(fields["status"]).is_final
        }
        assert set(self.client.zrange(self.keys.due, 0, -1)) == set(records) - final
        assert set(self.client.zrange(self.keys.retention, 0, -1)) == final
        sizes = sum(size for each in self.reader.counts().values() for size in each.values())
        assert sizes == len(records), "counts() knows every index"
        live = [
            (fields["appid"], fields["openid"])
            for each, fields in records.items()
            if each not in final
        ]
        assert len(live) == len(set(live)), "one live request per fan"
        last = {event_id: (status, reason) for event_id, status, reason in self.events()}
        for request_id, fields in records.items():
            said = "" if fields["status"] in ("queued", "calling") else fields["reason"]
            assert last[request_id] == (fields["status"], said)

    def clean_up(self) -> None:
        """Remove this deployment's keys, and no others."""
        if keys_left := self.all_keys():
            with contextlib.suppress(redis.RedisError):
                self.client.delete(*keys_left)


def progress(
    claim: claims.Claim,
    *,
    attempts: Iterable[record.Attempt] = (),
    doubt: claims.Doubt | None = None,
    attempt_count: int | None = None,
) -> claims.Progress:
    made = tuple(attempts)
    return claims.Progress(
        attempt_count=claim.attempt_count if attempt_count is None else attempt_count,
        api_calls=claim.api_calls + len(made),
        attempts=made,
        doubt=doubt or claims.Doubt(),
    )


def settlement(
    claim: claims.Claim, status: str, *, reason: str | None = None, **fields: Any
) -> claims.Settlement:
    told = {
        name: fields.pop(name) for name in ("attempts", "doubt", "attempt_count") if name in fields
    }
    return claims.Settlement(
        status=record.Status(status),
        reason=record.Reason(reason) if reason else None,
        progress=progress(claim, **told),
        **fields,
    )


def attempt(kf_account: str = AGENT, errcode: int | None = 65415, **fields: Any) -> record.Attempt:
    known = {
        "at": datetime.datetime.now(datetime.UTC).replace(microsecond=123000),
        "errmsg": "agent is offline",
        "rid": "6528a1b2-0c3d4e5f-1a2b3c4d",
        "error": "offline",
        "elapsed_ms": 123,
    }
    return record.Attempt(kf_account=kf_account, errcode=errcode, **{**known, **fields})

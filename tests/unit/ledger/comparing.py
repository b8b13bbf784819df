"""Compares the model with what stands in Redis after a step, and lets it take over exact times."""

from __future__ import annotations

import dataclasses

from tests.unit.ledger import model as models
from tests.unit.ledger import recount
from tests.unit.ledger import stage as stages
from tests.unit.ledger.standing import ANSWERED_MS, Account, Request

#: The model's numbers and texts that a record keeps under these names; absent is 0 or "".
_WRITTEN = {
    "appid": "appid",
    "openid": "openid",
    "targets": "targets",
    "lane": "lane",
    "status": "status",
    "reason": "reason",
    "fence": "fence",
    "holder": "holder",
    "calling": "calling",
    "attempts": "attempts",
    "calls": "calls",
    "crashes": "crashes",
    "out": "out",
    "served_by": "served_by",
    "because": "because",
    "key": "key",
}
_TIMES = {
    "submitted_at": "submitted_at",
    "deadline_at": "deadline_at",
    "next_attempt_at": "wake_at",
    "finished_at": "finished_at",
    "kept_until": "kept_until",
}
#: How much a pointer may outlive what the model says: passing time rounds.
_SLACK_MS = 2000


@dataclasses.dataclass(slots=True)
class Comparison:
    """One look at both; times may be later than the model says by what the step took."""

    model: models.Model
    raw: recount.Raw
    took_ms: float

    def run(self) -> None:
        assert set(self.raw.requests) == set(self.model.requests)
        for request_id, fields in self.raw.requests.items():
            self._request(self.model.requests[request_id], fields)
        self._pointers()
        self._lanes()
        for appid, account in self.model.accounts.items():
            self._account(account, dict(self.raw.named["account"].get(appid, {})))

    def _time(self, what: str, expected: int, got: float) -> int:
        assert (expected == 0) == (got == 0), f"{what}: {expected} became {got}"
        assert 0 <= got - expected <= self.took_ms, f"{what}: {got} is {got - expected} ms late"
        return int(got)

    def _request(self, one: Request, fields: dict[str, str]) -> None:
        for name, own in _WRITTEN.items():
            expected, got = getattr(one, own), fields.get(name, "")
            kept = int(got or 0) if isinstance(expected, int) else got
            assert kept == expected, f"{one.id}.{name} is {kept!r}, not {expected!r}"
        assert int(fields.get("generation", 1)) == one.generation
        assert ("cancel" in fields) == one.is_cancelled, f"{one.id}.cancel"
        for name, own in _TIMES.items():
            got = int(fields.get(name, 0))
            setattr(one, own, self._time(f"{one.id}.{name}", getattr(one, own), got))
        due, retention = self.raw.alone.get("due", {}), self.raw.alone.get("retention", {})
        if one.is_final:
            assert one.updated_at <= int(fields["updated_at"])
            at = retention[one.id]
            one.removed_at = self._time(f"{one.id} is removed", one.removed_at, at)
        else:
            one.due_at = self._time(f"{one.id} is due", one.due_at, due[one.id])
        one.updated_at = int(fields["updated_at"])

    def _pointers(self) -> None:
        fans = {f"{appid}:{openid}": says for (appid, openid), says in self.model.newest.items()}
        assert self.raw.named["fan"] == fans
        for kind, known in (
            ("key", self.model.keys),
            ("doubt", self.model.doubts),
            ("joined", self.model.joined),
        ):
            told = {
                name if isinstance(name, str) else ":".join(name): each
                for name, each in known.items()
            }
            assert self.raw.named[kind] == {name: each.says for name, each in told.items()}, kind
            for name, each in told.items():
                until = self.raw.now_ms + self.raw.left_ms[f"{kind}:{name}"]
                assert abs(until - each.until) < self.took_ms + _SLACK_MS, f"{kind}:{name}"

    def _lanes(self) -> None:
        """The accounts have their turns in the same order, and so have those queued for each."""
        lanes = {
            appid: [(place // stages.BAND, request_id) for request_id, place in lane.items()]
            for appid, lane in self.raw.named["lane"].items()
        }
        assert lanes == {
            appid: [(each.lane_class, each.id) for each in self.model.in_lane(appid)]
            for appid in self.model.turns
        }
        assert list(self.raw.alone.get("turns", {})) == self.model.in_turn()

    def _account(self, account: Account, fields: dict[str, str]) -> None:
        paused = {each[6:] for each in fields if each.startswith("pause:")}
        assert ("paused" in fields, paused) == (account.is_paused, account.paused)
        online = {each[3:]: int(fields[each]) for each in fields if each.startswith("on:")}
        assert online == account.sessions
        assert set(filter(None, fields.get("online", "").split("|"))) == set(online)
        assert int(fields.get("began", 0)) == account.began_at
        assert ("blind" in fields) == account.is_blind
        assert int(fields.get("hung", 0)) == account.hung
        answered_at = int(fields.get("answered", 0))
        assert abs(answered_at - account.answered_at) <= ANSWERED_MS + self.took_ms
        account.answered_at = answered_at
        account.fresh_until, account.next_at = (
            int(fields.get("fresh", 0)),
            int(fields.get("next", 0)),
        )
        self._marks(account, {e[4:]: int(at) for e, at in fields.items() if e.startswith("off:")})
        self._hold(account, fields.get("hold"))

    def _marks(self, account: Account, marks: dict[str, int]) -> None:
        gone = set(account.offline) - set(marks)
        assert gone <= account.may_be_back, f"not offline any more: {gone}"
        assert set(marks) <= set(account.offline), "nobody said that it is offline"
        account.offline = {
            agent: self._time(f"{agent} is offline", account.offline[agent], at)
            for agent, at in marks.items()
        }
        account.may_be_back.clear()

    def _hold(self, account: Account, said: str | None) -> None:
        hold = account.hold
        assert (said is None) == (hold is None), f"hold: {said}, not {hold}"
        if said and hold:
            ends_at, *rest = said.split(" ")
            assert rest == [hold.reason, str(hold.strikes), hold.probe]
            hold.ends_at = self._time("the hold", hold.ends_at, int(ends_at))

"""A random walk over all the ledger's operations: in whatever order, nothing disagrees."""

from __future__ import annotations

import contextlib

import fakeredis
import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from tests.unit.ledger import stage as stages
from worker import errors
from worker.contract import record, request
from worker.ledger import claims

FANS = ["oA", "oB", "oC"]
AGENTS = ["kf1@a", "kf2@a", "any"]
OUTCOMES = [
    ("created", None),
    ("already_served", None),
    ("failed", "invalid_openid"),
    ("failed", "unconfirmed"),
    ("waiting", "agent_offline"),
    ("waiting", "transient"),
    ("expired", "transient"),
    ("cancelled", None),
]
DOUBTS = [claims.Doubt(), claims.Doubt.cleared(), claims.Doubt.about("kf1@a")]


class Walk(stateful.RuleBasedStateMachine):
    """Producers, two workers, an operator and the waiting room, taking turns."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = stages.Stage(
            fakeredis.FakeRedis(decode_responses=True), "t", retention_hours=1
        )
        self.held: list[claims.Claim] = []
        self.outcomes: dict[str, tuple[int, str]] = {}

    @stateful.rule(
        fan=st.sampled_from(FANS),
        lane=st.sampled_from(["escalation", "batch"]),
        agent=st.sampled_from(AGENTS),
        ttl=st.sampled_from([1, 60, 3600]),
        key=st.sampled_from([None, "k1", "k2"]),
    )
    def submit(self, fan: str, lane: str, agent: str, ttl: int, key: str | None) -> None:
        """Only a key used for something else is refused."""
        with (
            contextlib.nullcontext() if key is None else contextlib.suppress(request.InvalidRequest)
        ):
            self.stage.submit(fan, lane=lane, kf_account=agent, ttl_seconds=ttl, key=key)

    @stateful.rule(worker=st.sampled_from(["w1", "w2"]), again=st.booleans())
    def claim(self, worker: str, again: bool) -> None:
        ids = self.stage.client.zrange(self.stage.keys.due, 0, -1)
        if claim := self.stage.ledger.claim(ids, worker, again=again).claim:
            self.held.append(claim)

    @stateful.precondition(lambda self: self.held)
    @stateful.rule(data=st.data(), doubt=st.sampled_from(DOUBTS))
    def renew(self, data: st.DataObject, doubt: claims.Doubt) -> None:
        claim = data.draw(st.sampled_from(self.held))
        made = stages.progress(claim, attempts=[stages.attempt()], doubt=doubt)
        try:
            self.stage.ledger.renew(claim, "kf2@a", made)
        except errors.LeaseLost:
            self.held.remove(claim)

    @stateful.precondition(lambda self: self.held)
    @stateful.rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), doubt=st.sampled_from(DOUBTS))
    def settle(self, data: st.DataObject, outcome: tuple[str, str], doubt: claims.Doubt) -> None:
        """By a holder who may be stale, or who says the same twice."""
        claim = data.draw(st.sampled_from(self.held))
        self.stage.settle(claim, outcome[0], reason=outcome[1], doubt=doubt, wait_seconds=30)

    @stateful.rule(data=st.data(), what=st.sampled_from(["cancel", "retry", "release"]))
    def change(self, data: st.DataObject, what: str) -> None:
        request_id = f"id{data.draw(st.integers(0, 12)):05d}"
        if what == "release":
            self.stage.ledger.release([request_id])
            return
        answer = getattr(self.stage.ledger, what)(request_id)
        if answer[0] == "queued":
            del self.outcomes[request_id]

    @stateful.rule(seconds=st.sampled_from([1, 5, 40, 4000]), limit=st.sampled_from([1, 100]))
    def time_passes(self, seconds: float, limit: int) -> None:
        self.stage.pass_seconds(seconds)
        self.stage.wake(limit=limit)
        self.stage.ledger.purge(limit)

    @stateful.invariant()
    def nothing_disagrees(self) -> None:
        self.stage.check()

    @stateful.invariant()
    def an_outcome_is_written_once(self) -> None:
        for key in self.stage.all_keys():
            if not key.startswith(self.stage.keys.request("")):
                continue
            request_id = key.rpartition(":")[2]
            fields = self.stage.client.hgetall(key)
            if record.Status(fields["status"]).is_final:
                generation = int(fields.get("generation", 1)), fields["status"]
                assert self.outcomes.setdefault(request_id, generation) == generation


TestWalk = Walk.TestCase
TestWalk.settings = hypothesis.settings(
    max_examples=12, stateful_step_count=20, deadline=None, database=None
)

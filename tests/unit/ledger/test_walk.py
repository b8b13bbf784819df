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
AGENTS = ["kf1@a", "kf2@a"]
TARGETS = [["kf1@a"], ["kf2@a"], ["any"], ["kf1@a", "kf2@a"], ["kf2@a", "any"]]
OUTCOMES = [
    ("created", None),
    ("already_served", None),
    ("failed", "invalid_openid"),
    ("failed", "unconfirmed"),
    ("waiting", "agent_offline"),
    ("waiting", "agent_full"),
    ("waiting", "transient"),
    ("waiting", "token"),
    ("waiting", "quota"),
    ("queued", None),
    ("expired", "transient"),
    ("cancelled", None),
]
DOUBTS = [claims.Doubt(), claims.Doubt.cleared(), claims.Doubt.about("kf1@a")]


class Walk(stateful.RuleBasedStateMachine):
    """Producers, two workers, agents, an operator and the waiting room, taking turns."""

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
        agents=st.sampled_from(TARGETS),
        ttl=st.sampled_from([1, 60, 3600]),
        key=st.sampled_from([None, "k1", "k2"]),
    )
    def submit(self, fan: str, lane: str, agents: list[str], ttl: int, key: str | None) -> None:
        """Only a key used for something else is refused."""
        with (
            contextlib.nullcontext() if key is None else contextlib.suppress(request.InvalidRequest)
        ):
            self.stage.submit(
                fan,
                lane=lane,
                kf_account=agents[0],
                fallbacks=agents[1:],
                ttl_seconds=ttl,
                key=key,
            )

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
    @stateful.rule(data=st.data(), is_wrong=st.booleans(), doubt=st.sampled_from(DOUBTS))
    def find_next(self, data: st.DataObject, is_wrong: bool, doubt: claims.Doubt) -> None:
        """After an agent found wrong, or offline."""
        claim = data.draw(st.sampled_from(self.held))
        asked = claim.calling
        out = claim.out | {asked} if asked and is_wrong else claim.out
        made = stages.progress(claim, doubt=doubt)
        self.held.remove(claim)
        with contextlib.suppress(errors.LeaseLost):
            offline = None if is_wrong else asked
            self.held.append(self.stage.ledger.find_next(claim, made, out=out, offline=offline))

    @stateful.precondition(lambda self: self.held)
    @stateful.rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), doubt=st.sampled_from(DOUBTS))
    def settle(self, data: st.DataObject, outcome: tuple[str, str], doubt: claims.Doubt) -> None:
        """By a holder who may be stale, or who says the same twice."""
        claim = data.draw(st.sampled_from(self.held))
        self.stage.settle(claim, outcome[0], reason=outcome[1], doubt=doubt, wait_seconds=30)

    @stateful.rule(data=st.data(), what=st.sampled_from(["cancel", "retry"]))
    def change(self, data: st.DataObject, what: str) -> None:
        request_id = f"id{data.draw(st.integers(0, 12)):05d}"
        answer = getattr(self.stage.ledger, what)(request_id)
        if answer[0] == "queued":
            del self.outcomes[request_id]

    @stateful.rule(
        kf_account=st.sampled_from(["", *AGENTS]), what=st.sampled_from(["pause", "resume"])
    )
    def turn(self, kf_account: str, what: str) -> None:
        getattr(self.stage.ledger.accounts, what)(stages.APPID, kf_account)

    @stateful.rule(
        sessions=st.dictionaries(st.sampled_from(AGENTS), st.integers(0, 2)),
        seconds_ago=st.sampled_from([0, 2, 30]),
    )
    def observe(self, sessions: dict[str, int], seconds_ago: float) -> None:
        self.stage.observe(sessions, seconds_ago=seconds_ago)

    @stateful.rule()
    def lose_sight(self) -> None:
        self.stage.lose_sight()

    @stateful.rule(
        own=st.dictionaries(st.sampled_from(["", *AGENTS]), st.integers(0, 2), max_size=2)
    )
    def announce(self, own: dict[str, int]) -> None:
        """A worker that is configured anew."""
        self.stage.announce(own)

    @stateful.rule(limit=st.sampled_from([1, 100]))
    def open_rooms(self, limit: int) -> None:
        out = self.stage.let_out(limit=limit)
        assert {self.stage.status(each) for each in out} <= {"queued"}
        assert len(out) == len(set(out))

    @stateful.rule(seconds=st.sampled_from([1, 5, 40, 4000]), limit=st.sampled_from([1, 100]))
    def time_passes(self, seconds: float, limit: int) -> None:
        self.stage.pass_seconds(seconds)
        self.stage.wake(limit=limit)
        self.stage.ledger.waiting.purge(limit)

    def teardown(self) -> None:
        """Once all gates are open and all agents are there, everybody gets a session in time."""
        stage = self.stage
        stage.announce()
        for kf_account in ("", *AGENTS):
            stage.ledger.accounts.resume(stages.APPID, kf_account)
        patient = {each for each, left in self.live().items() if left > 600}
        for _ in range(12):
            stage.pass_seconds(13)
            stage.wake()
            for appid in stage.watch():
                stage.observe(dict.fromkeys(AGENTS, 0), appid=appid)
            stage.open_rooms()
            for request_id in self.live():
                if claim := stage.take(request_id, holder="w3").claim:
                    cleared = claims.Doubt.cleared()
                    stage.settle(claim, "created", served_by=claim.calling, doubt=cleared)
        stage.check()
        assert {stage.status(each) for each in patient} <= {"created"}
        assert self.live() == {}

    def live(self) -> dict[str, float]:
        """Who is not over, with the seconds to the deadline."""
        ids = self.stage.client.zrange(self.stage.keys.due, 0, -1)
        now = self.stage.now()
        return {each: self.stage.get(each).deadline_at.timestamp() - now for each in ids}

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

"""The ground that the ledger and its model share: one clock, and a look at both after a step."""

from __future__ import annotations

import time

import redis
from hypothesis import stateful

from tests.unit.ledger import comparing, recount
from tests.unit.ledger import model as models
from tests.unit.ledger import stage as stages
from worker.contract import request
from worker.ledger import claims

FANS = [("wx1", "oA"), ("wx1", "oB"), ("wx1", "oC"), ("wx2", "oA")]
AGENTS = ["kf1@a", "kf2@a"]


class Machine(stateful.RuleBasedStateMachine):
    """A ledger and its model; the rules that move them are its heirs'."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        super().__init__()
        self.stage = stages.Stage(client, prefix, retention_hours=1)
        self.model = models.Model(
            dict.fromkeys(appid for appid, _ in FANS),
            retention_ms=models.HOUR,
            lease_ms=round(self.stage.config.lease_seconds * 1000),
        )
        for appid, account in self.model.accounts.items():
            self.stage.announce(appid=appid)
            account.announce(self.now_ms())
        self.wishes: dict[str, request.SessionRequest] = {}
        self.held: list[claims.Claim] = []
        self.settled: list[tuple[claims.Claim, claims.Settlement]] = []
        self.outcomes: dict[str, dict[str, str]] = {}
        self.buried = 0
        self.began_ms = 0
        self.seen: recount.Raw | None = None
        self.is_sound = True

    # -- the clock -----------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The server runs on this machine, so its clock is ours."""
        return int(time.time() * 1000)

    def took(self) -> int:
        """How long the step has taken by now."""
        return self.now_ms() - self.began_ms + 1

    def begin(self) -> int:
        """A step begins, and nothing will end while it is taken; returns the time."""
        self.is_sound, self.seen = False, None
        for _ in range(50):
            if not self.model.is_near_a_turn(self.now_ms()):
                break
            self._pass(5)
        self.began_ms = self.now_ms()
        self.model.moment += 1
        return self.began_ms

    def _pass(self, seconds: float) -> None:
        self.stage.pass_seconds(seconds)
        self.model.pass_ms(round(seconds * 1000), self.now_ms())
        for fields in self.outcomes.values():
            for name in recount.TIMES & set(fields):
                fields[name] = str(int(fields[name]) - round(seconds * 1000))

    # -- what must hold ------------------------------------------------------------------------

    def known(self) -> list[str]:
        """Ids under which something was submitted that is there yet."""
        return [x for x in self.wishes if x in self.model.requests or x in self.model.joined]

    def look(self) -> recount.Raw:
        if self.seen is None:
            self.seen = recount.read(self.stage)
        return self.seen

    def became(self) -> dict[str, models.Way]:
        return {
            request_id: (fields["status"], fields.get("calling", fields["reason"]))
            for request_id, fields in self.look().requests.items()
        }

    @stateful.invariant()
    def agree(self) -> None:
        """All structures tell the same story, and it is the model's."""
        raw = self.look()
        recount.check(raw, self.stage.config.lease_seconds * 1000)
        comparing.Comparison(self.model, raw, self.took()).run()
        assert len(raw.alone.get("dead", ())) == self.buried
        for request_id, fields in raw.requests.items():
            if fields["status"] not in recount.FINAL:
                continue
            if request_id not in self.outcomes and fields["status"] in models.RETRIED:
                is_unsure = self.model.doubt_of(self.model.requests[request_id])
                assert not is_unsure or fields["reason"] == "unconfirmed", "an end while in doubt"
            assert self.outcomes.setdefault(request_id, dict(fields)) == fields, "written once"
        self.is_sound = True

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self._everybody_is_served_in_time()
        finally:
            self.stage.clean_up()
            self.stage.client.close()

    def _everybody_is_served_in_time(self) -> None:
        """Once all gates are open and all agents are there; nobody is left asleep."""
        stage = self.stage
        for appid in self.model.accounts:
            stage.announce(appid=appid)
            for kf_account in ("", *AGENTS):
                stage.ledger.accounts.resume(appid, kf_account)
        patient = {each for each, left in self._live().items() if left > 600}
        for _ in range(20):
            if not self._live():
                break
            stage.pass_seconds(13)
            stage.wake()
            for appid in stage.watch():
                stage.observe(dict.fromkeys(AGENTS, 0), appid=appid)
            stage.open_rooms()
            for request_id in self._live():
                if claim := stage.take(request_id, holder="w3").claim:
                    cleared = claims.Doubt.cleared()
                    stage.settle(claim, "created", served_by=claim.calling, doubt=cleared)
        recount.check(recount.read(stage), stage.config.lease_seconds * 1000)
        assert {stage.status(each) for each in patient} <= {"created"}
        assert self._live() == {}

    def _live(self) -> dict[str, float]:
        """Who is not over, with the seconds to the deadline."""
        ids = self.stage.client.zrange(self.stage.keys.due, 0, -1)
        now = self.stage.now()
        return {each: self.stage.get(each).deadline_at.timestamp() - now for each in ids}

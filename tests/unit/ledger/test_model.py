"""The ledger against a plain model of it: in whatever order its steps are taken, both agree.

`KFSESSION_EXAMPLES=2000 pytest tests/unit/ledger/test_model.py` runs so many random
examples instead of the few that are the same each time; `tests/integration/test_model.py` does the
same on a real server.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import fakeredis
import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from tests.unit.ledger import machine, working
from tests.unit.ledger import model as models
from tests.unit.ledger.machine import AGENTS, FANS
from worker.contract import request
from worker.ledger import dead_list, receipts

TARGETS = [["kf1@a"], ["kf2@a"], ["any"], ["kf1@a", "kf2@a"], ["kf2@a", "any"]]
LANES = ["escalation", "batch"]
#: How many random examples to run; 0: the few that are the same each time.
ASKED = int(os.environ.get("KFSESSION_EXAMPLES", "0"))
#: Of a test that runs them; 0 is no limit.
TIMEOUT_SECONDS = 0 if ASKED else 120
CAPACITIES = st.dictionaries(st.sampled_from(["", *AGENTS]), st.integers(0, 2), max_size=2)
READINGS = st.dictionaries(st.sampled_from(AGENTS), st.integers(0, 2))
LIMITS = st.sampled_from([1, 100, 100])
WISHES = st.fixed_dictionaries(
    {
        "fan": st.sampled_from(FANS),
        "lane": st.sampled_from(LANES),
        "agents": st.sampled_from(TARGETS),
        "ttl_seconds": st.sampled_from([None, 10, 60, 3600, 100_000]),
        "key": st.sampled_from([None, None, "k1", "k2"]),
    }
)


class Everybody(working.Working):
    """Producers, workers, agents, an operator and the waiting room, taking turns."""

    @stateful.initialize(
        wishes=st.lists(WISHES, min_size=3, max_size=6),
        own=CAPACITIES,
        sessions=READINGS,
        paused=st.sampled_from(["kf9@a", *AGENTS]),
    )
    def begin_a_day(
        self,
        wishes: list[dict[str, object]],
        own: dict[str, int],
        sessions: dict[str, int],
        paused: str,
    ) -> None:
        """Some wait already, and something is known of the agents."""
        self.announce("wx1", own)
        self.agree()
        self.observe_now("wx1", sessions)
        self.agree()
        self._turn("wx1", paused, is_paused=True)
        self.agree()
        self.submit_many(wishes)

    # -- producers -----------------------------------------------------------------------------

    @stateful.rule(wish=WISHES)
    def submit(self, wish: dict[str, object]) -> None:
        self._submit(self._wish(wish), f"id{len(self.wishes):05d}")

    @stateful.rule(
        wish=WISHES,
        sessions=st.none() | READINGS,
        holder=st.sampled_from(working.HOLDERS),
        outcome=st.sampled_from(working.OUTCOMES),
        lesson=working.LESSON,
    )
    def come_and_go(
        self,
        wish: dict[str, object],
        sessions: dict[str, int] | None,
        holder: str,
        outcome: working.Outcome,
        lesson: str,
    ) -> None:
        """A request's whole way, perhaps after a reading; whoever goes before it is served too."""
        if sessions is not None:
            self.observe_now("wx1", sessions)
            self.agree()
        self._submit(self._wish(wish), f"id{len(self.wishes):05d}")
        self.agree()
        self.serve_next(holder, outcome, lesson)

    @stateful.precondition(lambda self: self.known())
    @stateful.rule(data=st.data(), wish=st.none() | WISHES)
    def submit_again(self, data: st.DataObject, wish: dict[str, object] | None) -> None:
        """The same id, as a lost reply has it sent; or by mistake for another wish."""
        request_id = data.draw(st.sampled_from(self.known()))
        self._submit(self._wish(wish) if wish else self.wishes[request_id], request_id)

    @stateful.rule(wish=WISHES, appid=st.sampled_from([None, "wx9"]))
    def submit_for_no_account(self, wish: dict[str, object], appid: str | None) -> None:
        self._submit(self._wish({**wish, "fan": (appid, "oA")}), "stray")

    @stateful.rule(wishes=st.lists(WISHES, min_size=2, max_size=4))
    def submit_many(self, wishes: list[dict[str, object]]) -> None:
        """In one round trip, one after the other."""
        first = len(self.wishes)
        pairs = [(self._wish(each), f"id{first + n:05d}") for n, each in enumerate(wishes)]
        now = self.begin()
        answers = self.stage.ledger.submit_many(pairs)
        for (wish, request_id), answer in zip(pairs, answers, strict=True):
            self._receive(wish, request_id, answer, now)

    def _submit(self, wish: request.SessionRequest, request_id: str) -> None:
        now = self.begin()
        try:
            answer = self.stage.ledger.submit(wish, request_id)
        except request.InvalidRequest as error:
            self._receive(wish, request_id, error, now)
        else:
            self._receive(wish, request_id, answer, now)

    def _receive(
        self,
        wish: request.SessionRequest,
        request_id: str,
        answer: receipts.Receipt | request.InvalidRequest,
        now: int,
    ) -> None:
        if request_id != "stray":
            self.wishes.setdefault(request_id, wish)
        ttl_ms = round(1000 * (wish.ttl_seconds or self._default_ttl_seconds(wish.lane)))
        how, what, status = self.model.submit(wish, request_id, ttl_ms, now)
        if isinstance(answer, request.InvalidRequest):
            assert (how, what) == ("refused", str(answer).partition(":")[0])
        else:
            assert (answer.how, answer.id, answer.status) == (how, what, status)

    def _wish(self, given: dict[str, object]) -> request.SessionRequest:
        fields = dict(given)
        appid, openid = fields.pop("fan")
        first, *others = fields.pop("agents")
        return self.stage.wish(
            openid, appid=appid, kf_account=first, fallbacks=others, metadata={"of": []}, **fields
        )

    def _default_ttl_seconds(self, lane: str) -> float:
        return self.stage.config.default_ttl_seconds(lane)

    # -- operators -----------------------------------------------------------------------------

    @stateful.precondition(lambda self: self.model.requests)
    @stateful.rule(data=st.data(), retries=st.booleans())
    def change(self, data: st.DataObject, retries: bool) -> None:
        """Cancel what may be live, retry what may be over; or what is neither."""
        likely = [
            x
            for x, one in self.model.requests.items()
            if (one.status in models.RETRIED if retries else not one.is_final)
        ]
        any_ = [*self.model.requests, "unknown"]
        request_id = data.draw(
            st.sampled_from([*likely, *likely, data.draw(st.sampled_from(any_))])
        )
        ttls = {each: round(1000 * self._default_ttl_seconds(each)) for each in LANES}
        now = self.begin()
        if not retries:
            assert self.stage.ledger.cancel(request_id) == self.model.cancel(request_id, now)
            return
        answer = self.stage.ledger.retry(request_id)
        assert answer == self.model.retry(request_id, ttls, now)
        if answer[0] == "queued":
            self.outcomes.pop(request_id, None)

    @stateful.rule(data=st.data(), is_paused=st.booleans())
    def turn(self, data: st.DataObject, is_paused: bool) -> None:
        """Pause anything; resume most often what is paused."""
        gates = [(appid, each) for appid in self.model.accounts for each in ("", *AGENTS)]
        if not is_paused:
            shut = [each for each in gates if self._is_paused(*each)]
            gates = [*shut, gates[0]]
        self._turn(*data.draw(st.sampled_from(gates)), is_paused=is_paused)

    def _turn(self, appid: str, agent: str, *, is_paused: bool) -> None:
        account, was = self.model.accounts[appid], self._is_paused(appid, agent)
        self.begin()
        steps = self.stage.ledger.accounts
        answer = (steps.pause if is_paused else steps.resume)(appid, agent)
        assert answer == (appid, was != is_paused)
        if not agent:
            account.is_paused = is_paused
        elif is_paused:
            account.paused.add(agent)
        else:
            account.paused.discard(agent)

    def _is_paused(self, appid: str, agent: str) -> bool:
        account = self.model.accounts[appid]
        return agent in account.paused if agent else account.is_paused

    @stateful.rule(what=st.sampled_from(["bury", "watch", "left_queued", "adopt"]), limit=LIMITS)
    def do_on_the_side(self, what: str, limit: int) -> None:
        """What changes no request."""
        steps = {"bury": self._bury, "watch": self._watch}
        steps |= {"left_queued": self._left_queued, "adopt": self._adopt}
        steps[what](limit)

    def _bury(self, _: int) -> None:
        self.begin()
        self.stage.ledger.dead_list.bury([dead_list.Refused(1, "kf.batch", "no JSON", "x")])
        self.buried += 1

    # -- agents --------------------------------------------------------------------------------

    @stateful.rule(
        appid=st.sampled_from(["wx1", "wx1", "wx2"]),
        sessions=st.none() | READINGS,
        seconds_ago=st.sampled_from([0, 0, 2, 30]),
    )
    def observe(self, appid: str, sessions: dict[str, int] | None, seconds_ago: float) -> None:
        """A reading of who is online, perhaps overtaken by a later one; or it failed."""
        if sessions is not None:
            self.observe_now(appid, sessions, seconds_ago)
            return
        self.begin()
        self.stage.lose_sight(appid)
        self.model.accounts[appid].is_blind = True

    def observe_now(self, appid: str, sessions: dict[str, int], seconds_ago: float = 0) -> None:
        self.begin()
        reading = self.stage.reading_of(appid, seconds_ago)
        came = self.stage.ledger.accounts.observe(
            reading, sessions, interval_seconds=5, trusted_seconds=20
        )
        assert came == self.model.accounts[appid].observe(reading.began_ms, sessions)

    def _watch(self, limit: int) -> None:
        """Only accounts that somebody waits for, and that calls may be made for."""
        now = self.begin()
        waiting = {each.appid for each in self.model.in_state("waiting") if each.is_in_room}
        taken = self.stage.watch(limit)
        shut = {x for x, each in self.model.accounts.items() if each.why_shut("", now)}
        assert len(taken) <= limit
        assert set(taken) <= waiting - shut

    @stateful.rule(appid=st.sampled_from(["wx1", "wx2"]), own=CAPACITIES)
    def announce(self, appid: str, own: dict[str, int]) -> None:
        """A worker that is configured anew."""
        now = self.begin()
        self.stage.announce(own, appid)
        self.model.accounts[appid].capacities = own
        self.model.accounts[appid].announce(now)

    # -- the waiting room ----------------------------------------------------------------------

    @stateful.rule(
        what=st.sampled_from(["wake", "open_rooms", "open_rooms", "purge"]), limit=LIMITS
    )
    def look_after(self, what: str, limit: int) -> None:
        """One pass of the waiting room."""
        steps = {"wake": self._wake, "open_rooms": self._open_rooms, "purge": self._purge}
        steps[what](limit, self.begin())

    def _open_rooms(self, limit: int, now: int) -> None:
        opened = self.stage.open_rooms(limit=limit)
        rung = [each for ids in opened.ring.values() for each in ids]
        became = self.became()
        assert len(rung) == len(set(rung))
        waited = {each.id for each in self.model.in_state("waiting")}
        assert set(rung) == {each for each in waited if became[each][0] == "queued"}
        self.model.open_rooms(opened.ring, became, now)

    def _left_queued(self, limit: int) -> None:
        """The lanes are rung whose first was left for two seconds, in the order of their turns."""
        now = self.begin()
        left = self.stage.ledger.waiting.left_queued(limit)
        meanwhile = range(now, now + self.took() + 1)
        assert left in [self.model.left_queued(limit, each) for each in meanwhile]

    def _adopt(self, limit: int) -> None:
        """The lanes are built again, as after a release without any."""
        now, stage = self.begin(), self.stage
        lanes = [stage.keys.lane(appid) for appid in self.model.accounts]
        stage.client.delete(stage.keys.turns, *lanes)
        for _ in range(100):
            if not stage.ledger.waiting.adopt(limit):
                break
        self.model.adopt(limit, now)

    @stateful.rule(seconds=st.sampled_from([1, 10, 10, 30, 30, 70, 700, 4000, 90_000]))
    def time_passes(self, seconds: float) -> None:
        self.begin()
        self._pass(seconds)

    @stateful.rule(seconds=st.sampled_from([10, 30, 700, 4000]))
    def time_passes_watched(self, seconds: float) -> None:
        """The waiting room looks as soon as something is due."""
        self.begin()
        self._pass(seconds)
        self._wake(100, self.begin())

    def _purge(self, limit: int, now: int) -> None:
        assert self.stage.ledger.waiting.purge(limit) == self.model.purge(limit, now)
        gone = set(self.outcomes) - set(self.model.requests)
        self.held = [each for each in self.held if each.id not in gone]
        for each in gone:
            del self.outcomes[each]

    def _wake(self, limit: int, now: int) -> None:
        woken = self.stage.wake(limit=limit)
        rings = {lane.value: ids for lane, ids in woken.ring.items()}
        told = (woken.taken, woken.expired, woken.lost_leases, rings)
        assert told == self.model.wake(limit, now)


def run(make: Callable[[], machine.Machine], *, examples: int, steps: int) -> None:
    """The same examples each time, or as many random ones as the environment asks for."""
    stateful.run_state_machine_as_test(
        make,
        settings=hypothesis.settings(
            max_examples=ASKED or examples,
            stateful_step_count=steps,
            derandomize=not ASKED,
            deadline=None,
            database=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.no_cover  # see tests/conftest.py
def test_the_ledger_does_what_the_model_says() -> None:
    """On a fake Redis."""
    run(lambda: Everybody(fakeredis.FakeRedis(decode_responses=True), "t"), examples=20, steps=30)

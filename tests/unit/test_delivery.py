"""delivery and asking: a doorbell's ids, each to its outcome; a fake Redis, a scripted WeChat."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
import structlog.testing
import tenacity

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, FAN, OTHER
from worker import deliverer, errors, machine, retry
from worker.contract import request
from worker.ledger import claims
from worker.wechat import account as wechat_account

BUSY, LOST, OFFLINE, OUT, UNBOUND, SERVED = -1, "lost", 65415, 65401, 65402, 65414
THIRD = "kf3@acct"
#: What a reading shows while nobody has anything to do.
ALL_ONLINE = {AGENT: 0, OTHER: 0, THIRD: 0}

#: What a call comes to: a code, a lost reply, an error of any kind, or something to do first.
Outcome = int | str | Exception | Callable[[], Any]


class WeChat:
    """Plays the outcomes given for `create` and `getsession`, each list's last one for ever."""

    def __init__(self) -> None:
        self.creates: list[Outcome] = [0]
        self.sessions: list[str | Exception | None] = [None]
        #: Every call made: ("create", agent, token) or ("getsession", openid, token).
        self.calls: list[tuple[str, str, str]] = []

    def post(self, path: str, *, token: str, body: dict[str, str], **_: Any) -> dict[str, Any]:
        assert path == "/customservice/kfsession/create"
        self.calls.append(("create", body["kf_account"], token))
        return self._play(self.creates)

    def get(self, path: str, *, token: str, params: dict[str, str], **_: Any) -> dict[str, Any]:
        assert path == "/customservice/kfsession/getsession"
        self.calls.append(("getsession", params["openid"], token))
        outcome = self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0]
        if isinstance(outcome, Exception):
            raise outcome
        return {"kf_account": outcome or ""}

    def _play(self, script: list[Outcome]) -> dict[str, Any]:
        outcome = script.pop(0) if len(script) > 1 else script[0]
        if callable(outcome):
            outcome = outcome() or 0
        if outcome == LOST:
            raise errors.LostReply("no reply")
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            raise errors.from_errcode(int(outcome), "said so rid: 1234-5678")  # type: ignore[arg-type]
        return {"errcode": 0}

    @property
    def made(self) -> list[str]:
        """The calls in short: an agent's name, or `?` for a read-back."""
        return [who if kind == "create" else "?" for kind, who, _ in self.calls]


class Tokens:
    """Hands out t0, and a further one for each renewal."""

    def __init__(self) -> None:
        self.current = "t0"
        self.renewed: list[str] = []
        self.failure: Exception | None = None

    def get(self) -> str:
        if self.failure:
            raise self.failure
        return self.current

    def renew(self, rejected: str) -> str:
        self.renewed.append(rejected)
        self.current = f"t{len(self.renewed)}"
        return self.get()


class Stopping(threading.Event):
    """A shutdown flag that counts the pauses and takes no time for them."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self.pauses.append(timeout or 0)
        return self.is_set()


class World(stages.Stage):
    """A stage with a worker on it."""

    def __init__(self) -> None:
        super().__init__(fakeredis.FakeRedis(decode_responses=True), "t")
        self.wechat, self.tokens, self.stopping = WeChat(), Tokens(), Stopping()
        self._passed = 0.0
        self.machine = machine.Machine("w1", [APPID], clock=self._monotonic)
        #: How often the worker said that somebody waits for a reading.
        self.wishes = 0
        account = wechat_account.Account(
            appid=APPID,
            transport=self.wechat,  # type: ignore[arg-type]
            tokens=self.tokens,
        )
        self.deliverer = deliverer.Deliverer(
            self.ledger,
            {APPID: account},
            self.config,
            self.machine,
            hurry=self.wish_reading,
            stopping=self.stopping,
        )

    def _monotonic(self) -> float:
        return time.monotonic() + self._passed

    def pass_seconds(self, seconds: float) -> None:
        super().pass_seconds(seconds)
        self._passed += seconds

    def beat(self) -> None:
        """What this worker's process does now and then: announce itself, and probe."""
        for mark in self.machine.due():
            self.machine.come_back(mark.scope)
        self.machine.hear(self.announce(marks=self.machine.packed()))

    def wish_reading(self) -> None:
        self.wishes += 1

    def deliver(self, *ids: str) -> int:
        return self.deliverer.deliver(ids)

    def ring(self) -> list[str]:
        """One pass of the waiting room: the ids it rings."""
        woken = self.wake().ring
        return [each for lane in request.Lane for each in woken[lane]] + self.let_out()

    def again(self, *ids: str, seconds: float = 70) -> int:
        """The next delivery, once the wait of each is over."""
        self.pass_seconds(seconds)
        self.beat()
        self.ring()
        return self.deliver(*ids)

    def bring_to_an_end(self, request_id: str) -> None:
        """Deliver one request again and again until it is final."""
        for _ in range(40):
            self.deliver(request_id)
            if self.get(request_id).final:
                return
            self.pass_seconds(70)
            self.ring()
        raise AssertionError(f"it still is {self.outcome(request_id)}")

    def opens_in_seconds(self, request_id: str) -> float | None:
        """How long until the room of this request is looked into; None where it stands in none."""
        targets = "|".join(self.get(request_id).targets)
        return self.wakes_in_seconds(targets) if request_id in self.in_room(targets) else None

    def know(self, *names: str) -> None:
        """A reading of all agents' names, none of whom is online."""
        self.observe({})
        self.ledger.accounts.name(APPID, names, [])

    def under_way(self, kf_account: str) -> int:
        """Calls that count against this agent's room."""
        return sum(math.isinf(at) for at in self.given(kf_account).values())

    def outcome(self, request_id: str) -> tuple[str, str | None, str | None]:
        one = self.get(request_id)
        return one.status.value, one.reason, one.served_by


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A worker; nothing in it sleeps."""

    def quick_read_back() -> Any:
        return retry.tenacity.Retrying(
            retry=retry.TRANSIENT.retry,
            stop=retry.tenacity.stop_after_attempt(2),
            sleep=lambda _: None,
            reraise=True,
        )

    monkeypatch.setattr(retry, "reading_back", quick_read_back)
    made = World()
    with structlog.testing.capture_logs():  # to render tracebacks takes longer than all the rest
        yield made
    made.check()


# -- the ladder of targets -------------------------------------------------------------------


def test_an_online_agent_gets_the_fan_with_one_call(world: World) -> None:
    """One call a session."""
    request_id = world.submit().id
    assert world.deliver(request_id) == 1
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert world.wechat.made == [AGENT]
    one = world.get(request_id)
    assert (one.api_calls, one.attempt_count, one.errcode) == (1, 0, 0)
    assert one.attempts[0].error is None


def test_targets_are_asked_in_order_at_once(world: World) -> None:
    """An offline or a wrong agent passes the fan to the next, whatever the reading said."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [OFFLINE, OUT, 0]
    request_id = world.submit(fallbacks=[OTHER, THIRD]).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, THIRD)
    one = world.get(request_id)
    assert [each.errcode for each in one.attempts] == [65415, 65401, 0]
    assert [each.kf_account for each in one.attempts] == [AGENT, OTHER, THIRD]
    assert [each.error for each in one.attempts] == ["offline", "bad_agent", None]
    assert one.attempts[0].rid == "1234-5678"
    assert world.stopping.pauses == []


def test_nobody_online_waits_for_agents(world: World) -> None:
    """In the room of its targets; 65415 counts for nothing but itself."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [OFFLINE]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("waiting", "agent_offline", None)
    one = world.get(request_id)
    assert (one.api_calls, one.attempt_count) == (2, 0)
    assert world.opens_in_seconds(request_id) == pytest.approx(5.5, abs=1)
    assert world.due_in_seconds(request_id) == pytest.approx(1800, abs=5), "only its deadline"
    assert world.doubt() is None


def test_waits_for_an_agent_grow_from_delivery_to_delivery(world: World) -> None:
    """Up to a minute, where no reading tells who is online."""
    world.wechat.creates = [OFFLINE]
    world.lose_sight()
    request_id = world.submit(ttl_seconds=7200).id
    waits = []
    for calls in range(1, 9):
        world.deliver(request_id)
        assert world.get(request_id).api_calls == calls
        waits.append(world.opens_in_seconds(request_id))
        world.pass_seconds(waits[-1] - 1)
        world.lose_sight()
        assert world.ring() == []
        world.pass_seconds(1.1)
        assert world.ring() == [request_id]
    assert waits[0] < 7 < waits[2] < waits[4]
    assert 55 < waits[7] <= 62


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ([OUT], "invalid_agent"),
        ([UNBOUND], "agent_not_bound"),
        ([UNBOUND, OUT], "agent_not_bound"),
        ([40003], "invalid_openid"),
        ([43004], "invalid_openid"),
        ([47001], "bad_request"),
        ([OFFLINE, 47001], "bad_request"),
    ],
)
def test_what_nobody_can_wait_for_fails(world: World, codes: list[int], reason: str) -> None:
    """With the reason of the code that decided."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = list(codes)
    request_id = world.submit(fallbacks=[OTHER] if len(codes) > 1 else []).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("failed", reason, None)
    assert world.get(request_id).errcode == (UNBOUND if reason == "agent_not_bound" else codes[-1])


def test_a_wrong_agent_is_not_asked_again_in_a_later_delivery(world: World) -> None:
    """65401 is remembered with the record."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [OUT, OFFLINE, 0]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.outcome(request_id)[1] == "agent_offline"
    world.pass_seconds(10)
    world.observe(ALL_ONLINE)
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, OTHER, OTHER]
    assert world.outcome(request_id) == ("created", None, OTHER)


def test_the_last_agent_found_wrong_later_fails_the_request(world: World) -> None:
    """Nobody is left."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [OUT, OFFLINE, UNBOUND]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    world.pass_seconds(10)
    world.observe(ALL_ONLINE)
    world.deliver(*world.ring())
    assert world.outcome(request_id) == ("failed", "agent_not_bound", None)


def test_an_agent_offline_before_a_retry_in_place_still_counts_as_a_hope(world: World) -> None:
    """The ladder's second round, after a -1, must not forget who was only offline.

    The -1 may have opened a session, so the fan is read back before the request waits.
    """
    world.observe(ALL_ONLINE)
    world.wechat.creates = [OFFLINE, BUSY, OUT]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, OTHER, OTHER, "?"]
    assert world.outcome(request_id) == ("waiting", "agent_offline", None)
    assert world.doubt() is None


def test_the_last_agent_found_wrong_with_a_doubt_that_stood_fails_the_request(
    world: World,
) -> None:
    """The delivery that reads the fan back at last did not hear of the wrong agent itself."""
    world.wechat.creates = [LOST, OUT]
    world.wechat.sessions = [errors.LostReply("x")]
    request_id = world.submit(ttl_seconds=7200).id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert world.wechat.made.count(AGENT) == 2, "nobody asks a wrong agent once more"
    world.wechat.sessions = [None]
    world.again(request_id)
    assert world.outcome(request_id) == ("failed", "invalid_agent", None)
    assert set(world.wechat.made) == {AGENT, "?"}


# -- any -------------------------------------------------------------------------------------


def test_any_asks_who_serves_fewest(world: World) -> None:
    """Where nothing limits them; the record says who was asked."""
    world.observe({OTHER: 4, THIRD: 1})
    world.wechat.creates = [OFFLINE, 0]
    request_id = world.submit(kf_account="any").id
    world.deliver(request_id)
    assert world.wechat.made == [THIRD, OTHER]
    assert world.outcome(request_id) == ("created", None, OTHER)
    assert [each.kf_account for each in world.get(request_id).attempts] == [THIRD, OTHER]


def test_any_after_a_named_agent_leaves_that_one_out(world: World) -> None:
    """It has just been asked."""
    world.observe({AGENT: 0, OTHER: 3})
    world.wechat.creates = [OFFLINE, 0]
    request_id = world.submit(fallbacks=["any"]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, OTHER]


@pytest.mark.parametrize("named", [[], [AGENT]])
@pytest.mark.parametrize("is_read", [True, False])
def test_any_waits_while_nobody_is_online(world: World, named: list[str], is_read: bool) -> None:
    """Also where the agent named before it is wrong: somebody may come online yet.

    A reading is wanted where there is none, and only there; it lets the request go.
    """
    if is_read:
        world.observe({})
    world.wechat.creates = [OUT, 0]
    targets = [*named, "any"]
    request_id = world.submit(kf_account=targets[0], fallbacks=targets[1:]).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("waiting", "agent_offline", None)
    assert world.wechat.made == named
    assert world.wishes == (0 if is_read else 1)
    assert world.client.zscore(world.keys.watch, APPID) is not None
    world.wechat.creates = [0]
    world.observe({OTHER: 1})
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, OTHER)
    assert world.wechat.made == [*named, OTHER]


def test_any_finds_its_own_agent_again_after_a_lost_reply(world: World) -> None:
    """The agent that `any` chose was asked by this request: created, not already served."""
    world.observe({OTHER: 0})
    world.wechat.creates = [LOST]
    request_id = world.submit(kf_account="any").id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert world.doubt() == OTHER
    world.observe({})
    world.wechat.sessions = [OTHER]
    calls = world.get(request_id).api_calls
    world.again(request_id, seconds=15)
    assert world.outcome(request_id) == ("created", None, OTHER)
    assert world.get(request_id).api_calls == calls


def test_a_presence_that_fails_is_no_attempt(world: World) -> None:
    """It costs no request its budget and no call; the deadline ends the wait."""
    world.lose_sight()
    request_id = world.submit(kf_account="any", ttl_seconds=7200).id
    for _ in range(40):
        world.deliver(request_id)
        assert world.outcome(request_id)[:2] == ("waiting", "agent_offline")
        world.pass_seconds(70)
        world.lose_sight()
        world.ring()
    world.pass_seconds(7200)
    assert world.wake().expired == 1
    assert world.outcome(request_id) == ("expired", "agent_offline", None)
    assert (world.get(request_id).attempt_count, world.wechat.made) == (0, [])
    assert world.wishes == 0, "a reading does not help where it is refused"


# -- waiting for agents ----------------------------------------------------------------------


@pytest.mark.parametrize(("is_read", "made"), [(False, [AGENT, THIRD]), (True, [THIRD])])
def test_a_ladder_of_wrong_offline_and_online_takes_two_calls_at_most(
    world: World, is_read: bool, made: list[str]
) -> None:
    """Before a reading the first is asked and no fallback; after one only who is online."""
    request_id = world.submit(fallbacks=[OTHER, THIRD]).id
    world.wechat.creates = [OUT, 0]
    if not is_read:
        world.deliver(request_id)
        assert world.outcome(request_id) == ("waiting", "agent_offline", None)
        assert (world.wechat.made, world.wishes) == ([AGENT], 1)
    world.wechat.creates = [0]
    world.observe({THIRD: 0})
    assert world.ring() == ([] if is_read else [request_id])
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, THIRD)
    assert world.wechat.made == made


def test_where_nobody_can_tell_every_target_is_asked_once(world: World) -> None:
    """A next fan of the same targets is asked for nobody who was just offline."""
    world.lose_sight()
    world.wechat.creates = [OUT, OFFLINE, 0]
    first = world.submit("oFIRST", fallbacks=[OTHER, THIRD]).id
    world.deliver(first)
    world.wechat.creates = [OUT, 0]
    second = world.submit("oSECOND", fallbacks=[OTHER, THIRD]).id
    world.pass_seconds(1)
    world.deliver(second)
    assert world.outcome(first) == world.outcome(second) == ("created", None, THIRD)
    assert world.wechat.made == [AGENT, OTHER, THIRD, AGENT, THIRD]


def test_all_offline_then_the_second_comes(world: World) -> None:
    """The reading that sees an agent wakes the room; nobody else is asked again."""
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [OFFLINE, OFFLINE, 0]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    for _ in range(3):
        world.pass_seconds(5)
        world.observe({})
        assert world.ring() == []
    world.pass_seconds(5)
    world.observe({OTHER: 0})
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, OTHER)
    assert world.wechat.made == [AGENT, OTHER, OTHER]


@pytest.mark.parametrize(("known", "made"), [([AGENT, OTHER], [AGENT]), ([], [AGENT, OTHER])])
def test_all_offline_until_the_deadline(world: World, known: list[str], made: list[str]) -> None:
    """Expired, with no call once presence was known; a name nobody knows is asked once."""
    world.wechat.creates = [OFFLINE]
    request_id = world.submit(fallbacks=[OTHER], ttl_seconds=60).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT]
    for _ in range(11):
        world.pass_seconds(5)
        world.know(*known)
        world.deliver(*world.ring())
        assert world.outcome(request_id) == ("waiting", "agent_offline", None)
    world.pass_seconds(5)
    assert world.wake().expired == 1
    assert world.outcome(request_id) == ("expired", "agent_offline", None)
    assert world.wechat.made == made


def test_an_agent_known_to_be_offline_is_not_called(world: World) -> None:
    """Who was online and is missed by a reading needs no call to be known."""
    world.observe({AGENT: 2})
    world.pass_seconds(5)
    world.observe({})
    request_id = world.submit().id
    assert world.deliver(request_id) == 0
    assert world.outcome(request_id) == ("waiting", "agent_offline", None)
    assert world.wechat.made == []


def test_a_later_reading_overrules_a_65415(world: World) -> None:
    """One that began before it does not."""
    world.wechat.creates = [OFFLINE, 0]
    request_id = world.submit().id
    world.deliver(request_id)
    world.observe({AGENT: 0}, seconds_ago=1)
    assert world.ring() == []
    world.pass_seconds(1)
    world.observe({AGENT: 0})
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, AGENT)


def test_a_65415_spares_the_other_requests_of_a_doorbell(world: World) -> None:
    """One call for fifty fans; they wait in one room, and the first of them is sent ahead."""
    world.wechat.creates = [OFFLINE]
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(50)]
    world.deliver(*ids)
    assert world.wechat.made == [AGENT]
    assert {world.outcome(each)[:2] for each in ids} == {("waiting", "agent_offline")}
    assert world.in_room() == ids

    world.wechat.creates = [0]
    world.pass_seconds(1)
    world.observe({AGENT: 0})
    assert world.ring() == ids[:1]
    world.deliver(*ids[:1])
    assert world.ring() == ids[1:]
    world.deliver(*ids[1:])
    assert {world.status(each) for each in ids} == {"created"}
    assert world.wechat.made == [AGENT] * 51


def test_a_full_agent_is_called_for_as_many_as_there_is_room_for(world: World) -> None:
    """Sessions of our own count before a reading shows them; the others wait for one."""
    world.announce({"": 3})
    world.observe({AGENT: 1})
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(50)]
    assert world.deliver(*ids) == 2
    assert [world.status(each) for each in ids] == ["created"] * 2 + ["waiting"] * 48
    assert {world.outcome(each)[1] for each in ids[2:]} == {"agent_full"}
    assert world.wechat.made == [AGENT] * 2
    assert world.ring() == []

    world.pass_seconds(5)
    world.observe({AGENT: 3})
    assert world.ring() == []
    world.pass_seconds(5)
    world.observe({AGENT: 1})
    assert set(world.ring()) <= set(ids[2:4])
    world.deliver(*ids)
    world.deliver(*world.ring())
    assert [world.status(each) for each in ids] == ["created"] * 4 + ["waiting"] * 46
    assert world.wechat.made == [AGENT] * 4
    assert world.under_way(AGENT) == 0


def test_a_full_agent_passes_the_fan_to_the_next(world: World) -> None:
    """Without a call to the full one; a call that fails gives its place back."""
    world.announce({"": 1})
    world.observe({AGENT: 1, OTHER: 0, THIRD: 0})
    world.wechat.creates = [OFFLINE, 0]
    request_id = world.submit(fallbacks=[OTHER, THIRD]).id
    world.deliver(request_id)
    assert world.wechat.made == [OTHER, THIRD]
    assert world.outcome(request_id) == ("created", None, THIRD)
    assert world.under_way(OTHER) == world.under_way(THIRD) == 0
    late = world.submit("oLATE", fallbacks=[OTHER, THIRD]).id
    world.deliver(late)
    assert world.outcome(late) == ("waiting", "agent_full", None)
    assert world.wechat.made == [OTHER, THIRD]


def test_a_capacity_needs_a_reading_first(world: World) -> None:
    """Nobody knows what room there is; where nobody can tell, our own sessions count."""
    world.announce({"": 2})
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(4)]
    world.deliver(*ids)
    assert {world.outcome(each)[1] for each in ids} == {"agent_offline"}
    assert world.wechat.made == []
    assert world.wishes >= 1
    world.lose_sight()
    for _ in range(4):
        world.deliver(*world.ring())
    assert [world.status(each) for each in ids] == ["created"] * 2 + ["waiting"] * 2
    assert world.wechat.made == [AGENT] * 2


def test_a_paused_agent_means_the_next_target(world: World) -> None:
    """As if offline, and without a call; alone it is waited for until somebody resumes it."""
    world.observe(ALL_ONLINE)
    world.ledger.accounts.pause(APPID, AGENT)
    ladder = world.submit("oLADDER", fallbacks=[OTHER]).id
    alone = world.submit("oALONE").id
    world.deliver(ladder, alone)
    assert world.outcome(ladder) == ("created", None, OTHER)
    assert world.outcome(alone) == ("waiting", "paused", None)
    world.pass_seconds(70)
    world.observe(ALL_ONLINE)
    assert world.ring() == []
    assert world.wechat.made == [OTHER]
    world.ledger.accounts.resume(APPID, AGENT)
    assert world.ring() == [alone]
    world.deliver(alone)
    assert world.outcome(alone) == ("created", None, AGENT)


def test_a_pause_during_a_call_stops_the_ladder(world: World) -> None:
    """The call under way decides; after it nobody of the account is asked."""
    request_id = world.submit(fallbacks=[OTHER]).id

    def pauses() -> int:
        world.ledger.accounts.pause(APPID)
        return OFFLINE

    world.wechat.creates = [pauses, 0]
    world.deliver(request_id)
    assert world.wechat.made == [AGENT]
    assert world.outcome(request_id) == ("waiting", "paused", None)
    world.pass_seconds(1)
    world.observe({OTHER: 0})
    assert world.ring() == []
    world.ledger.accounts.resume(APPID)
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, OTHER)
    assert world.wechat.made == [AGENT, OTHER]


def test_what_is_said_to_be_waited_for_is_the_nearest_to_release(world: World) -> None:
    """Full before paused before offline."""
    world.announce({"": 1})
    world.observe({AGENT: 0, OTHER: 1, THIRD: 0})
    world.pass_seconds(5)
    world.observe({OTHER: 1, THIRD: 0})
    world.ledger.accounts.pause(APPID, THIRD)
    waits = {
        (AGENT, OTHER, THIRD): "agent_full",
        (AGENT, THIRD): "paused",
        (AGENT,): "agent_offline",
    }
    for targets, reason in waits.items():
        request_id = world.submit(f"o{reason}", kf_account=targets[0], fallbacks=targets[1:]).id
        world.deliver(request_id)
        assert world.outcome(request_id) == ("waiting", reason, None)
    assert world.wechat.made == []


# -- lost replies and doubt ------------------------------------------------------------------


def test_after_a_lost_reply_the_same_agent_is_asked_again(world: World) -> None:
    """WeChat answers 0 for a pair that already has its session."""
    world.wechat.creates = [LOST, 0]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, AGENT]
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert world.doubt() is None
    one = world.get(request_id)
    assert [each.error for each in one.attempts] == ["lost_reply", None]
    assert (one.api_calls, one.attempt_count) == (2, 1)


def hung(elapsed_ms: int = 10_000) -> errors.LostReply:
    """What comes of a call that nobody answers."""
    return errors.LostReply("no reply", elapsed_ms=elapsed_ms)


@pytest.mark.parametrize(
    ("elapsed_ms", "made"), [(1000, [AGENT, AGENT]), (1001, [AGENT]), (10_000, [AGENT])]
)
def test_a_call_that_hung_is_not_made_again_in_place(
    world: World, elapsed_ms: int, made: list[str]
) -> None:
    """The next one may hang as long, and the slot with it; the doubt waits with the request."""
    world.wechat.creates = [hung(elapsed_ms), 0]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == made
    if len(made) == 1:
        assert world.outcome(request_id) == ("waiting", "transient", None)
        assert world.doubt() == AGENT
        assert world.account()["hung"] == "1"
        assert world.again(request_id) == 1
        assert world.wechat.made == [AGENT, AGENT]
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert "hung" not in world.account()


def test_an_account_whose_calls_hang_is_asked_one_call_at_a_time(world: World) -> None:
    """A slot that hangs serves nobody else; one request after the other finds out, less often."""
    world.wechat.creates = [hung()]
    ids = [world.submit(f"o{n}", ttl_seconds=7200).id for n in range(20)]
    world.deliver(*ids)
    assert len(world.wechat.made) == 5
    assert {world.status(each) for each in ids} == {"waiting"}
    ends = []
    for probes in range(1, 4):
        hold = world.account()["hold"].split(" ")
        assert hold[1:] == ["transient", str(probes), "-"]
        ends.append(int(hold[0]) / 1000 - world.now())
        world.pass_seconds(70)
        world.ring()
        world.deliver(*ids)
        assert len(world.wechat.made) == 5 + probes
    assert 9 <= ends[0] <= 16
    assert all(59 <= each <= 66 for each in ends[1:])
    world.wechat.creates = [0]
    for _ in range(20):
        world.again(*ids)
    assert {world.status(each) for each in ids} == {"created"}
    assert not {"hold", "hung"} & set(world.account())


def test_a_probe_that_hung_holds_on_though_its_request_ends_with_it(world: World) -> None:
    """What becomes of the request says nothing of how long the account is to be left alone."""
    world.wechat.creates = [hung()]
    world.wechat.sessions = [errors.LostReply("x")]
    ids = [world.submit(f"o{n}", ttl_seconds=7200).id for n in range(5)]
    world.deliver(*ids)
    world.pass_seconds(70)
    world.ring()
    probe = world.account()["hold"].split(" ")[3]
    assert probe in ids
    world.client.hset(world.keys.request(probe), "attempts", retry.MAX_ATTEMPTS - 1)
    world.deliver(probe)
    assert world.status(probe) == "failed"
    assert world.account()["hold"].split(" ")[1:] == ["transient", "2", "-"]


@pytest.mark.parametrize(
    ("serves", "outcome", "made"),
    [
        (None, ("created", None, OTHER), [AGENT, AGENT, "?", OTHER]),
        (AGENT, ("created", None, AGENT), [AGENT, AGENT, "?"]),
        (THIRD, ("already_served", None, THIRD), [AGENT, AGENT, "?"]),
    ],
)
def test_a_lost_reply_is_read_back_before_another_agent_is_asked(
    world: World, serves: str | None, outcome: tuple[str, str | None, str], made: list[str]
) -> None:
    """Lost, then offline: the lost call may have opened the session."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [LOST, OFFLINE, 0]
    world.wechat.sessions = [serves]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == made
    assert world.outcome(request_id) == outcome
    assert world.doubt() is None


def test_while_the_read_back_fails_no_other_agent_is_asked(world: World) -> None:
    """Whatever it costs in time; the doubt stands."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [LOST, OFFLINE]
    world.wechat.sessions = [errors.LostReply("x")]
    request_id = world.submit(fallbacks=[OTHER], ttl_seconds=7200).id
    for _ in range(40):
        if world.get(request_id).final:
            break
        world.deliver(request_id)
        world.pass_seconds(70)
        world.wake()
    assert OTHER not in world.wechat.made
    assert world.outcome(request_id) == ("failed", "unconfirmed", None)
    assert world.doubt() == AGENT
    assert world.wechat.made.count("?") <= retry.MAX_ATTEMPTS + 2


def test_the_doubt_of_an_earlier_request_is_read_back_too(world: World) -> None:
    """It is a doubt about the fan."""
    world.client.set(world.keys.doubt(APPID, FAN), THIRD)
    world.wechat.sessions = [THIRD]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.wechat.made == ["?"]
    assert world.outcome(request_id) == ("already_served", None, THIRD)
    assert world.doubt() is None


@pytest.mark.parametrize("since", ["paused", "offline", "full"])
@pytest.mark.parametrize(("serves", "made"), [(AGENT, ["?"]), (None, ["?", OTHER])])
def test_a_doubt_about_an_agent_who_is_out_is_read_back_first(
    world: World, since: str, serves: str | None, made: list[str]
) -> None:
    """The lost call may have opened the session: there is one, with whoever has the fan."""
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [LOST]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert set(world.wechat.made) == {AGENT}
    world.wechat.calls.clear()

    world.pass_seconds(15)
    world.observe({OTHER: 0} if since == "offline" else {AGENT: 1, OTHER: 0})
    if since == "paused":
        world.ledger.accounts.pause(APPID, AGENT)
    if since == "full":
        world.announce({"": 1})
    world.wechat.creates, world.wechat.sessions = [0], [serves]
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.wechat.made == made
    assert world.outcome(request_id) == ("created", None, serves or OTHER)
    assert world.doubt() is None


def test_a_lost_lease_is_asked_for_again_with_the_same_agent(world: World) -> None:
    """A killed worker leaves behind whom it was about to ask."""
    request_id = world.submit(fallbacks=[OTHER]).id
    world.called(request_id)
    world.pass_seconds(world.config.lease_seconds + 1)
    world.wake()
    world.deliver(request_id)
    assert world.wechat.made == [AGENT]
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert world.doubt() is None


@pytest.mark.parametrize(
    ("serves", "status", "reason"),
    [
        (None, "expired", "transient"),
        (AGENT, "created", None),
        (THIRD, "already_served", None),
        (errors.LostReply("x"), "expired", "unconfirmed"),
        (errors.from_errcode(40003, "x"), "expired", "transient"),
    ],
)
def test_a_deadline_with_a_doubt_is_read_back(
    world: World, serves: str | Exception | None, status: str, reason: str | None
) -> None:
    """Expired only when nobody has the fan; unconfirmed when nobody can tell."""
    request_id = world.doubted()
    world.wechat.sessions = [serves]
    world.pass_seconds(7200)
    world.wake()
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == (status, reason)
    assert (world.doubt() is None) is (reason != "unconfirmed")
    assert "create" not in {kind for kind, _, _ in world.wechat.calls}


def test_a_call_that_never_left_leaves_no_doubt(world: World) -> None:
    """DNS, refused, TLS: WeChat has not seen it, and it says nothing of the request."""
    world.wechat.creates = [errors.NeverLeft("no route"), 0]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert world.doubt() is None
    world.again(request_id, seconds=1)
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert world.get(request_id).attempt_count == 0


def test_a_call_that_never_left_keeps_an_older_doubt(world: World) -> None:
    """It taught nothing."""
    request_id = world.doubted()
    world.wechat.creates = [errors.NeverLeft("no route")]
    world.deliver(request_id)
    assert world.doubt() == AGENT
    assert world.outcome(request_id)[:2] == ("waiting", "transient")


def test_thirty_transient_attempts_give_up(world: World) -> None:
    """Over all deliveries; the last doubt is read back first."""
    world.wechat.creates = [BUSY]
    request_id = world.submit(ttl_seconds=7200).id
    for _ in range(40):
        if world.get(request_id).final:
            break
        world.deliver(request_id)
        world.pass_seconds(70)
        world.wake()
    assert world.outcome(request_id) == ("failed", "gave_up", None)
    one = world.get(request_id)
    assert (one.attempt_count, one.api_calls, len(one.attempts)) == (30, 30, 5)
    assert world.wechat.made == [AGENT] * 30 + ["?"]


def test_thirty_lost_leases_give_up_without_a_further_call(world: World) -> None:
    """Each may have been a call: a request that kills its workers ends, once it is read back."""
    request_id = world.submit(ttl_seconds=7200).id
    for _ in range(retry.MAX_ATTEMPTS):
        world.called(request_id)
        world.pass_seconds(world.config.lease_seconds + 1)
        world.wake()
    world.deliver(request_id)
    assert world.outcome(request_id) == ("failed", "gave_up", None)
    assert world.wechat.made == ["?"]


def test_an_unknown_code_is_read_back_and_kept_for_a_person(world: World) -> None:
    """It may have taken effect; nobody else can be asked."""
    world.wechat.creates = [99999]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, "?"]
    assert world.outcome(request_id) == ("failed", "unknown_errcode", None)
    one = world.get(request_id)
    assert (one.errcode, one.attempt_count) == (99999, 1)
    assert "99999" in (one.hint or "")


def test_an_unknown_code_is_not_the_end_of_a_ladder(world: World) -> None:
    """It says nothing of the next agent; whether it took effect is read back before that."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [99999, OFFLINE, 0]
    request_id = world.submit(fallbacks=[OTHER, THIRD]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, "?", OTHER, THIRD]
    assert world.outcome(request_id) == ("created", None, THIRD)


def test_an_unknown_code_may_have_opened_the_session(world: World) -> None:
    """Then nobody else is asked."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [99999]
    world.wechat.sessions = [AGENT]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, "?"]
    assert world.outcome(request_id) == ("created", None, AGENT)


@pytest.mark.parametrize("codes", [[99999, OUT], [OUT, 99999], [99999, 99999]])
def test_a_ladder_fails_with_the_code_nobody_knows(world: World, codes: list[int]) -> None:
    """Whoever of it was wrong: a person should look at that code."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = list(codes)
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made[-1] != AGENT
    assert world.outcome(request_id) == ("failed", "unknown_errcode", None)


@pytest.mark.parametrize("capacity", [0, 5])
def test_a_code_nobody_knows_of_any_bars_nobody_else(world: World, capacity: int) -> None:
    """It fails after a few agents, or all who are online; others of the room go on meanwhile."""
    world.announce({"": capacity})
    world.observe({f"kf{n}@acct": 0 for n in range(9)})
    world.wechat.creates = [99999, 99999, 99999, 0]
    ids = [world.submit(f"o{n}", kf_account="any").id for n in range(4)]
    world.deliver(*ids)
    assert world.outcome(ids[0]) == ("failed", "unknown_errcode", None)
    assert world.get(ids[0]).api_calls == 3
    assert {world.status(each) for each in ids[1:]} == {"created"}


def test_any_is_through_once_all_who_are_online_answered_that(world: World) -> None:
    """Nobody is waited for who may sign in."""
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [99999]
    request_id = world.submit(kf_account="any").id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("failed", "unknown_errcode", None)
    assert world.get(request_id).api_calls == 2


def test_who_was_told_a_code_nobody_knows_waits_alone(world: World) -> None:
    """In the room it would be sent ahead of those for whom its first agent is right."""
    world.observe({AGENT: 0})
    world.wechat.creates = [99999, OFFLINE]
    request_id = world.submit(fallbacks=[OTHER], ttl_seconds=7200).id
    world.know(AGENT, OTHER)
    world.observe({AGENT: 0})
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "agent_offline")
    assert world.in_room(f"{AGENT}|{OTHER}") == []
    world.pass_seconds(7)
    assert world.ring() == [request_id]
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "agent_offline")
    assert world.watch() == [APPID], "a reading is wanted"
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [0]
    world.pass_seconds(7)
    world.deliver(*world.ring())
    assert world.outcome(request_id) == ("created", None, OTHER)


def test_who_waits_alone_hears_of_a_reading_in_time(world: World) -> None:
    """It stays trusted for some seconds only, and wakes rooms."""
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [99999, OFFLINE, 0]
    request_id = world.submit(fallbacks=[OTHER], ttl_seconds=7200).id
    world.deliver(request_id)
    world.pass_seconds(70)
    world.deliver(*world.ring())
    assert world.outcome(request_id)[:2] == ("waiting", "agent_offline")
    world.observe({AGENT: 0, OTHER: 0})
    world.pass_seconds(1.1)
    world.deliver(*world.ring())
    assert world.outcome(request_id) == ("created", None, OTHER)


def test_a_code_nobody_knows_is_remembered_while_others_are_waited_for(world: World) -> None:
    """Who answered it is not asked again; it is what the request fails with in the end."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [99999, OFFLINE, OUT]
    request_id = world.submit(fallbacks=[OTHER], ttl_seconds=7200).id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "agent_offline")
    world.pass_seconds(10)
    world.observe(ALL_ONLINE)
    world.deliver(*world.ring())
    assert [each for each in world.wechat.made if each != "?"] == [AGENT, OTHER, OTHER]
    assert world.outcome(request_id) == ("failed", "unknown_errcode", None)


# -- 65414 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("serves", "status"), [(AGENT, "created"), (OTHER, "already_served")])
def test_served_elsewhere_is_read_back(world: World, serves: str, status: str) -> None:
    """The asked agent: created. Somebody else: already served, by whom the record says."""
    world.wechat.creates = [SERVED]
    world.wechat.sessions = [serves]
    request_id = world.submit(fallbacks=[THIRD]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT, "?"]
    assert world.outcome(request_id) == (status, None, serves)


def test_served_elsewhere_is_a_doubt_until_it_was_read_back(world: World) -> None:
    """WeChat says so of the agent asked, too: no other one is asked, and no end is written."""
    world.wechat.creates = [SERVED]
    world.wechat.sessions = [errors.UnreadableReply("a page of HTML")]
    request_id = world.submit(fallbacks=[THIRD]).id
    world.deliver(request_id)
    assert world.get(request_id).status == "waiting"
    world.wechat.creates, world.wechat.sessions = [OFFLINE], [AGENT]
    world.again(request_id)
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert THIRD not in world.wechat.made


def test_served_elsewhere_by_nobody_is_asked_again_and_ends(world: World) -> None:
    """The session ended in between; but WeChat contradicting itself is not asked for ever."""
    world.wechat.creates = [SERVED, 0]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("created", None, AGENT)
    world.wechat.creates = [SERVED]
    stuck = world.submit("oSTUCK", ttl_seconds=7200).id
    for _ in range(40):
        if world.get(stuck).final:
            break
        world.deliver(stuck)
        world.pass_seconds(70)
        world.wake()
    assert world.outcome(stuck) == ("failed", "gave_up", None)
    assert world.get(stuck).api_calls == retry.MAX_ATTEMPTS


# -- tokens and accounts ---------------------------------------------------------------------


def test_a_rejected_token_is_renewed_once_a_delivery(world: World) -> None:
    """Asked once more at once; a second rejection waits for a token."""
    world.wechat.creates = [42001, 0]
    request_id = world.submit().id
    world.deliver(request_id)
    assert [token for *_, token in world.wechat.calls] == ["t0", "t1"]
    assert world.outcome(request_id) == ("created", None, AGENT)
    assert world.get(request_id).attempt_count == 0

    world.wechat.calls.clear()
    world.wechat.creates = [40001]
    request_id = world.submit("oSECOND", fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.calls == [("create", AGENT, "t1"), ("create", AGENT, "t2")]
    assert world.tokens.renewed == ["t0", "t1"]
    assert world.outcome(request_id) == ("waiting", "token", None)


def test_a_token_is_renewed_once_however_many_agents_are_asked(world: World) -> None:
    """A source whose tokens all are rejected is not drained."""
    world.observe(ALL_ONLINE)
    world.wechat.creates = [42001, OFFLINE, 40001]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.calls == [
        ("create", AGENT, "t0"),
        ("create", AGENT, "t1"),
        ("create", OTHER, "t1"),
    ]
    assert world.outcome(request_id) == ("waiting", "token", None)


@pytest.mark.parametrize(
    ("failure", "reason", "seconds"),
    [
        (errors.TokenUnavailable("none", hint="x"), "token", 4.5),
        (
            errors.TokenUnavailable("no", hint="x", cause_error=errors.from_errcode(40125, "x")),
            "account_blocked",
            62,
        ),
        (
            errors.TokenUnavailable("no", hint="x", cause_error=errors.from_errcode(45009, "x")),
            "quota",
            3630,
        ),
        (
            errors.TokenUnavailable("no", hint="x", cause_error=errors.from_errcode(-1, "x")),
            "token",
            4.5,
        ),
    ],
)
def test_without_a_token_it_waits_for_what_the_token_call_said(
    world: World, failure: Exception, reason: str, seconds: float
) -> None:
    """No create call is made."""
    world.tokens.failure = failure
    request_id = world.submit(ttl_seconds=7200).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("waiting", reason, None)
    assert world.opens_in_seconds(request_id) == pytest.approx(seconds, rel=0.2)
    assert world.wechat.made == []
    assert world.get(request_id).attempt_count == 0


# -- what this machine alone cannot do ---------------------------------------------------------

#: The codes with which WeChat refuses a machine.
OF_MACHINES = [40164, 61004, *range(89501, 89508)]
DEAD = errors.TokenUnavailable("WeChat rejects the token in /t", hint="write a fresh one")


def machine_troubles() -> list[Outcome]:
    return [*OF_MACHINES, errors.NeverLeft("no name"), errors.NeverLeft("certificate refused")]


@pytest.mark.parametrize("trouble", machine_troubles(), ids=str)
def test_what_this_machine_cannot_do_is_left_to_another_one(world: World, trouble: Outcome) -> None:
    """At once: the request stands in its lane, and the waiting room is to ring it."""
    world.announce(worker="w2")
    world.beat()
    world.wechat.creates = [trouble]
    ids = [world.submit(f"o{n}").id for n in range(3)]
    hurried = world.wishes
    assert world.deliver(*ids) == 1
    assert world.wechat.made == [AGENT], "who stepped back asks for nobody else"
    assert {world.status(each) for each in ids} == {"queued"}
    assert world.wishes > hurried
    assert world.ring() == ids[:1], "whoever is rung takes the others of the lane too"
    assert "hold" not in world.account()
    assert world.deliver(*ids) == 0


@pytest.mark.parametrize("trouble", machine_troubles(), ids=str)
def test_where_no_machine_gets_through_the_account_is_held(world: World, trouble: Outcome) -> None:
    """Until one does: one request probes, and its answer lets the others go."""
    world.announce(worker="w2", marks=[f"{APPID} 0 60000 1 account_blocked 40164 no"])
    world.beat()
    world.wechat.creates = [trouble, 0]
    ids = [world.submit(f"o{n}").id for n in range(3)]
    world.deliver(*ids)
    assert world.wechat.made == [AGENT]
    assert {world.status(each) for each in ids} == {"waiting"}
    reason = world.get(ids[0]).reason
    assert reason == ("account_blocked" if isinstance(trouble, int) else "transient")
    world.announce(worker="w2")
    assert world.ring() == ids[:1], "w2 is back: one probes, long before the hold is over"
    claim = world.claim(ids[0])
    assert world.ring() == []
    world.settle(claim, "created", served_by=AGENT)
    assert set(world.ring()) == set(ids[1:])


def test_a_machine_that_came_back_takes_requests_again(world: World) -> None:
    """Its own probe told, and no request was risked for it."""
    world.announce(worker="w2")
    world.wechat.creates = [40164, 0]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.deliver(request_id) == 0
    world.pass_seconds(66)
    world.beat()
    assert world.deliver(request_id) == 1
    assert world.outcome(request_id) == ("created", None, AGENT)


def test_an_older_doubt_goes_along_to_the_other_machine(world: World) -> None:
    """Who may have been given the fan unseen is read back there before somebody else is asked."""
    request_id = world.doubted(THIRD)
    world.announce(worker="w2")
    world.wechat.sessions = [errors.NeverLeft("no route")]
    world.deliver(request_id)
    assert (world.doubt(), world.status(request_id)) == (THIRD, "queued")


@pytest.mark.parametrize(("is_alone", "status"), [(False, "queued"), (True, "expired")])
def test_an_end_that_this_machine_cannot_confirm_is_left_to_another(
    world: World, is_alone: bool, status: str
) -> None:
    """Only where nobody else can read back does it end unconfirmed."""
    request_id = world.doubted()
    world.pass_seconds(1800)
    if not is_alone:
        world.announce(worker="w2")
    world.wechat.sessions = [errors.NeverLeft("no route")]
    world.wake()
    world.deliver(request_id)
    assert world.status(request_id) == status
    assert (world.get(request_id).reason == "unconfirmed") == is_alone


def test_a_taken_back_request_ends_whatever_the_machine_can_do(world: World) -> None:
    """Nothing needs to be asked of WeChat for that."""
    world.announce(worker="w2")
    request_id = world.submit().id
    world.wechat.creates = [lambda: world.ledger.cancel(request_id) and 40164]
    world.deliver(request_id)
    assert world.status(request_id) == "cancelled"


def test_a_dead_token_of_this_machine_is_not_the_account_s(world: World) -> None:
    """Others work with theirs."""
    world.announce(worker="w2")
    world.tokens.failure = DEAD
    request_id = world.submit().id
    world.deliver(request_id)
    assert (world.status(request_id), world.wechat.made) == ("queued", [])
    (about,) = world.client.hgetall(world.keys.stepped_back("w1")).items()
    assert about[0] == APPID
    assert about[1].endswith(" 1 token - WeChat rejects the token in /t")


def test_the_request_of_an_account_without_credentials_is_left_to_who_has_them(
    world: World,
) -> None:
    """At once; and no further one is taken."""
    world.beat()
    world.announce(appid="wx9", worker="w2")
    foreign = [world.submit(f"o{n}", appid="wx9", lane="batch").id for n in range(3)]
    own = world.submit("oOWN", lane="batch").id
    assert world.deliver(*foreign, own) == 2
    assert [world.status(each) for each in (*foreign, own)] == ["queued"] * 3 + ["created"]
    assert world.ring() == foreign[:1], "whoever is rung takes the others of the lane too"
    assert world.client.hgetall(world.keys.stepped_back("w1")) == {}, "nothing to probe"


def test_an_account_that_nobody_has_credentials_for_is_held_until_somebody_has(
    world: World,
) -> None:
    """Its record says what is missing."""
    request_id = world.submit(appid="wx9").id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("waiting", "token", None)
    other = world.submit("oOTHER", appid="wx9").id
    world.deliver(other)
    assert world.outcome(other) == ("waiting", "token", None)
    assert "credentials" in (world.get(other).errmsg or "")
    world.announce(appid="wx9", worker="w2")
    assert world.ring() == [request_id]


def test_a_machine_steps_back_once_for_all_its_calls_under_way(world: World) -> None:
    """Those who were asked at the same time hear the same: the waits grow with the probes alone."""
    world.announce(worker="w2")
    trouble = retry.of_machine(errors.NeverLeft("no name"), 1)
    assert trouble is not None
    first, second = (world.machine.step_back(APPID, trouble) for _ in range(2))
    assert first.split()[0] == "*"
    assert first.split()[3] == second.split()[3] == "1"
    assert world.machine.strikes(APPID) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(45011, "rate_limited"), (45009, "quota"), (48001, "account_blocked")]
)
def test_trouble_of_the_account_holds_all_its_requests(
    world: World, code: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another agent would not help, and another request would hear the same."""
    monkeypatch.setattr(retry.time, "time", lambda: 600.0)  # far from the next minute
    world.wechat.creates = [code]
    request_id = world.submit(fallbacks=[OTHER]).id
    others = [world.submit(f"o{n}", kf_account=THIRD, lane="batch").id for n in range(3)]
    world.deliver(request_id, *others)
    assert world.wechat.made == [AGENT]
    assert {world.outcome(each) for each in (request_id, *others)} == {("waiting", reason, None)}


def test_one_request_probes_a_held_account(world: World) -> None:
    """While it is refused nobody follows; its answer lets all the others go."""
    world.wechat.creates = [48001]
    ids = [world.submit(f"o{n}").id for n in range(5)]
    world.deliver(*ids)
    world.pass_seconds(59)
    assert world.ring() == []
    world.pass_seconds(7)
    (probe,) = world.ring()
    world.deliver(probe)
    assert {world.outcome(each)[:2] for each in ids} == {("waiting", "account_blocked")}
    assert world.wechat.made == [AGENT] * 2

    world.wechat.creates = [0]
    world.pass_seconds(66)
    (probe,) = world.ring()
    others = set(ids) - {probe}
    for each in others:
        world.deliver(each)
    assert {world.status(each) for each in others} == {"waiting"}
    world.deliver(probe)
    assert set(world.ring()) == others
    world.deliver(*others)
    assert {world.status(each) for each in ids} == {"created"}
    assert world.wechat.made == [AGENT] * 7


def test_a_probe_that_was_killed_gives_way_to_another(world: World) -> None:
    """A held account does not wait for a worker that is gone."""
    world.wechat.creates = [48001]
    ids = [world.submit(f"o{n}").id for n in range(2)]
    world.deliver(*ids)
    world.pass_seconds(66)
    (probe,) = world.ring()
    world.claim(probe, holder="killed")
    world.wechat.creates = [0]
    world.pass_seconds(world.config.lease_seconds + 31)
    for _ in range(4):
        world.deliver(*world.ring())
        world.pass_seconds(1)
    assert {world.status(each) for each in ids} == {"created"}


# -- our own failures ------------------------------------------------------------------------


def crash() -> None:
    raise ZeroDivisionError("a bug")


def test_a_bug_is_logged_once_with_its_traceback_and_backs_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five in a row end the request with internal_error."""
    monkeypatch.setattr(world.tokens, "get", crash)
    request_id = world.submit(ttl_seconds=7200).id
    waits = []
    for crashes in range(1, 6):
        with structlog.testing.capture_logs() as logs:
            world.deliver(request_id)
        (entry,) = [each for each in logs if each["event"] == "delivery_crashed"]
        assert (entry["id"], entry["crashes"]) == (request_id, crashes)
        assert entry["exc_info"]
        waits.append(world.due_in_seconds(request_id))
        world.pass_seconds(70)
        world.wake()
    assert [wait and round(wait) for wait in waits] == [2, 4, 8, 16, None]
    assert world.outcome(request_id) == ("failed", "internal_error", None)
    assert world.reader.oddities()["delivery_crashed"] == 5


def test_a_bug_with_a_call_under_way_leaves_a_doubt(world: World) -> None:
    """Nobody knows how far it came; the attempt does not look like a success."""
    world.wechat.creates = [crash]
    request_id = world.submit(ttl_seconds=7200).id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert world.doubt() == AGENT
    (attempt,) = world.get(request_id).attempts
    assert attempt.errcode is None
    assert attempt.error == "unsure"
    for _ in range(4):
        world.again(request_id)
    assert world.outcome(request_id) == ("failed", "internal_error", None)
    assert world.doubt() is None, "it was read back before the end"


def test_a_bug_in_one_request_harms_no_other(world: World) -> None:
    """The rest of the doorbell goes on."""
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(3)]
    world.wechat.creates = [0, crash, 0]
    assert world.deliver(*ids) == 3
    assert [world.status(each) for each in ids] == ["created", "waiting", "created"]


# -- cancelling, deadlines, shutting down ----------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, ("created", None, AGENT)),
        (OFFLINE, ("cancelled", None, None)),
        (40003, ("cancelled", None, None)),
    ],
)
def test_a_cancel_during_a_call_applies_if_it_does_not_succeed(
    world: World, code: int, outcome: tuple[str, str | None, str | None]
) -> None:
    """The call under way decides."""
    request_id = world.submit().id

    def cancelled() -> int:
        assert world.ledger.cancel(request_id) == "asked"
        return code

    world.wechat.creates = [cancelled]
    world.deliver(request_id)
    assert world.outcome(request_id) == outcome


@pytest.mark.parametrize("code", [OFFLINE, OUT, BUSY])
def test_after_a_cancel_no_further_call_is_made(world: World, code: int) -> None:
    """Neither to the next agent nor again to the same."""
    request_id = world.submit(fallbacks=[OTHER]).id

    def cancelled() -> int:
        world.ledger.cancel(request_id)
        return code

    world.announce({"": 5})
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [cancelled, 0]
    world.deliver(request_id)
    assert [each for each in world.wechat.made if each != "?"] == [AGENT]
    assert world.status(request_id) == "cancelled"
    assert world.under_way(AGENT) == world.under_way(OTHER) == 0


def test_a_cancelled_request_with_a_doubt_is_read_back(world: World) -> None:
    """Who has the fan decides."""
    request_id = world.doubted()
    world.ledger.cancel(request_id)
    world.wechat.sessions = [AGENT]
    world.deliver(request_id)
    assert world.wechat.made == ["?"]
    assert world.outcome(request_id) == ("created", None, AGENT)


def test_a_deadline_that_passes_in_a_call_leaves_the_decision_to_it(world: World) -> None:
    """No pause in place and no further call follow it."""
    request_id = world.submit(ttl_seconds=5).id

    def slow() -> int:
        world.pass_seconds(6)
        return 0

    world.wechat.creates = [slow]
    world.deliver(request_id)
    assert world.status(request_id) == "created"


def test_no_further_request_is_started_once_a_turn_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is for whoever is rung next."""
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(4)]
    now = [0.0]
    monkeypatch.setattr(deliverer.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(deliverer.random, "uniform", lambda shortest, _longest: shortest)

    def slow() -> int:
        now[0] += deliverer.SHORTEST_TURN_SECONDS * 0.6
        return 0

    world.wechat.creates = [slow]
    assert world.deliver(*ids) == 2
    assert [world.status(each) for each in ids] == ["created", "created", "queued", "queued"]
    assert world.deliver(ids[3]) == 2


def test_a_shutdown_finishes_the_call_and_starts_no_further_request(world: World) -> None:
    """Also no escalation; the rest is for another worker."""
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(3)]

    def stop() -> int:
        world.stopping.set()
        world.submit("oLATE", id="late")
        return 0

    world.wechat.creates = [stop]
    assert world.deliver(*ids) == 1
    assert [world.status(each) for each in ids] == ["created", "queued", "queued"]
    assert world.status("late") == "queued"
    assert world.deliver(*ids) == 0


def test_a_shutdown_parks_what_would_be_tried_again_in_place(world: World) -> None:
    """Nobody waits for it."""

    def stop() -> int:
        world.stopping.set()
        return BUSY

    world.wechat.creates = [stop]
    request_id = world.submit().id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")


# -- the doorbell and the ledger -------------------------------------------------------------


def test_an_escalation_goes_before_the_rest_of_a_chunk(world: World) -> None:
    """Whoever settles a request takes the oldest escalation next (promise 7)."""
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(2)]

    def arrives() -> int:
        world.submit("oPERSON", kf_account=THIRD, id="person")
        return 0

    world.wechat.creates = [arrives, 0]
    assert world.deliver(*ids) == 3
    assert world.wechat.made == [AGENT, THIRD, AGENT]


def test_a_chunk_longer_than_a_script_looks_at_is_worked_through(world: World) -> None:
    """Fifty ids, some of them taken, unknown or over."""
    ids = [world.submit(f"o{n}", lane="batch").id for n in range(50)]
    for each in ids[:20]:
        world.ledger.cancel(each)
    with structlog.testing.capture_logs() as logs:
        assert world.deliver("nobody", *ids) == 30
    assert [each["id"] for each in logs if each["event"] == "doorbell_unknown_id"] == ["nobody"]
    assert world.reader.oddities() == {"doorbell_unknown_id": 1}


@pytest.mark.parametrize("stops", ["before the settle", "before it is sent again"])
def test_a_settle_sent_again_takes_the_next_request_as_the_first_try_did(
    world: World, monkeypatch: pytest.MonkeyPatch, stops: str
) -> None:
    """What the first try took would wait for its lease to end, with a doubt about its fan."""
    settle, asked = world.ledger.settle, []
    first, second = (world.submit(f"o{n}", lane="batch").id for n in range(2))

    def lost_at_first(*args: Any, take_next: bool, **kwargs: Any) -> claims.Taken:
        asked.append(take_next)
        taken = settle(*args, take_next=take_next, **kwargs)
        if len(asked) > 1:
            return taken
        world.stopping.set()
        raise errors.LedgerUnavailable("redis://h", "reset", maybe_written=True)

    def opens() -> int:
        if stops == "before the settle":
            world.stopping.set()
        return 0

    world.wechat.creates = [opens]
    monkeypatch.setattr(world.ledger, "settle", lost_at_first)
    world.deliver(first)
    assert asked[0] == asked[1] == (stops == "before it is sent again")
    assert world.status(first) == "created"
    assert world.status(second) == "queued", "whoever took it gave it back"
    assert world.doubt("o1") is None


def test_a_stale_holder_writes_nothing_and_says_so(world: World) -> None:
    """The lease ran out during the call and another worker took over."""
    request_id = world.submit().id

    def overtaken() -> int:
        world.pass_seconds(world.config.lease_seconds + 1)
        world.wake()
        world.claim(request_id, holder="w2")
        return 0

    world.wechat.creates = [overtaken]
    with structlog.testing.capture_logs() as logs:
        assert world.deliver(request_id) == 0
    assert [each["id"] for each in logs if each["event"] == "lease_lost"] == [request_id]
    assert world.status(request_id) == "calling"
    assert world.doubt() == AGENT


def test_a_lost_lease_stops_the_ladder(world: World) -> None:
    """No further call without a claim: whoever has it next asks the agent in doubt first."""
    request_id = world.submit(fallbacks=[OTHER], lane="batch").id

    def overtaken() -> int:
        world.pass_seconds(world.config.lease_seconds + 1)
        world.wake()
        return OFFLINE

    world.wechat.creates = [overtaken, 0]
    assert world.deliver(request_id) == 1
    assert world.wechat.made == [AGENT, AGENT]
    assert world.status(request_id) == "created"


def test_no_call_starts_with_less_lease_than_it_may_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that waited for its token is renewed before the call."""
    request_id = world.submit().id
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    renewed: list[float] = []
    renew = world.ledger.renew

    def watched(claim: claims.Claim, *args: Any) -> claims.Claim:
        renewed.append(claim.lease_left_seconds())
        return renew(claim, *args)

    def slow_token() -> str:
        now[0] += world.config.lease_seconds - world.config.call_timeout_seconds
        return "t0"

    monkeypatch.setattr(world.ledger, "renew", watched)
    monkeypatch.setattr(world.tokens, "get", slow_token)
    world.deliver(request_id)
    assert renewed == [pytest.approx(world.config.call_timeout_seconds)]
    assert world.status(request_id) == "created"


def test_no_read_back_starts_with_less_lease_than_it_may_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent in doubt stays in the ledger meanwhile, should this worker die."""
    request_id = world.doubted(OTHER)
    monkeypatch.setattr(claims.Claim, "lease_left_seconds", lambda _: 1.0)
    renewed: list[str] = []
    renew = world.ledger.renew

    def watched(claim: claims.Claim, kf_account: str, *args: Any) -> claims.Claim:
        assert world.wechat.made == []
        renewed.append(kf_account)
        monkeypatch.undo()
        return renew(claim, kf_account, *args)

    monkeypatch.setattr(world.ledger, "renew", watched)
    world.wechat.sessions = [OTHER]
    world.deliver(request_id)
    assert renewed == [OTHER]
    assert world.wechat.made == ["?"]
    assert world.outcome(request_id) == ("already_served", None, OTHER)


def test_the_agent_stands_in_the_ledger_before_every_call(world: World) -> None:
    """Whatever kills the worker then, the next one knows whom the fan may have been given to."""
    request_id = world.submit(fallbacks=[OTHER, "any"]).id
    world.observe(ALL_ONLINE)
    seen: list[tuple[str | None, str]] = []

    def look() -> int:
        named = world.client.hget(world.keys.request(request_id), "calling")
        seen.append((named, world.wechat.calls[-1][1]))
        return OFFLINE

    world.wechat.creates = [look]
    world.deliver(request_id)
    assert seen == [(AGENT, AGENT), (OTHER, OTHER), (THIRD, THIRD)]


class Losing:
    """Lets a step of the ledger happen and loses its reply, or loses it on its way there."""

    def __init__(self, step: Callable[..., Any], *, times: int, before: bool = False) -> None:
        self.step, self.times, self.before = step, times, before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.times == 0:
            return self.step(*args, **kwargs)
        self.times -= 1
        if not self.before:
            self.step(*args, **kwargs)
        raise errors.LedgerUnavailable("redis://h", "lost", maybe_written=not self.before)


@pytest.mark.parametrize("step", ["claim", "renew", "find_next", "settle"])
@pytest.mark.parametrize("before", [True, False])
def test_a_step_whose_reply_was_lost_is_taken_again(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    """Each request gets its outcome in this delivery, and no call is made twice for it."""
    world.announce({"": 5})
    world.observe({AGENT: 0, OTHER: 0})
    world.wechat.creates = [BUSY, OFFLINE, 0]
    ids = [world.submit(f"o{n}", lane="batch", fallbacks=[OTHER]).id for n in range(2)]
    losing = Losing(getattr(world.ledger, step), times=1, before=before)
    monkeypatch.setattr(world.ledger, step, losing)
    assert world.deliver(*ids) == 2
    assert losing.times == 0
    assert [world.outcome(each) for each in ids] == [("created", None, OTHER)] * 2
    assert world.wechat.made == [AGENT, AGENT, "?", OTHER, OTHER]
    assert world.under_way(AGENT) == world.under_way(OTHER) == 0


def test_a_ledger_that_stays_away_interrupts_the_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries until the lease runs out, of which little is left; then the doubt is asked again."""
    request_id = world.submit().id
    losing = Losing(world.ledger.settle, times=1000, before=True)
    monkeypatch.setattr(world.ledger, "settle", losing)
    given, reaching = list[float](), retry.reaching_ledger

    def briefly(seconds: float) -> tenacity.Retrying:
        given.append(seconds)
        return reaching(0.1)

    monkeypatch.setattr(retry, "reaching_ledger", briefly)
    with pytest.raises(errors.LedgerUnavailable):
        world.deliver(request_id)
    assert given == [pytest.approx(world.config.lease_seconds, abs=1)]
    assert world.status(request_id) == "calling"
    world.pass_seconds(world.config.lease_seconds + 1)
    world.wake()
    assert world.doubt() == AGENT


def test_a_settled_request_is_logged_once(world: World) -> None:
    """With its ids as fields; bugs of ours as errors."""
    for code, level in ((0, "info"), (40003, "info"), (47001, "error"), (OFFLINE, "info")):
        world.wechat.creates = [code]
        request_id = world.submit(f"o{code}").id
        with structlog.testing.capture_logs() as logs:
            world.deliver(request_id)
        (entry,) = [each for each in logs if each["event"] == "request_settled"]
        assert (entry["id"], entry["log_level"]) == (request_id, level)
        assert entry["status"] == world.status(request_id)


# -- what a review found ---------------------------------------------------------------------


def test_no_call_starts_once_the_worker_shuts_down(world: World) -> None:
    """A ladder under way is left after the call that runs; the request is queued again."""

    world.observe(ALL_ONLINE)

    def stops() -> int:
        world.stopping.set()
        return OFFLINE

    world.wechat.creates = [stops, 0]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.wechat.made == [AGENT]
    assert world.status(request_id) == "queued"
    assert world.due_in_seconds(request_id) <= 0  # type: ignore[operator]


def test_a_crash_while_a_cancelled_fan_is_read_back_waits_its_back_off(world: World) -> None:
    """It neither spins nor lasts for ever: five crashes end it."""
    request_id = world.doubted(OTHER)
    assert world.ledger.cancel(request_id) == "asked"
    world.wechat.sessions = [KeyError("ours")]
    world.deliver(request_id)
    assert world.status(request_id) == "waiting"
    assert world.due_in_seconds(request_id) > 1  # type: ignore[operator]
    for _ in range(4):
        world.again(request_id)
    assert world.outcome(request_id) == ("cancelled", "unconfirmed", None)


def test_a_code_that_came_without_an_attempt_tells_what_to_do(world: World) -> None:
    """A refused address is refused at the token call: the record and its hint say so."""
    world.tokens.failure = errors.TokenUnavailable(
        "no token", hint="", cause_error=errors.from_errcode(40164, "invalid ip")
    )
    request_id = world.submit(ttl_seconds=7200).id
    world.deliver(request_id)
    one = world.get(request_id)
    assert (one.status, one.reason) == ("waiting", "account_blocked")
    assert (one.errcode, one.errmsg, one.attempts) == (40164, "invalid ip", ())
    assert "whitelist" in (one.hint or "")
    world.tokens.failure = None
    world.again(request_id)
    assert (world.status(request_id), world.get(request_id).errcode) == ("created", 0)


@pytest.mark.parametrize("code", [99999, 47001, OUT, OFFLINE, SERVED])
def test_a_strange_code_of_a_read_ends_no_request(world: World, code: int) -> None:
    """Only what create answers can refuse a request for good."""
    world.client.set(world.keys.doubt(APPID, FAN), THIRD)
    world.wechat.sessions = [errors.from_errcode(code, "new")]
    request_id = world.submit(ttl_seconds=7200).id
    world.deliver(request_id)
    assert world.outcome(request_id)[:2] == ("waiting", "transient")
    assert set(world.wechat.made) == {"?"}


def test_a_target_that_was_not_asked_does_not_make_it_created(world: World) -> None:
    """The first agent says that somebody else serves the fan; that it is the second is chance."""
    world.wechat.creates = [65414]
    world.wechat.sessions = [OTHER]
    request_id = world.submit(fallbacks=[OTHER]).id
    world.deliver(request_id)
    assert world.outcome(request_id) == ("already_served", None, OTHER)

"""presence: who is online, read once an interval in the whole fleet, and told to the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
import structlog.testing

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER
from worker import errors, machine, presence
from worker.ledger import accounts
from worker.wechat import account as wechat_account

REFUSED = errors.from_errcode(48001, "api unauthorized rid: 1234-5678")


def until(is_so: Callable[[], Any]) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class WeChat:
    """Plays what getonlinekflist answers, the last for ever; getkflist answers `names`."""

    def __init__(self) -> None:
        self.answers: list[dict[str, int] | Exception] = [{}]
        self.names: list[dict[str, str]] | Exception = []
        #: The token of each reading of who is online.
        self.reads: list[str] = []
        self.name_reads = 0
        #: A reading goes on once this is set.
        self.may_answer = threading.Event()
        self.may_answer.set()

    def get(self, path: str, *, token: str, **_: Any) -> dict[str, Any]:
        if path == "/cgi-bin/customservice/getkflist":
            return self._tell_names()
        assert path == "/cgi-bin/customservice/getonlinekflist"
        self.reads.append(token)
        assert self.may_answer.wait(10)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        rows = [{"kf_account": who, "status": 1, "accepted_case": n} for who, n in answer.items()]
        return {"kf_online_list": rows}

    def _tell_names(self) -> dict[str, Any]:
        self.name_reads += 1
        if isinstance(self.names, Exception):
            raise self.names
        return {"kf_list": self.names}


class Tokens:
    """Hands out t0, and t1 once that was rejected."""

    def __init__(self) -> None:
        self.current = "t0"
        self.failure: Exception | None = None

    def get(self) -> str:
        if self.failure:
            raise self.failure
        return self.current

    def renew(self, rejected: str) -> str:
        assert rejected == self.current
        self.current = "t1"
        return self.get()


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Fleet(stages.Stage):
    """A ledger with processes that read presence."""

    def __init__(self) -> None:
        super().__init__(fakeredis.FakeRedis(decode_responses=True), "t")
        self.wechat, self.tokens = WeChat(), Tokens()
        self.news = 0
        self._processes: list[presence.Presence] = []

    def process(self, *appids: str, ledger: Any = None) -> presence.Presence:
        """One more process, with credentials for these accounts."""
        known = {
            each: wechat_account.Account(
                appid=each,
                transport=self.wechat,  # type: ignore[arg-type]
                tokens=self.tokens,
            )
            for each in appids
        }
        made = presence.Presence(
            ledger or self.ledger.accounts,
            known,
            machine.Machine("w1", known),
            seconds=5,
            call_seconds=10,
            news=self.note,
        )
        self._processes.append(made)
        return made

    def note(self) -> None:
        self.news += 1

    def look(self, process: presence.Presence) -> None:
        """One look, and all that it began."""
        process.look()
        until(lambda: all(each.done() for each in process._under_way.values()))

    def told(self, field: str) -> str | None:
        """What the ledger knows of the account."""
        return self.client.hget(self.keys.account(APPID), field)

    def next_in_seconds(self) -> float:
        """How long until the account may be read again."""
        score = self.client.zscore(self.keys.watch, APPID)
        seconds, micros = self.client.time()
        return float(score) / 1000 - seconds - micros / 1e6

    def make_due(self) -> None:
        """As if the time to the next reading had passed."""
        self.client.zadd(self.keys.watch, {APPID: 0})
        self.client.hset(self.keys.account(APPID), "next", round(self.now() * 1000))

    def close(self) -> None:
        self.wechat.may_answer.set()
        for each in self._processes:
            each.stop()
            each._pool.shutdown(wait=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the pace of readings is measured by."""
    made = Clock()
    monkeypatch.setattr(presence, "time", made)
    return made


@pytest.fixture
def fleet(clock: Clock) -> Iterator[Fleet]:
    """Somebody waits for whoever is online; nothing was read yet."""
    made = Fleet()
    assert made.take(made.submit(kf_account="any", id="waits").id).needs_reading
    yield made
    made.close()


@pytest.fixture
def one(fleet: Fleet) -> presence.Presence:
    """A process that serves the account."""
    return fleet.process(APPID)


# -- when ------------------------------------------------------------------------------------


def test_one_process_in_the_fleet_reads_once_an_interval(
    fleet: Fleet, one: presence.Presence
) -> None:
    """However many look, and however often."""
    another = fleet.process(APPID)
    for _ in range(3):
        fleet.look(one)
        fleet.look(another)
    assert len(fleet.wechat.reads) == 1
    assert fleet.next_in_seconds() == pytest.approx(5, abs=0.5)
    fleet.make_due()
    fleet.look(another)
    fleet.look(one)
    assert len(fleet.wechat.reads) == 2


def test_a_silent_wechat_holds_up_no_later_reading(fleet: Fleet, one: presence.Presence) -> None:
    """Nor does a worker that was killed during one: the next may begin after an interval."""
    fleet.wechat.may_answer.clear()
    one.look()
    until(lambda: fleet.wechat.reads)
    assert fleet.next_in_seconds() == pytest.approx(5, abs=0.5)
    fleet.wechat.may_answer.set()
    until(lambda: fleet.told("fresh"))
    assert fleet.next_in_seconds() == pytest.approx(5, abs=0.5)


def test_nobody_is_asked_where_nobody_waits(fleet: Fleet, one: presence.Presence) -> None:
    """The account leaves the watch."""
    assert fleet.ledger.cancel("waits") == "cancelled"
    fleet.look(one)
    assert fleet.wechat.reads == []
    assert fleet.client.zscore(fleet.keys.watch, APPID) is None


CROWD = [f"wx{number}" for number in range(99)]


class Crowd:
    """A ledger of endless accounts that wait for a reading; notes when each was taken."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.taken_at: list[float] = []

    def watch(self, limit: int, *, interval_seconds: float, taker: Any) -> list[accounts.Reading]:
        first = len(self.taken_at)
        self.taken_at += [self._clock.now] * limit
        return [accounts.Reading(appid=CROWD[(first + n) % 99], began_ms=n) for n in range(limit)]

    def observe(self, *_: Any, **__: Any) -> int:
        return 0


def test_a_process_begins_twenty_readings_a_second_at_most(fleet: Fleet, clock: Clock) -> None:
    """In whichever second, also in the first after a rest; and nearly as many while there are."""
    crowd = Crowd(clock)
    process = fleet.process(*CROWD, ledger=crowd)
    clock.now += 60
    for _ in range(300):
        fleet.look(process)
        clock.now += 0.01
    busiest = max(sum(at <= each < at + 1 for each in crowd.taken_at) for at in crowd.taken_at)
    assert busiest == presence.READINGS_A_SECOND == 20
    assert len(crowd.taken_at) >= 50
    assert len(fleet.wechat.reads) == len(crowd.taken_at)


def test_a_process_has_eight_readings_under_way_at_most(fleet: Fleet, clock: Clock) -> None:
    """A WeChat that hangs takes no more threads than that, and the rest is left to others."""
    crowd = Crowd(clock)
    process = fleet.process(*CROWD, ledger=crowd)
    fleet.wechat.may_answer.clear()
    for _ in range(5):
        clock.now += 1
        process.look()
    until(lambda: len(fleet.wechat.reads) == presence.THREADS)
    assert len(crowd.taken_at) == presence.THREADS == 8
    fleet.wechat.may_answer.set()
    until(lambda: all(each.done() for each in process._under_way.values()))
    clock.now += 1
    fleet.look(process)
    assert len(crowd.taken_at) == 16


def test_an_account_that_hangs_keeps_one_thread_busy(fleet: Fleet, clock: Clock) -> None:
    """However often its next reading falls due meanwhile; the others go on."""
    process = fleet.process(APPID, ledger=Again())
    fleet.wechat.may_answer.clear()
    for _ in range(5):
        clock.now += 1
        process.look()
    until(lambda: len(fleet.wechat.reads) == 1)
    fleet.wechat.may_answer.set()
    until(lambda: all(each.done() for each in process._under_way.values()))
    assert len(fleet.wechat.reads) == 1
    fleet.look(process)
    assert len(fleet.wechat.reads) == 2


def test_an_account_whose_readings_hang_is_read_less_often(
    fleet: Fleet, one: presence.Presence
) -> None:
    """From the second in a row on: one reply that was lost must not blind it for long."""
    hung = errors.LostReply("no reply", elapsed_ms=10_000)
    fleet.wechat.answers = [hung, hung, {AGENT: 1}, hung, REFUSED, hung]
    pauses = []
    for _ in range(6):
        fleet.make_due()
        fleet.look(one)
        pauses.append(int(fleet.told("next") or 0) - int(fleet.told("tried") or 0))
    assert [round(each / 1000) for each in pauses] == [5, 20, 5, 5, 60, 5]


class Again(Crowd):
    """A ledger in which one account is always due."""

    def __init__(self) -> None:
        super().__init__(Clock())

    def watch(self, limit: int, *, interval_seconds: float, taker: Any) -> list[accounts.Reading]:
        return [accounts.Reading(appid=APPID, began_ms=0)]


# -- what it tells ---------------------------------------------------------------------------


def test_a_reading_is_told_with_the_sessions_of_each(fleet: Fleet, one: presence.Presence) -> None:
    """Trusted until the next but one could have come, a call included."""
    fleet.wechat.answers = [{AGENT: 3, OTHER: 0}]
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
    assert (fleet.told(f"on:{AGENT}"), fleet.told(f"on:{OTHER}")) == ("3", "0")
    trusted_ms = int(fleet.told("fresh") or 0) - int(fleet.told("began") or 0)
    assert trusted_ms == (2 * 5 + 10) * 1000
    assert [(each["event"], each["count"], each["online"]) for each in logs] == [
        ("agents_came_online", 2, 2)
    ]
    assert fleet.news == 1


@pytest.mark.parametrize(("online", "news"), [({AGENT: 1}, 2), ({}, 0)])
def test_a_reading_is_news_where_anybody_is_online(
    fleet: Fleet, one: presence.Presence, online: dict[str, int], news: int
) -> None:
    """Each time, since a session may have closed; an empty list lets nobody go."""
    fleet.wechat.answers = [online]
    for _ in range(2):
        fleet.make_due()
        fleet.look(one)
    assert len(fleet.wechat.reads) == 2
    assert fleet.news == news


def test_somebody_who_came_before_is_not_logged_again(fleet: Fleet, one: presence.Presence) -> None:
    """A line for what changed."""
    fleet.wechat.answers = [{AGENT: 1}]
    fleet.look(one)
    fleet.make_due()
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
    assert len(fleet.wechat.reads) == 2
    assert logs == []


def test_the_names_of_all_agents_are_read_now_and_then(
    fleet: Fleet, one: presence.Presence, clock: Clock
) -> None:
    """With the first reading: who is on the list and not online is known to be offline.

    One who is bound to nobody, or on no list, may be wrong: only a call tells.
    """
    fleet.wechat.answers = [{AGENT: 0}]
    fleet.wechat.names = [
        {"kf_account": AGENT, "kf_wx": "anna"},
        {"kf_account": OTHER, "kf_wx": "bob"},
        {"kf_account": "unbound@acct"},
    ]
    for _ in range(3):
        fleet.look(one)
        fleet.make_due()
    assert (len(fleet.wechat.reads), fleet.wechat.name_reads) == (3, 1)
    offline = fleet.submit("oA", kf_account=OTHER, lane="batch").id
    fleet.ledger.cancel("waits")
    assert fleet.take(offline).claim is None
    unbound = fleet.submit("oB", kf_account="unbound@acct", lane="batch").id
    assert fleet.claim(unbound).calling == "unbound@acct"
    clock.now += presence.NAMES_SECONDS
    fleet.look(one)
    assert fleet.wechat.name_reads == 2


def test_without_the_names_a_reading_is_as_good(fleet: Fleet, one: presence.Presence) -> None:
    """An account may be refused the one list and given the other."""
    fleet.wechat.answers = [{AGENT: 1}]
    fleet.wechat.names = REFUSED
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
        fleet.make_due()
        fleet.look(one)
    assert [each["event"] for each in logs] == ["agents_came_online", "names_unread"]
    assert (fleet.told("online"), fleet.told("blind")) == (AGENT, None)
    assert fleet.wechat.name_reads == 1


# -- what fails ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "why", "seconds"),
    [
        (REFUSED, "48001 api unauthorized", 60),
        (errors.from_errcode(45009, "reach max api daily quota limit"), "45009 reach max", 60),
        (errors.from_errcode(47001, "data format error"), "47001 data format error", 60),
        (errors.from_errcode(-1, "system error"), "-1 system error", 5),
        (errors.from_errcode(45011, "too fast"), "45011 too fast", 5),
        (errors.from_errcode(99999, "new"), "99999 new", 5),
        (errors.LostReply("reset at once", elapsed_ms=3), "- reset at once", 5),
        (errors.LostReply("no reply in 10 s", elapsed_ms=10_000), "- no reply in 10 s", 5),
        (errors.UnreadableReply("x" * 500), "- " + "x" * 198, 5),
    ],
)
def test_a_reading_that_fails_makes_presence_blind(
    fleet: Fleet, one: presence.Presence, failure: Exception, why: str, seconds: float
) -> None:
    """With the code and its words; tried once a minute where only a person can help."""
    fleet.wechat.answers = [failure]
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
    told = fleet.told("blind") or ""
    assert told.startswith(why)
    assert len(told) <= errors.MAX_IN_SHORT
    assert fleet.next_in_seconds() == pytest.approx(seconds, abs=0.5)
    assert [(each["event"], each["log_level"]) for each in logs] == [("presence_blind", "warning")]
    assert fleet.news == 1


def test_blindness_is_news_once_and_a_reading_ends_it(fleet: Fleet, one: presence.Presence) -> None:
    """Those who waited for the reading alone go on without it; a line for what changed."""
    fleet.wechat.answers = [REFUSED, REFUSED, {}]
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            fleet.make_due()
            fleet.look(one)
    assert (fleet.news, [each["event"] for each in logs]) == (1, ["presence_blind"])
    fleet.make_due()
    fleet.look(one)
    assert len(fleet.wechat.reads) == 3
    assert fleet.told("blind") is None


def test_a_rejected_token_is_renewed_once(fleet: Fleet, one: presence.Presence) -> None:
    """Asked once more at once; a second rejection is a reading that failed."""
    rejected = errors.from_errcode(42001, "access_token expired")
    fleet.wechat.answers = [rejected, {AGENT: 0}]
    fleet.look(one)
    assert fleet.wechat.reads == ["t0", "t1"]
    assert fleet.told(f"on:{AGENT}") == "0"

    fleet.tokens.current = "t0"
    fleet.wechat.answers = [rejected]
    fleet.make_due()
    fleet.look(one)
    assert fleet.wechat.reads == ["t0", "t1"] * 2
    assert fleet.told("blind") == "42001 access_token expired"


@pytest.mark.parametrize(
    ("cause", "why", "seconds"),
    [
        (None, "- no access token for wx1", 5),
        (errors.from_errcode(-1, "busy"), "- no access token for wx1", 5),
        (errors.from_errcode(40164, "invalid ip"), "40164 invalid ip", 60),
    ],
)
def test_without_a_token_nothing_is_read(
    fleet: Fleet,
    one: presence.Presence,
    cause: errors.WeChatError | None,
    why: str,
    seconds: float,
) -> None:
    """What the token call was refused for says what a person has to do."""
    fleet.tokens.failure = errors.TokenUnavailable(
        "no access token for wx1", hint="x", cause_error=cause
    )
    fleet.look(one)
    assert fleet.wechat.reads == []
    assert fleet.told("blind") == why
    assert fleet.next_in_seconds() == pytest.approx(seconds, abs=0.5)


def test_an_account_without_credentials_is_left_to_others(fleet: Fleet) -> None:
    """That this process cannot read it says nothing of the account."""
    fleet.look(fleet.process("wx2"))
    assert fleet.wechat.reads == []
    assert fleet.told("blind") is None


@pytest.mark.parametrize(
    "trouble",
    [
        errors.from_errcode(40164, "invalid ip"),
        errors.NeverLeft("no name"),
        errors.TokenUnavailable("no token in /t", hint="write one"),
    ],
    ids=str,
)
def test_the_trouble_of_one_machine_blinds_nobody(
    fleet: Fleet, one: presence.Presence, trouble: Exception
) -> None:
    """It steps back, and the next pass of another process reads."""
    fleet.announce(worker="w2")
    fleet.wechat.answers = [trouble]
    fleet.look(one)
    assert fleet.told("blind") is None
    assert len(fleet.client.hgetall(fleet.keys.stepped_back("w1"))) == 1
    fleet.wechat.answers = [{AGENT: 0}]
    fleet.look(one)
    assert fleet.told("online") is None, "who stepped back reads nothing"
    fleet.look(fleet.process(APPID))
    assert fleet.told("online") == AGENT


def test_where_no_machine_can_read_nobody_can_tell(fleet: Fleet, one: presence.Presence) -> None:
    """All the others stepped back before."""
    fleet.announce(worker="w2", marks=[f"{APPID} 0 60000 1 account_blocked 40164 invalid ip"])
    fleet.wechat.answers = [errors.from_errcode(40164, "invalid ip")]
    fleet.look(one)
    assert fleet.told("blind") == "40164 invalid ip"


def test_a_ledger_that_is_away_meanwhile_is_noted(
    fleet: Fleet, one: presence.Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading is lost; the account is due again by itself."""

    def away(*_: Any, **__: Any) -> int:
        raise errors.LedgerUnavailable("redis://h", "gone", maybe_written=False)

    monkeypatch.setattr(fleet.ledger.accounts, "observe", away)
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
    assert [(each["event"], each["appid"]) for each in logs] == [("presence_untold", APPID)]
    assert fleet.news == 0
    assert 0 < fleet.next_in_seconds() <= 20


def test_a_bug_does_not_end_the_thread(fleet: Fleet, one: presence.Presence) -> None:
    """It is logged with its traceback, and the next reading comes."""
    fleet.wechat.answers = [ZeroDivisionError("a bug"), {AGENT: 0}]
    with structlog.testing.capture_logs() as logs:
        fleet.look(one)
    assert [(each["event"], each["exc_info"]) for each in logs] == [("presence_crashed", True)]
    fleet.make_due()
    fleet.look(one)
    assert fleet.told(f"on:{AGENT}") == "0"


def test_stopping_leaves_what_is_under_way(fleet: Fleet, one: presence.Presence) -> None:
    """It waits for no silent WeChat; a reading that ends after all is told."""
    fleet.wechat.answers = [{AGENT: 2}]
    fleet.wechat.may_answer.clear()
    one.look()
    until(lambda: fleet.wechat.reads)
    one.stop()
    assert fleet.told("began") is None
    fleet.wechat.may_answer.set()
    until(lambda: fleet.told(f"on:{AGENT}") == "2")

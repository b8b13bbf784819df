"""machine and probing: what one process alone cannot do, and how it finds out that it can again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing

from worker import errors, machine, probing, retry
from worker.ledger import accounts
from worker.wechat import account as wechat_account

NO_NAME = errors.NeverLeft("api.weixin.qq.com: not sent: Name or service not known")
REFUSED = errors.MachineRefused("errcode 40164", errcode=40164, errmsg="invalid ip")
NO_TOKEN = errors.TokenUnavailable("no access token in /t", hint="write one")


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class WeChat:
    """Answers a reading as the test says."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.reads = 0

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        assert path == "/cgi-bin/customservice/getonlinekflist"
        self.reads += 1
        if self.failure:
            raise self.failure
        return {"kf_online_list": []}


class Tokens:
    def __init__(self) -> None:
        self.failure: Exception | None = None

    def get(self) -> str:
        if self.failure:
            raise self.failure
        return "t"

    def renew(self, rejected: str) -> str:
        raise AssertionError(rejected)


class Process:
    """A machine that serves two accounts, with its probes."""

    def __init__(self) -> None:
        self.clock, self.wechat = Clock(), WeChat()
        self.tokens = {"wx1": Tokens(), "wx2": Tokens()}
        self.changes = 0
        self.machine = machine.Machine(
            "host:1:abc", ["wx1", "wx2"], changed=self._change, clock=self.clock
        )
        self.accounts = {
            appid: wechat_account.Account(
                appid=appid,
                transport=self.wechat,  # type: ignore[arg-type]
                tokens=tokens,
                has_token_of_wechat=True,
            )
            for appid, tokens in self.tokens.items()
        }
        self.probes = probing.Probes(self.machine, self.accounts)

    def _change(self) -> None:
        self.changes += 1

    def fail(self, error: Exception, appid: str = "wx1") -> str:
        """A delivery of this account ends so."""
        trouble = retry.of_machine(error, self.machine.strikes(appid) + 1)
        assert trouble is not None
        return self.machine.step_back(appid, trouble)

    def probe(self, seconds: float) -> None:
        """So much later, whatever probes are due; until they are over."""
        self.clock.now += seconds
        self.probes.look()
        for each in self.probes._under_way.values():
            each.result(10)

    @property
    def leaves(self) -> str:
        return self.machine.taker.leaves


@pytest.fixture
def process() -> Iterator[Process]:
    """Its log lines are not shown."""
    made = Process()
    with structlog.testing.capture_logs():
        yield made
    made.probes.stop()


def test_trouble_of_one_account_leaves_that_account(process: Process) -> None:
    """The others go on."""
    scope, age_ms, left_ms, *_ = process.fail(REFUSED).split(" ")
    assert (scope, age_ms) == ("wx1", "0")
    assert 60_000 <= int(left_ms) <= 65_000
    assert process.leaves == "|wx1|"
    assert process.machine.may_consume()


def test_without_a_way_to_wechat_all_accounts_are_left(process: Process) -> None:
    """The mark is one for all."""
    assert process.fail(NO_NAME).split(" ", 1)[0] == "*"
    assert process.leaves == "*"


def test_the_mark_says_what_status_shows(process: Process) -> None:
    """Times are durations, since the ledger's clock is another one."""
    process.fail(NO_TOKEN)
    process.clock.now += 2
    scope, age_ms, left_ms, times, reason, *because = process.machine.packed()[0].split(" ")
    assert (scope, age_ms, times, reason) == ("wx1", "2000", "1", "token")
    assert 2000 <= int(left_ms) <= 3000
    assert " ".join(because) == "- no access token in /t"


@pytest.mark.parametrize(
    ("fails", "is_needed", "consumes"),
    [
        ([], False, True),
        (["wx1"], False, True),
        (["wx1", "wx2"], False, False),
        (["wx1", "wx2"], True, True),
    ],
)
def test_it_takes_no_doorbells_while_others_do_all_that_it_cannot(
    process: Process, fails: list[str], is_needed: bool, consumes: bool
) -> None:
    """Where nobody else gets through, somebody has to put requests into their rooms."""
    for appid in fails:
        process.fail(REFUSED, appid)
    process.machine.hear(accounts.Fleet(is_needed=is_needed, others=frozenset()))
    assert process.machine.may_consume() is consumes


def test_an_account_of_others_is_left_to_them(process: Process) -> None:
    """As far as the last beat told; there is nothing to probe."""
    process.machine.hear(accounts.Fleet(is_needed=False, others=frozenset({"wx9"})))
    assert process.leaves == "|wx9|"
    missing = errors.CredentialsMissing("no credentials for wx8", hint="")
    assert process.fail(missing, "wx8") == ""
    assert process.leaves == "|wx8|wx9|"
    process.probe(1000)
    assert process.wechat.reads == 0


def test_a_probe_that_gets_through_ends_it(process: Process) -> None:
    """Not before its time, and once."""
    process.fail(REFUSED)
    process.probe(59)
    assert process.wechat.reads == 0
    process.probe(7)
    assert (process.wechat.reads, process.leaves) == (1, "")
    assert process.machine.packed() == []
    process.probe(100)
    assert process.wechat.reads == 1


def test_the_waits_between_probes_grow(process: Process) -> None:
    """As tenacity has them for this kind of trouble."""
    process.wechat.failure = NO_NAME
    process.fail(NO_NAME)
    lefts = []
    for _ in range(5):
        lefts.append(int(process.machine.packed()[0].split(" ")[2]))
        process.probe(lefts[-1] / 1000 + 0.001)
    assert process.wechat.reads == 5
    assert lefts == sorted(lefts)
    assert lefts[-1] >= 4800
    assert process.machine.packed()[0].split(" ")[1] != "0", "since when is kept"


def test_who_removes_its_mark_has_it_probe_now(process: Process) -> None:
    """Somebody mended what was wrong, and need not wait for a day."""
    process.fail(errors.MachineRefused("barred", errcode=89506))
    process.probe(3600)
    assert process.wechat.reads == 0
    hurried = frozenset({"wx1", "wx2"})
    process.machine.hear(accounts.Fleet(is_needed=True, hurried=hurried))
    process.probe(0)
    assert (process.wechat.reads, process.leaves) == (1, "")


@pytest.mark.parametrize("probed", [REFUSED, errors.SystemBusy("-1"), errors.QuotaExhausted("x")])
def test_whoever_hears_wechat_has_a_way_to_it(process: Process, probed: Exception) -> None:
    """What it said of the account is found out by whoever asks for a session."""
    process.fail(NO_NAME)
    process.wechat.failure = probed
    process.probe(1)
    assert process.leaves == ""


@pytest.mark.parametrize(
    "probed", [NO_NAME, errors.LostReply("reset"), errors.UnreadableReply("a page of HTML")]
)
def test_who_did_not_hear_wechat_stays_back(process: Process, probed: Exception) -> None:
    """It cannot know whether its address is allowed by now."""
    process.fail(REFUSED)
    process.wechat.failure = probed
    process.probe(66)
    assert (process.wechat.reads, process.leaves) == (1, "|wx1|")
    assert process.machine.packed()[0].endswith(" 2 account_blocked 40164 invalid ip")


def test_no_token_is_no_proof_of_a_way_to_wechat(process: Process) -> None:
    """Nothing was sent for it: an account that has one is tried."""
    process.fail(NO_NAME)
    process.tokens["wx1"].failure = NO_TOKEN
    process.wechat.failure = NO_NAME
    process.probe(1)
    assert (process.wechat.reads, process.leaves) == (1, "*")
    process.tokens["wx2"].failure = NO_TOKEN
    process.probe(2)
    assert (process.wechat.reads, process.leaves) == (1, "*")
    process.tokens["wx2"].failure = process.wechat.failure = None
    process.probe(4)
    assert process.leaves == ""


@pytest.mark.parametrize(
    ("cause", "scope", "least_ms"),
    [
        (errors.from_errcode(89506, "barred"), "wx1", 86_400_000),
        (errors.from_errcode(40125, "wrong secret"), "wx1", 60_000),
        (NO_NAME, "*", 0),
        (errors.LostReply("reset"), "wx1", 4_000),
    ],
)
def test_a_refused_token_call_is_waited_for_as_what_it_was_told(
    process: Process, cause: errors.WeChatError, scope: str, least_ms: int
) -> None:
    """By a delivery, by a reading and by a probe alike: whoever is barred for a day is."""
    process.tokens["wx1"].failure = errors.TokenUnavailable("none", hint="", cause_error=cause)
    with pytest.raises((errors.WeChatError, errors.TokenUnavailable)) as caught:
        process.accounts["wx1"].call(lambda *_: None)
    for _ in range(2):
        process.fail(caught.value)
        (mark,) = process.machine.packed()
        told, _, left_ms, *_ = mark.split(" ")
        assert (told, int(left_ms) >= least_ms) == (scope, True)
        process.wechat.failure = NO_NAME
        process.probe(int(left_ms) / 1000 + 1)


def test_a_doorbell_that_comes_back_at_once_found_nobody(process: Process) -> None:
    """The next tick rings it, so that nothing goes round and round."""
    assert not process.machine.passes_on(())
    assert process.machine.passes_on(("a", "b"))
    assert not process.machine.passes_on(("a",))
    assert process.machine.passes_on(("a", "c"))
    process.clock.now += 1.1
    assert process.machine.passes_on(("a",))


def test_the_row_of_troubles_ends_with_a_call_that_gets_through(process: Process) -> None:
    """A probe alone does not end it: perhaps only sessions are refused."""
    for strikes in (1, 2):
        process.fail(NO_TOKEN)
        assert process.machine.strikes("wx1") == strikes
        process.probe(20)
    process.machine.worked("wx1")
    assert process.machine.strikes("wx1") == 0


def test_a_call_under_way_ends_no_row_of_who_stepped_back(process: Process) -> None:
    """It began before."""
    process.fail(NO_TOKEN)
    process.machine.worked("wx1")
    assert process.machine.strikes("wx1") == 1


def test_a_bug_in_a_probe_keeps_nobody_away(process: Process) -> None:
    """It is logged, and the next call tells."""
    process.fail(REFUSED)
    process.wechat.failure = ValueError("a bug")
    process.probe(66)
    assert process.leaves == ""


def test_the_log_names_the_machine_and_the_mend() -> None:
    """When it steps back, and when it comes back; not each time that somebody hears the same."""
    made = Process()
    with structlog.testing.capture_logs() as logs:
        made.fail(REFUSED)
        made.fail(REFUSED)
        made.probe(66)
    made.probes.stop()
    back, again = logs
    assert (back["event"], back["machine"], back["appid"]) == ("stepped_back", "host:1:abc", "wx1")
    assert "whitelist" in back["hint"]
    assert (again["event"], again["away_seconds"]) == ("came_back", 66.0)
    assert made.changes == 2, "the next beat does not wait"

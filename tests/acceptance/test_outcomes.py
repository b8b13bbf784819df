"""A request, as a producer sends it, ends as DESIGN.md says, whatever WeChat answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from ops.chaos import servers, trial
from tests.acceptance import books, conftest, processes
from worker import waiting_room
from worker.contract import record

S, R = record.Status, record.Reason

OFFLINE, WRONG, UNBOUND = "offline_olga@hbshop", "wrong_wim@hbshop", "unbound_uma@hbshop"
OTHER = "bert@hbshop"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A fan and targets as the simulator reads them, and how that has to end."""

    fan: str = ""
    targets: tuple[str, ...] = (trial.AGENT,)
    ttl_seconds: float = 120
    status: record.Status
    reason: record.Reason | None = None
    errcode: int | None = 0
    served_by: str | None = None
    most_calls: int = 1


CASES = {
    "an_online_agent_gets_the_fan": Case(status=S.CREATED, served_by=trial.AGENT),
    "a_wrong_openid_fails": Case(
        fan="wrong_", status=S.FAILED, reason=R.INVALID_OPENID, errcode=40003
    ),
    "a_wrong_agent_fails": Case(
        targets=(WRONG,), status=S.FAILED, reason=R.INVALID_AGENT, errcode=65401
    ),
    "an_unbound_agent_fails": Case(
        targets=(UNBOUND,), status=S.FAILED, reason=R.AGENT_NOT_BOUND, errcode=65402
    ),
    "another_agents_fan_is_reported_with_that_agent": Case(
        fan="served_carl_", status=S.ALREADY_SERVED, errcode=65414, served_by="carl@hbshop"
    ),
    "an_agent_who_never_comes_expires_the_request": Case(
        targets=(OFFLINE,),
        ttl_seconds=3,
        status=S.EXPIRED,
        reason=R.AGENT_OFFLINE,
        errcode=65415,
    ),
    "a_busy_wechat_is_asked_again": Case(
        fan="busy2_", status=S.CREATED, served_by=trial.AGENT, most_calls=3
    ),
    "a_broken_gateway_is_asked_again": Case(
        fan="e502x2_", status=S.CREATED, served_by=trial.AGENT, most_calls=3
    ),
    "a_cut_reply_of_an_opened_session_ends_created": Case(
        fan="cut_after_", status=S.CREATED, served_by=trial.AGENT, most_calls=2
    ),
    "an_opened_session_reported_as_busy_ends_created": Case(
        fan="lied_", status=S.CREATED, served_by=trial.AGENT, most_calls=2
    ),
    "garbage_for_an_opened_session_ends_created": Case(
        fan="garbage_", status=S.CREATED, served_by=trial.AGENT, most_calls=2
    ),
    "a_hanging_call_is_given_up_and_made_again": Case(
        fan="hang_", status=S.CREATED, served_by=trial.AGENT, most_calls=2
    ),
    "a_dripping_reply_holds_no_slot": Case(
        fan="drip_", status=S.CREATED, served_by=trial.AGENT, most_calls=2
    ),
    "the_next_fallback_is_asked_at_once": Case(
        targets=(WRONG, OFFLINE, OTHER), status=S.CREATED, served_by=OTHER, most_calls=3
    ),
    "a_lost_reply_is_read_back_before_another_agent_is_asked": Case(
        fan="cut_after_2_",
        targets=(trial.AGENT, OTHER),
        status=S.CREATED,
        served_by=trial.AGENT,
        most_calls=2,
    ),
    "an_unknown_code_fails_and_is_kept": Case(
        fan="unknown_", status=S.FAILED, reason=R.UNKNOWN_ERRCODE, errcode=99999
    ),
}


@pytest.fixture(scope="module")
def shop(valkey: servers.Server, deploy_module: conftest.Deploy) -> Iterator[processes.Deployment]:
    """One deployment with its worker for all tests of this module; its books must be right."""
    made = deploy_module(valkey, call_timeout_seconds=1, concurrency=32)
    made.start_worker()
    yield made
    made.wait_all_over()
    books.check_books(made, requests=len(made.request_ids()))


@pytest.fixture(scope="module")
def submitted(shop: processes.Deployment) -> dict[str, str]:
    """The ids of all cases, under way at the same time."""
    return {
        name: shop.submit(
            trial.openid(number, case.fan), *case.targets, ttl_seconds=case.ttl_seconds
        )
        for number, (name, case) in enumerate(CASES.items())
    }


@pytest.mark.parametrize("name", CASES)
def test_a_request_ends_as_wechats_answer_says(
    shop: processes.Deployment, submitted: dict[str, str], name: str
) -> None:
    """Each kind of answer has its outcome, reason, code and agent, with no call too many."""
    case, one = CASES[name], shop.outcome(submitted[name])
    assert (one.status, one.reason) == (case.status, case.reason)
    assert (one.errcode, one.served_by) == (case.errcode, case.served_by)
    calls = shop.creates(one.openid)
    assert len(calls) <= case.most_calls
    assert one.api_calls == len(calls)
    assert (one.hint is None) is one.is_success


def test_a_busy_wechat_costs_as_many_calls_as_it_is_busy(
    shop: processes.Deployment, submitted: dict[str, str]
) -> None:
    """-1 twice and then 0 are three calls, each kept as an attempt, two of them counted."""
    one = shop.outcome(submitted["a_busy_wechat_is_asked_again"])
    assert [attempt.errcode for attempt in one.attempts] == [-1, -1, 0]
    assert (one.api_calls, one.attempt_count) == (3, 2)


def test_a_request_expires_within_two_ticks_of_its_deadline(
    shop: processes.Deployment, submitted: dict[str, str]
) -> None:
    """Who waits for an agent hears within two ticks of the deadline that it is over."""
    one = shop.outcome(submitted["an_agent_who_never_comes_expires_the_request"])
    assert one.finished_at is not None
    late_seconds = (one.finished_at - one.deadline_at).total_seconds()
    scheduling = 0.3  # two busy cores
    assert 0 <= late_seconds < 2 * waiting_room.TICK_SECONDS + scheduling


def test_any_asks_somebody_who_is_online(shop: processes.Deployment) -> None:
    """`any` behind agents who cannot serve becomes whoever is online; nobody is asked in vain."""
    one = shop.outcome(shop.submit(trial.openid(100), WRONG, OFFLINE, "any"))
    assert one.status is S.CREATED
    assert one.served_by in {trial.AGENT, OTHER, "carl@hbshop"}
    assert one.api_calls <= 3  # an agent known to be offline is not asked


def test_a_request_waits_for_an_agent_who_comes_later(shop: processes.Deployment) -> None:
    """While the agent is offline the request waits; it is created once the agent is online."""
    late = "dora@hbshop"
    shop.wechat.tell("agents", kf_account=late, online=False)
    request_id = shop.submit(trial.openid(101), late, ttl_seconds=60)
    waiting = shop.wait_status(request_id, S.WAITING)
    assert waiting.reason is R.AGENT_OFFLINE
    assert waiting.next_attempt_at is not None
    shop.wechat.tell("agents", kf_account=late, online=True)
    one = shop.outcome(request_id)
    assert (one.status, one.served_by, one.api_calls) == (S.CREATED, late, 2)


def test_a_cancelled_request_that_waits_is_over_at_once(shop: processes.Deployment) -> None:
    """Taken back while it waits, a request is never asked for again, and keeps its reason."""
    request_id = shop.submit(trial.openid(102), OFFLINE)
    shop.wait_status(request_id, S.WAITING)
    assert shop.producer.cancel(request_id).result == "cancelled"
    one = shop.outcome(request_id)
    assert (one.status, one.reason) == (S.CANCELLED, R.AGENT_OFFLINE)
    assert one.api_calls <= 1  # the agent may be known to be offline


def test_a_cancel_during_a_call_that_fails_ends_the_request(shop: processes.Deployment) -> None:
    """Taken back during a call that comes to nothing, a request gets no further call."""
    fan = trial.openid(103, "hang_")
    request_id = shop.submit(fan)
    trial.poll(lambda: shop.creates(fan), seconds=10, what="the call is under way")
    assert shop.producer.cancel(request_id).result == "asked"
    one = shop.outcome(request_id)
    assert one.status is S.CANCELLED
    assert len(shop.creates(fan)) == 1


def test_an_expired_request_can_be_run_again(shop: processes.Deployment) -> None:
    """A retry is the same record in a new generation, with a fresh deadline."""
    away = "emil@hbshop"
    shop.wechat.tell("agents", kf_account=away, online=False)
    request_id = shop.submit(trial.openid(104), away, ttl_seconds=1)
    first = shop.outcome(request_id)
    assert first.status is S.EXPIRED
    shop.wechat.tell("agents", kf_account=away, online=True)
    assert shop.producer.retry(request_id).result == "queued"
    one = shop.outcome(request_id)
    assert (one.status, one.served_by, one.generation) == (S.CREATED, away, 2)
    assert one.deadline_at > first.deadline_at


def test_a_second_wish_for_a_fan_joins_the_first(shop: processes.Deployment) -> None:
    """One live request per fan: the second submit gets the id of the first."""
    fan = trial.openid(105)
    first = shop.submit(fan, OFFLINE)
    again = shop.producer.submit(appid=trial.APPID, openid=fan, kf_account=OFFLINE)
    assert (again.id, again.how) == (first, "joined")
    shop.producer.cancel(first)


def test_a_cancel_during_a_call_that_succeeds_changes_nothing(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """The session exists, so the record says created, whoever took the request back meanwhile."""
    shop = deploy(valkey, latency_ms=1000)
    shop.start_worker()
    fan = trial.openid(1)
    request_id = shop.submit(fan)
    trial.poll(lambda: shop.creates(fan), seconds=10, what="the call is under way")
    assert shop.producer.cancel(request_id).result == "asked"
    assert shop.outcome(request_id).status is S.CREATED
    books.check_books(shop, requests=1)


def test_a_token_that_ends_early_costs_one_more_call(
    valkey: servers.Server, deploy: conftest.Deploy
) -> None:
    """A rejected token is renewed once and the call made again; the fan notices nothing."""
    shop = deploy(valkey)
    shop.start_worker()
    shop.outcome(shop.submit(trial.openid(1)))
    shop.wechat.tell("tokens/expire")
    one = shop.outcome(shop.submit(trial.openid(2)))
    assert one.status is S.CREATED
    assert [attempt.errcode for attempt in one.attempts] == [42001, 0]
    assert shop.wechat.summary()["token_fetches"] == 2
    books.check_books(shop, requests=2)


@pytest.mark.parametrize(("switch", "errcode"), [("errcode", 48001), ("token_errcode", 40164)])
def test_a_blocked_account_holds_its_requests(
    valkey: servers.Server, deploy: conftest.Deploy, switch: str, errcode: int
) -> None:
    """What only a person can mend, on a call or on the way to a token, holds; nothing fails."""
    shop = deploy(valkey, account={switch: errcode})
    shop.start_worker()
    request_id = shop.submit(trial.openid(1))
    one = shop.wait_status(request_id, S.WAITING)
    assert one.reason is R.ACCOUNT_BLOCKED
    assert one.errcode == errcode
    assert one.hint
    shop.producer.cancel(request_id)
    books.check_books(shop, requests=1)

"""Tokens live, overlap and die as WeChat's do."""

from __future__ import annotations

import pytest

from ops.simulator import replies, scenario, tokens
from tests.unit.simulator import clock

APPID, SECRET = scenario.DEFAULT_APPID, scenario.DEFAULT_SECRET


@pytest.fixture
def now() -> clock.Clock:
    return clock.Clock()


@pytest.fixture
def issued(now: clock.Clock) -> tokens.Tokens:
    return tokens.Tokens(scenario.Scenario(), now)


def errcode(issued: tokens.Tokens, token: str) -> int:
    try:
        issued.owner(token)
    except replies.Refused as refused:
        return refused.errcode
    return 0


def test_a_token_is_good_until_its_end(issued: tokens.Tokens, now: clock.Clock) -> None:
    token, seconds = issued.fresh(APPID, SECRET)

    assert (len(token), seconds) == (136, 7200)
    now.now += 7199
    assert issued.owner(token) == APPID
    now.now += 1
    assert errcode(issued, token) == 42001


def test_a_replaced_token_works_five_minutes_more(issued: tokens.Tokens, now: clock.Clock) -> None:
    old, _ = issued.fresh(APPID, SECRET)
    new, _ = issued.fresh(APPID, SECRET)

    now.now += 299
    assert (errcode(issued, old), errcode(issued, new)) == (0, 0)
    now.now += 1
    assert (errcode(issued, old), errcode(issued, new)) == (40001, 0)


def test_a_stable_token_stays_until_its_last_five_minutes(
    issued: tokens.Tokens, now: clock.Clock
) -> None:
    first, _ = issued.stable(APPID, SECRET, False)
    now.now += 6899
    again, left = issued.stable(APPID, SECRET, False)
    now.now += 1
    renewed, _ = issued.stable(APPID, SECRET, False)

    assert (again, left) == (first, 301)
    assert renewed != first
    assert errcode(issued, first) == 0


def test_a_forced_token_is_limited(issued: tokens.Tokens, now: clock.Clock) -> None:
    for _ in range(20):
        issued.stable(APPID, SECRET, True)
        with pytest.raises(replies.Refused, match="45011"):
            issued.stable(APPID, SECRET, True)
        now.now += 30
    with pytest.raises(replies.Refused, match="45009"):
        issued.stable(APPID, SECRET, True)


def test_a_stable_token_survives_a_fresh_one(issued: tokens.Tokens, now: clock.Clock) -> None:
    stable, _ = issued.stable(APPID, SECRET, False)
    issued.fresh(APPID, SECRET)
    now.now += 400

    assert errcode(issued, stable) == 0


@pytest.mark.parametrize(
    ("appid", "secret", "code"), [("wx1", SECRET, 40013), (APPID, "guess", 40125)]
)
def test_wrong_credentials_are_told_apart(
    issued: tokens.Tokens, appid: str, secret: str, code: int
) -> None:
    with pytest.raises(replies.Refused) as refused:
        issued.stable(appid, secret, False)
    assert refused.value.errcode == code


def test_expiring_kills_all_but_the_fixed_token(issued: tokens.Tokens) -> None:
    first, _ = issued.fresh(APPID, SECRET)
    stable, _ = issued.stable(APPID, SECRET, False)

    assert issued.expire_all() == 2
    assert (errcode(issued, first), errcode(issued, stable)) == (42001, 42001)
    assert errcode(issued, scenario.FIXED_TOKEN) == 0
    assert issued.stable(APPID, SECRET, False)[0] != stable


def test_a_kill_ends_the_tokens_of_one_account_by_turns_of_two_codes(now: clock.Clock) -> None:
    accounts = (scenario.Account(), scenario.Account(appid="wx1", token="other"))
    issued = tokens.Tokens(scenario.Scenario(accounts=accounts), now)
    other, _ = issued.stable("wx1", SECRET, False)
    first, _ = issued.stable(APPID, SECRET, False)

    assert issued.kill(APPID) == 40001
    second, _ = issued.stable(APPID, SECRET, False)
    assert issued.kill(APPID) == 42001
    assert [errcode(issued, token) for token in (first, second)] == [40001, 42001]
    assert [errcode(issued, token) for token in (other, scenario.FIXED_TOKEN)] == [0, 0]
    assert issued.kill("wx1") == 40001


def test_no_token_and_a_made_up_token_are_told_apart(issued: tokens.Tokens) -> None:
    assert errcode(issued, "") == 41001
    assert errcode(issued, "made-up") == 40001


def test_a_token_is_not_shown(issued: tokens.Tokens) -> None:
    token, _ = issued.fresh(APPID, SECRET)

    assert token not in repr(tokens.Token(APPID, token, 0.0))

"""view: what `route` reads, and what it tries again before it gives up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tenacity.nap

from producers.route import view
from tests.unit.wechat.fakes import FakeTransport
from worker import credentials, errors
from worker.contract import settings

WAITING = '{"count":120,"waitcaselist":[{"openid":"o1","latest_time":7},{"openid":"o2"}]}'
ONLINE = '{"kf_online_list":[{"kf_account":"a@x","status":1,"accepted_case":3}]}'
BUSY = '{"errcode":-1,"errmsg":"system error"}'


class Tokens:
    """Hands out T1, and T2 to whom it was rejected."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def get(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "T1"

    def renew(self, rejected: str) -> str:
        assert rejected == "T1"
        return "T2"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept between tries."""
    naps: list[float] = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", naps.append)
    return naps


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def via() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def seeing(
    config: settings.Settings, monkeypatch: pytest.MonkeyPatch, via: FakeTransport, tokens: Tokens
) -> Iterator[view.WeChat]:
    monkeypatch.setattr(credentials.Credentials, "_open", lambda *_: via)
    monkeypatch.setattr(credentials.Credentials, "token_source", lambda *_: tokens)
    monkeypatch.setattr(credentials.Credentials, "close", lambda _: None)
    account = settings.Account(appid="wx1", access_token="t")
    with view.WeChat(config, account) as made:
        yield made


def test_a_look_tells_who_waits_and_who_serves_how_many(
    seeing: view.WeChat, via: FakeTransport
) -> None:
    via.bodies[:] = [WAITING, ONLINE]
    seen = seeing.look()
    assert (seen.count, dict(seen.fans), dict(seen.online)) == (120, {"o1": 7, "o2": 0}, {"a@x": 3})


def test_what_passes_is_tried_again(
    seeing: view.WeChat, via: FakeTransport, slept: list[float]
) -> None:
    """Busy, no JSON, a lost reply: each costs a nap of a moment."""
    via.bodies[:] = [BUSY, WAITING, "<html>", BUSY, ONLINE]
    assert seeing.look().count == 120
    assert len(slept) == 3
    assert max(slept) < 2


def test_what_lasts_ends_it_after_six_tries(
    seeing: view.WeChat, via: FakeTransport, slept: list[float]
) -> None:
    """And half a minute at most, apart from the calls."""
    via.bodies[:] = [BUSY] * 10
    with pytest.raises(errors.SystemBusy):
        seeing.look()
    assert (len(via.calls), len(slept), sum(slept) < 30) == (6, 5, True)


def test_a_minutes_limit_is_waited_out(
    seeing: view.WeChat, via: FakeTransport, slept: list[float]
) -> None:
    """Until the next minute begins."""
    via.bodies[:] = ['{"errcode":45011}', WAITING, ONLINE]
    seeing.look()
    assert len(slept) == 1
    assert 0 < slept[0] <= 66


@pytest.mark.parametrize("errcode", [48001, 45009, 99999])
def test_a_refusal_is_not_tried_again(
    seeing: view.WeChat, via: FakeTransport, slept: list[float], errcode: int
) -> None:
    """Nothing but a person changes it."""
    via.bodies[:] = [f'{{"errcode":{errcode}}}']
    with pytest.raises(errors.WeChatError):
        seeing.look()
    assert slept == []


def test_a_rejected_token_is_renewed_once(
    seeing: view.WeChat, via: FakeTransport, slept: list[float]
) -> None:
    via.bodies[:] = ['{"errcode":42001}', WAITING, ONLINE]
    seeing.look()
    assert [call["token"] for call in via.calls] == ["T1", "T2", "T1"]
    via.bodies[:] = ['{"errcode":40001}'] * 2
    with pytest.raises(errors.TokenRejected):
        seeing.look()
    assert slept == []


@pytest.mark.parametrize(
    ("cause", "naps"), [(errors.NeverLeft("x"), 1), (errors.AccountBlocked("x"), 0), (None, 0)]
)
def test_a_token_whose_source_broke_off_is_asked_for_again(
    seeing: view.WeChat,
    via: FakeTransport,
    tokens: Tokens,
    slept: list[float],
    cause: errors.WeChatError | None,
    naps: int,
) -> None:
    """One that is refused is not."""
    via.bodies[:] = [WAITING, ONLINE]
    tokens.failures = [errors.TokenUnavailable("no token", hint="h", cause_error=cause)]
    if naps:
        assert seeing.look().count == 120
    else:
        with pytest.raises(errors.TokenUnavailable):
            seeing.look()
    assert len(slept) == naps

"""presence: who is online, asked of WeChat at most once an interval and account."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from worker import asking, errors, presence
from worker.wechat import agents


class WeChat:
    """Answers with a new agent each time; counts the reads of each account."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.failure: Exception | None = None
        self.now = 100.0

    def online(self, via: Any, token: str) -> tuple[agents.OnlineAgent, ...]:
        self.reads.append(f"{via}:{token}")
        if self.failure:
            raise self.failure
        return (agents.OnlineAgent(kf_account=f"kf{len(self.reads)}@a", status=1, accepted_case=0),)


@pytest.fixture
def wechat(monkeypatch: pytest.MonkeyPatch) -> WeChat:
    """WeChat's list of online agents, and the clock."""
    made = WeChat()
    monkeypatch.setattr(agents, "online", made.online)
    monkeypatch.setattr(presence.time, "monotonic", lambda: made.now)
    return made


def account(appid: str) -> asking.Account:
    return asking.Account(appid=appid, transport=appid, tokens=None)  # type: ignore[arg-type]


def test_a_reading_is_good_for_its_interval(wechat: WeChat) -> None:
    """All fans of an account share it."""
    who = presence.Presence(5)
    first = who.online(account("wx1"), "t")
    wechat.now += 4.9
    assert who.online(account("wx1"), "t") == first
    wechat.now += 0.2
    assert who.online(account("wx1"), "t2") != first
    assert wechat.reads == ["wx1:t", "wx1:t2"]


def test_each_account_has_its_own_reading(wechat: WeChat) -> None:
    """And its own lock."""
    who = presence.Presence(5)
    who.online(account("wx1"), "t")
    who.online(account("wx2"), "t")
    assert wechat.reads == ["wx1:t", "wx2:t"]


def test_a_failed_read_is_good_for_the_interval_too(
    wechat: WeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody who asks meanwhile is told the error, and WeChat is left alone."""
    now = [100.0]
    monkeypatch.setattr(presence.time, "monotonic", lambda: now[0])
    who = presence.Presence(5)
    wechat.failure = errors.SystemBusy("x", errcode=-1)
    for _ in range(3):
        with pytest.raises(errors.SystemBusy):
            who.online(account("wx1"), "t")
    assert len(wechat.reads) == 1
    wechat.failure = None
    now[0] += 5
    assert len(who.online(account("wx1"), "t")) == 1


def test_a_rejected_token_is_no_reading(wechat: WeChat) -> None:
    """With the next token it may work at once."""
    who = presence.Presence(5)
    wechat.failure = errors.TokenRejected("x", errcode=40001)
    with pytest.raises(errors.TokenRejected):
        who.online(account("wx1"), "t")
    wechat.failure = None
    assert len(who.online(account("wx1"), "t")) == 1


def test_many_threads_make_one_read(wechat: WeChat) -> None:
    """A full pool of slots asks once."""
    who = presence.Presence(5)
    threads = [threading.Thread(target=who.online, args=(account("wx1"), "t")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wechat.reads) == 1

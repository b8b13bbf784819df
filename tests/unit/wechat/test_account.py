"""account: a call with a token, and what is done about one that WeChat rejects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures

import pytest

from tests.unit.wechat import fakes
from worker import errors
from worker.wechat import account

EXPIRED = 42001
THREADS = 8


class Tokens:
    """Gives t0 first, then the next of each that is rejected."""

    def get(self) -> str:
        return "t0"

    def renew(self, rejected: str) -> str:
        return f"t{int(rejected[1:]) + 1}"


class WeChat:
    """Notes with which token it was called; what is not good is rejected, a moment later."""

    def __init__(self, *good: str) -> None:
        self.good = good
        self.calls: list[str] = []
        self.together = threading.Barrier(THREADS)

    def answer(self, token: str) -> str:
        self.calls.append(token)
        if token == "t0":
            self.together.wait(5)
        time.sleep(0.02)
        if token in self.good:
            return "ok"
        raise errors.from_errcode(EXPIRED, "access_token expired")


def one() -> account.Account:
    return account.Account(
        appid="wx1",
        transport=fakes.FakeTransport(),  # type: ignore[arg-type]
        tokens=Tokens(),
    )


def all_at_once(call: Callable[[], str]) -> list[futures.Future[str]]:
    with futures.ThreadPoolExecutor(THREADS) as pool:
        return [pool.submit(call) for _ in range(THREADS)]


def test_a_token_that_is_rejected_is_renewed_once_for_a_call() -> None:
    """And what WeChat says to the second call counts."""
    asked: list[str] = []

    def make(_: object, token: str) -> str:
        asked.append(token)
        raise errors.from_errcode(EXPIRED, "access_token expired")

    with pytest.raises(errors.TokenRejected):
        one().call(make)
    assert asked == ["t0", "t1"]


def test_of_many_whose_token_died_all_go_on_with_the_next() -> None:
    """The first of them tries it; nobody is told anything but the answer to its own call."""
    wechat, shared = WeChat("t1"), one()
    done = all_at_once(lambda: shared.call(lambda _, token: wechat.answer(token)))
    assert [each.result() for each in done] == ["ok"] * THREADS
    assert sorted(wechat.calls) == ["t0"] * THREADS + ["t1"] * THREADS


def test_a_new_token_that_is_rejected_too_is_tried_once() -> None:
    """The others hear of that one call: theirs would be wasted."""
    wechat, shared = WeChat(), one()
    done = all_at_once(lambda: shared.call(lambda _, token: wechat.answer(token)))
    errcodes = [getattr(each.exception(), "errcode", None) for each in done]
    assert errcodes == [EXPIRED] * THREADS
    assert wechat.calls == ["t0"] * THREADS + ["t1"]


def test_whoever_makes_no_call_after_all_leaves_it_to_the_next() -> None:
    """A worker that shuts down, or a claim that is gone, says nothing of the token."""
    shared, asked = one(), []

    def leave(_: str) -> str:
        raise KeyError

    def make(token: str) -> str:
        asked.append(token)
        raise errors.from_errcode(EXPIRED, "access_token expired")

    with pytest.raises(KeyError):
        shared.with_renewed(leave, "t0")
    for _ in range(2):
        with pytest.raises(errors.TokenRejected):
            shared.with_renewed(make, "t0")
    assert asked == ["t1"]


@pytest.mark.parametrize("failure", [errors.LostReply("x"), errors.from_errcode(65415, "away")])
def test_whatever_else_ends_the_first_call_keeps_nobody_from_theirs(failure: Exception) -> None:
    """It says nothing of the token."""
    shared, asked = one(), []

    def make(token: str) -> str:
        asked.append(token)
        if len(asked) == 1:
            raise failure
        return "ok"

    with pytest.raises(type(failure)):
        shared.with_renewed(make, "t0")
    assert shared.with_renewed(make, "t0") == "ok"
    assert asked == ["t1", "t1"]

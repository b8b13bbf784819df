from __future__ import annotations

import threading
import time

import pytest

from producers import bounded


def test_a_call_hands_back_what_it_returns_or_raises() -> None:
    calls = bounded.Calls(2)
    assert calls.start(lambda: 7, 1).result() == 7
    with pytest.raises(ZeroDivisionError):
        calls.start(lambda: 1 / 0, 1).result()


def test_a_call_may_end_with_a_timeout_of_its_own() -> None:
    def fail() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        bounded.Calls(1).start(fail, 1).result()


def test_a_hanging_call_is_left_behind_in_time() -> None:
    let_go = threading.Event()
    started = time.monotonic()
    with pytest.raises(bounded.Overdue) as caught:
        bounded.Calls(1).start(let_go.wait, 0.05).result()
    assert time.monotonic() - started < 0.5
    assert caught.value.has_started
    let_go.set()


def test_when_too_many_hang_the_next_one_is_not_begun() -> None:
    let_go = threading.Event()
    calls = bounded.Calls(1)
    hanging = calls.start(let_go.wait, 5)
    with pytest.raises(bounded.Overdue) as caught:
        calls.start(lambda: 7, 0.05)
    assert not caught.value.has_started
    let_go.set()
    assert hanging.result() is True
    assert calls.start(lambda: 7, 5).result() == 7

"""interrupts: two signals become one exception, at a good moment."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from producers import interrupts


@pytest.mark.parametrize(("number", "exit_status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_what_no_except_exception_swallows(
    number: signal.Signals, exit_status: int
) -> None:
    def step() -> None:
        with interrupts.Signals().raised(), contextlib.suppress(Exception):
            os.kill(os.getpid(), number)

    with pytest.raises(interrupts.Interrupted) as caught:
        step()
    assert caught.value.exit_status == exit_status


def test_a_held_signal_raises_once_the_step_is_done() -> None:
    signals, done = interrupts.Signals(), []

    def step() -> None:
        with signals.raised(), signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(True)

    with pytest.raises(interrupts.Interrupted):
        step()
    assert done


def test_an_error_of_a_held_step_is_what_is_raised() -> None:
    signals = interrupts.Signals()

    def step() -> None:
        with signals.raised(), signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()


def test_afterwards_the_handlers_are_those_of_before() -> None:
    """And what was ignored, as in a script's background job, stays ignored."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    own = signal.getsignal(signal.SIGINT)
    try:
        with interrupts.Signals().raised():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGINT) is not own
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGTERM, before)

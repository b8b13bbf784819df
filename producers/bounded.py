"""Takes a call that may hang and hands back its answer, or stops waiting for it in time.

A socket's timeout bounds one wait; looking up a name has none, and connecting makes several. Only a
thread that can be left behind bounds the whole.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Overdue(Exception):
    """The call had not ended in time; `has_started` is False when nothing was tried at all."""

    def __init__(self, *, has_started: bool) -> None:
        super().__init__("the call was begun" if has_started else "too many calls hang already")
        self.has_started = has_started


class Call(Generic[_T]):
    """A call under way."""

    def __init__(self, ends: float) -> None:
        self._ends = ends
        self.answer: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def result(self) -> _T:
        """What it returns or raises; raises Overdue when its time is over first."""
        try:
            return self.answer.result(max(0.0, self._ends - time.monotonic()))
        except TimeoutError:
            if self.answer.done():  # just now, or with a TimeoutError of its own
                return self.answer.result()
            raise Overdue(has_started=True) from None


class Calls:
    """Runs calls on threads of their own, at most `at_once`, and leaves hanging ones behind."""

    def __init__(self, at_once: int) -> None:
        self._free = threading.Semaphore(at_once)

    def start(self, do: Callable[[], _T], seconds: float) -> Call[_T]:
        """Begin `do`, which has so long; raises Overdue when too many others hang."""
        call: Call[_T] = Call(time.monotonic() + seconds)
        if not self._free.acquire(timeout=seconds):
            raise Overdue(has_started=False)
        thread = threading.Thread(target=self._run, args=(do, call.answer), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            self._free.release()
            raise Overdue(has_started=False) from None
        return call

    def _run(self, do: Callable[[], _T], answer: concurrent.futures.Future[_T]) -> None:
        try:
            answer.set_result(do())
        except BaseException as error:
            answer.set_exception(error)
        finally:
            self._free.release()

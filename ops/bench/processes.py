"""Takes a process and hands on what it and all its descendants cost; freezes and ends them as one.

A worker may fork: Celery's prefork pool and dramatiq once, RQ for each job.
"""

from __future__ import annotations

import contextlib

import psutil


class Tree:
    """A process and its descendants, whichever there are when it is asked."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """CPU of all of them so far, user and system, of those who ended meanwhile too."""
        spent = 0.0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += sum(each.cpu_times()[:4])  # user, system, and of ended children both
        return spent

    def rss_bytes(self) -> int:
        """Resident memory of all of them."""
        resident = 0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += each.memory_info().rss
        return resident

    def pids(self) -> list[int]:
        """Who they are, the first one first."""
        return [each.pid for each in self._all()]

    def is_frozen(self) -> bool:
        """Whether the first one is stopped."""
        return self._root.status() == psutil.STATUS_STOPPED

    def freeze(self) -> None:
        """Stop all of them, parents first, so that nobody is born meanwhile."""
        frozen: set[int] = set()
        while waking := [each for each in self._all() if each.pid not in frozen]:
            for each in waking:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.suspend()
                frozen.add(each.pid)

    def thaw(self) -> None:
        """Let all of them go on, parents last."""
        for each in reversed(self._all()):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()

    def kill(self) -> None:
        """End all of them, frozen or not; who started the first one has to wait for it."""
        self.freeze()
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()

    def _all(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

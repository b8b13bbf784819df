"""A clock that stands until it is moved."""

from __future__ import annotations


class Clock:
    """Seconds since 1970, as the simulator reads them; a whole day begins at the start."""

    def __init__(self) -> None:
        self.now = 86400.0 * 20000

    def __call__(self) -> float:
        return self.now

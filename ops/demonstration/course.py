"""Takes a plan and a running system, lets happen what the plan says, and looks on."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

from ops.demonstration import kinds, pictures, plan, system
from ops.stack import parts
from worker.contract import record

#: The demo ends by itself after so many seconds, whatever happened.
MOST_SECONDS = 55.0
#: Time between two looks at the whole, in seconds.
LOOK_SECONDS = 0.25
#: How many events a picture shows.
NEWEST = 7


class Course:
    """One demo under way."""

    def __init__(self, chosen: plan.Plan, running: system.System) -> None:
        #: What `kfsession route` said at its end; None before, and when it did not end well.
        self.routed: Mapping[str, Any] | None = None
        self._plan = chosen
        self._running = running
        self._opened, self._opened_at = time.monotonic(), time.time()
        self._coming = collections.deque(chosen.fans)
        self._switches = collections.deque(plan.SWITCHES)
        #: When to end whose session.
        self._leaving: collections.deque[tuple[float, str]] = collections.deque()
        self._by_openid = {fan.openid: fan for fan in (*chosen.fans, *chosen.queue)}
        #: The fan of each request; None for one that somebody else sent.
        self._fans: dict[str, plan.Fan | None] = {}
        self._newest: collections.deque[pictures.Event] = collections.deque(maxlen=NEWEST)
        self._position = "0"

    def run(self) -> Generator[pictures.Picture, None, None]:
        """A picture every now and then, the last one when all is over or the time is up.

        Raises PartFailed when a part ended by itself.
        """
        self._opened, self._opened_at = time.monotonic(), time.time()
        if not (yield from self._play(lambda seen: seen.over >= seen.fans)):
            return
        with system.start_route(self._running, capacity=len(self._by_openid)) as routing:
            if (yield from self._play(lambda _: routing.status is not None)):
                self.routed = _summary(routing)

    def _play(
        self, is_over: Callable[[pictures.Picture], bool]
    ) -> Generator[pictures.Picture, None, bool]:
        """One act; whether it came to its end in time."""
        while True:
            elapsed = time.monotonic() - self._opened
            self._running.check()
            self._switch(elapsed)
            self._let_in(elapsed)
            self._let_out(elapsed)
            self._listen()
            seen = pictures.take(
                self._running,
                self._plan,
                elapsed=elapsed,
                arrived=len(self._plan.fans) - len(self._coming),
                newest=tuple(self._newest),
            )
            ended = is_over(seen)
            yield seen
            if ended or elapsed > MOST_SECONDS:
                return ended
            time.sleep(LOOK_SECONDS)

    def _switch(self, elapsed: float) -> None:
        while self._switches and self._switches[0].at <= elapsed:
            due = self._switches.popleft()
            match due.turn:
                case plan.Turn.PAUSED:
                    self._running.producer.pause(due.kf_account)
                case plan.Turn.RESUMED:
                    self._running.producer.resume(due.kf_account)
                case turn:
                    is_online = turn is plan.Turn.COMES
                    self._running.wechat.switch(due.kf_account, online=is_online)

    def _let_in(self, elapsed: float) -> None:
        while self._coming and self._coming[0].arrives_at <= elapsed:
            fan = self._coming.popleft()
            self._fans[self._running.producer.submit(fan.wish()).id] = fan

    def _let_out(self, elapsed: float) -> None:
        while self._leaving and self._leaving[0][0] <= elapsed:
            self._running.wechat.close(self._leaving.popleft()[1])

    def _listen(self) -> None:
        """Hear what changed; a session with an agent who takes few shall not last."""
        for told in self._running.producer.events(self._position):
            self._position = told.position
            if (fan := self._fan_of(told.id)) is None:
                continue
            at = told.at.timestamp() - self._opened_at
            self._newest.append(
                pictures.Event(at=at, fan=fan, status=told.status, reason=told.reason)
            )
            if fan.kind is kinds.Kind.FULL and told.status is record.Status.CREATED:
                self._leaving.append((at + plan.SESSION_SECONDS, fan.openid))

    def _fan_of(self, request_id: str) -> plan.Fan | None:
        if request_id not in self._fans:
            one = self._running.producer.get(request_id)
            self._fans[request_id] = self._by_openid.get(one.openid) if one else None
        return self._fans[request_id]


def _summary(routing: parts.Part) -> Mapping[str, Any] | None:
    """What `kfsession route --json` said at last; None when it did not end well."""
    if routing.status or routing.log is None:
        return None
    summary: dict[str, Any] = json.loads(routing.log.read_text().splitlines()[-1])
    return summary

"""All that the model knows of one deployment, how it ages, and the moves that its steps share."""

from __future__ import annotations

from collections.abc import Iterable

from tests.unit.ledger import lanes, standing
from tests.unit.ledger.standing import Account, Fan, Pointer, Request


class Book:
    """All requests of one deployment, and what points at them."""

    def __init__(self, appids: Iterable[str], *, retention_ms: int, lease_ms: int) -> None:
        self.accounts = {appid: Account() for appid in appids}
        self.requests: dict[str, Request] = {}
        self.newest: dict[Fan, str] = {}
        self.doubts: dict[Fan, Pointer] = {}
        self.keys: dict[tuple[str, str], Pointer] = {}
        self.joined: dict[str, Pointer] = {}
        #: When each account with somebody queued had its last turn, or came: in which step.
        self.turns: dict[str, int] = {}
        self.moment = 0
        self._retention_ms = retention_ms
        self._lease_ms = lease_ms

    # -- time ------------------------------------------------------------------------------------

    def pass_ms(self, ms: int, now: int) -> None:
        """Everything known is so much older."""
        for one in self.requests.values():
            for name in ("submitted_at", "deadline_at", "due_at", "updated_at"):
                setattr(one, name, getattr(one, name) - ms)
            for name in ("wake_at", "finished_at", "removed_at", "kept_until"):
                setattr(one, name, getattr(one, name) and getattr(one, name) - ms)
        for account in self.accounts.values():
            for name in ("served_at", "began_at", "fresh_until", "next_at", "answered_at"):
                setattr(account, name, getattr(account, name) and getattr(account, name) - ms)
            if account.hold:
                account.hold.ends_at -= ms
            account.offline = {agent: at - ms for agent, at in account.offline.items()}
        for pointers in (self.keys, self.joined, self.doubts):
            for name, each in list(pointers.items()):
                each.until -= ms
                if each.until <= now:
                    del pointers[name]

    def is_near_a_turn(self, now: int) -> bool:
        """Whether something ends in a moment, so that nobody can say what a step will find."""
        turns = [
            each.until for all_ in (self.keys, self.joined, self.doubts) for each in all_.values()
        ]
        for one in self.requests.values():
            turns += [one.removed_at] if one.is_final else [one.due_at, one.deadline_at]
        for account in self.accounts.values():
            turns += [account.fresh_until, account.next_at + standing.BLIND_MS]
            turns += [account.served_at + standing.SILENT_MS]
            turns += [account.answered_at + standing.ANSWERED_MS + standing.HUNG_MS]
            turns += [account.hold.ends_at] if account.hold else []
        return any(now < at < now + 3000 for at in turns)

    # -- what the steps share --------------------------------------------------------------------

    def in_state(self, status: str) -> list[Request]:
        """Requests of one status, oldest first."""
        found = [each for each in self.requests.values() if each.status == status]
        return sorted(found, key=lambda each: (each.submitted_at, each.id))

    def in_lane(self, appid: str) -> list[Request]:
        """Who is queued for an account, in the order in which they are taken."""
        return lanes.in_order(each for each in self.in_state("queued") if each.appid == appid)

    def in_turn(self) -> list[str]:
        """The accounts with somebody queued, whose turn it is first."""
        return sorted(
            self.turns,
            key=lambda each: (not lanes.is_pressing(self.in_lane(each)), self.turns[each], each),
        )

    def live_of(self, fan: Fan) -> Request | None:
        one = self.requests.get(self.newest.get(fan, ""))
        return one if one and not one.is_final else None

    def doubt_of(self, one: Request) -> str:
        return self.doubts[one.fan].says if one.fan in self.doubts else ""

    def _put_down(self, one: Request) -> None:
        one.holder = one.calling = ""
        one.is_counted, one.wake_at = False, 0

    def _queue(self, one: Request, due_at: int, now: int) -> None:
        self._put_down(one)
        self._enter_lane(one, now)
        one.status, one.due_at = "queued", due_at

    def _enter_lane(self, one: Request, now: int) -> None:
        """An account comes last that had nobody queued, or no escalation until this one."""
        queued = self.in_lane(one.appid)
        is_new_there = one.lane == "escalation" and not lanes.is_pressing(queued)
        if not queued or is_new_there:
            self.turns[one.appid] = self.moment
        one.lane_class = lanes.class_of(one, now)

    def _leave_lane(self, one: Request) -> None:
        left = self.in_lane(one.appid)
        if not left:
            self.turns.pop(one.appid, None)
        elif one.appid in self.turns and one.lane == "escalation" and not lanes.is_pressing(left):
            self.turns[one.appid] = self.moment

    def _enter_room(self, one: Request, reason: str) -> None:
        self._put_down(one)
        one.status, one.reason, one.due_at, one.crashes = "waiting", reason, one.deadline_at, 0
        self._leave_lane(one)

    def _finish(self, one: Request, status: str, reason: str, now: int) -> None:
        self._put_down(one)
        one.status, one.reason, one.finished_at = status, reason, now
        one.crashes, one.is_cancelled = 0, False
        one.removed_at = max(now + self._retention_ms, one.kept_until)
        hold = self.accounts[one.appid].hold
        if hold and hold.probe == one.id:  # it found nothing out: another may go at once
            hold.ends_at, hold.probe = now, "-"
        self._leave_lane(one)

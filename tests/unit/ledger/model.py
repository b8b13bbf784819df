"""What the ledger promises, in plain Python: each step changes the model as it must the ledger.

Where an answer rests on who is online and who stands before whom, the model does not repeat the
scripts: it names what is allowed (`ways`, `choices`), and takes over what the ledger did.
Times are ms of the server's clock; a step is given `now`, and what it writes may be as much later
as the step took.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tests.unit.ledger import book, lanes
from tests.unit.ledger.standing import ANSWERED_MS, FINAL, Account, Hold, Pointer, Request
from worker.contract import request
from worker.ledger import claims

HOUR = 3600 * 1000
KEY_MS, JOINED_MS, DOUBT_MS, PROBE_MS = 24 * HOUR, HOUR, 48 * HOUR, 30_000
RETRIED = {"failed", "expired", "cancelled"}
#: Reasons from which nobody learns whether WeChat answers this account.
NO_ANSWER = {"transient", "token", "gave_up", "internal_error", "unconfirmed"}
#: So many calls of an account that hung in a row hold it.
MOST_HUNG = 5
#: Whom one claim passes over at most, and when those left queued are rung again.
PASSED_OVER, RING_AGAIN_MS = 20, 2000
#: A way to go on: `calling` with the agent ("" when the fan is read back first), else the reason.
Way = tuple[str, str]


class Model(book.Book):
    """The steps of the ledger. Every method is one step, at `now`."""

    # -- producers -------------------------------------------------------------------------------

    def submit(
        self, wish: request.SessionRequest, request_id: str, ttl_ms: int, now: int
    ) -> tuple[str, str, str]:
        """What the receipt must say; or "refused", and the field to mend."""
        if wish.appid not in self.accounts:
            return "refused", "appid", ""
        fan = wish.appid, wish.openid
        of_id = self.joined[request_id].says if request_id in self.joined else request_id
        if mine := self.requests.get(of_id):
            if mine.fan != fan:
                return "refused", "id", ""
            return "repeated", mine.id, mine.status
        used = self.keys.get((wish.appid, wish.key or ""))
        if used:
            of_key, _, digest = used.says.partition(" ")
            if digest != wish.digest:
                return "refused", "key", ""
            stands = self.requests.get(of_key)
            return "repeated", of_key, stands.status if stands else "expired"
        live = self.live_of(fan)
        if live:
            self._join(live, wish, now + ttl_ms, now)
            self.joined[request_id] = Pointer(live.id, now + JOINED_MS)
        else:
            one = Request(
                id=request_id,
                appid=wish.appid,
                openid=wish.openid,
                targets="|".join(wish.targets),
                lane=wish.lane.value,
                submitted_at=now,
                updated_at=now,
                deadline_at=now + ttl_ms,
                due_at=now + ttl_ms,
                key=wish.key or "",
            )
            self._enter_lane(one, now)
            self.requests[request_id] = one
            self.newest[fan] = request_id
        one = live or self.requests[request_id]
        if wish.key:
            until = max(now + KEY_MS, one.deadline_at)
            self.keys[wish.appid, wish.key] = Pointer(f"{one.id} {wish.digest}", until)
            one.kept_until = max(one.kept_until, until)
        return ("joined" if live else "new"), one.id, one.status

    def _join(
        self, live: Request, wish: request.SessionRequest, deadline_at: int, now: int
    ) -> None:
        """The later deadline and the higher lane; whoever took it back wants it after all."""
        live.deadline_at = max(live.deadline_at, deadline_at)
        live.is_cancelled = False
        if wish.lane == "escalation" and live.lane == "batch":
            live.lane = "escalation"
            if live.status == "queued":
                live.due_at = live.deadline_at
        if live.status == "queued":
            self._enter_lane(live, now)
        if live.status == "waiting":
            live.due_at = min(live.wake_at or live.deadline_at, live.deadline_at)
        self._keep_own_key(live)

    def _keep_own_key(self, one: Request) -> None:
        used = self.keys.get((one.appid, one.key))
        if used and used.says.startswith(one.id + " ") and used.until < one.deadline_at:
            used.until = one.deadline_at
            one.kept_until = max(one.kept_until, one.deadline_at)

    # -- workers ---------------------------------------------------------------------------------

    def claim(
        self,
        holder: str,
        *,
        slots: int,
        again: bool,
        prefers_tried: bool,
        claimed: str | None,
        became: Mapping[str, Way],
        now: int,
    ) -> bool:
        """Who is passed over must have gone one of its ways; `claimed` must be the first left.

        Returns whether there may be more though nobody was claimed.
        """
        mine = [each for each in self.in_state("calling") if each.holder == holder]
        if again and mine:
            assert claimed == mine[0].id, "a claim sent again finds what it had taken"
            mine[0].due_at = now + self._lease_ms
            return False
        for _ in range(PASSED_OVER):
            one = self._next(holder, slots, prefers_tried=prefers_tried)
            if one is None:
                break
            way, allowed = became[one.id], self.ways(one, now)
            assert way in allowed, f"{one.id} became {way}; allowed: {allowed}"
            self._go(one, way, holder, now)
            if one.status == "calling":
                assert claimed == one.id, "who is claimed is handed out"
                return False
        assert claimed is None
        return any(self._may_take(each, holder, slots) for each in self.turns)

    def _next(self, holder: str, slots: int, *, prefers_tried: bool) -> Request | None:
        """Who is to be taken: of the account whose turn it is, which comes last from now on."""
        for appid in self.in_turn():
            if self._may_take(appid, holder, slots):
                if len(self.turns) > 1:
                    self.turns[appid] = self.moment
                return lanes.first_of(self.in_lane(appid), prefers_tried=prefers_tried)
        return None

    def _may_take(self, appid: str, holder: str, slots: int) -> bool:
        """Whether the account does not hold its part of the worker's slots yet."""
        name, colon, _ = holder.partition(":")
        held = [each for each in self.in_state("calling") if each.appid == appid]
        held = [each for each in held if each.holder.startswith(name + ":")]
        most = 1 if self.accounts[appid].hung else lanes.most_slots(slots, len(self.turns))
        return not colon or len(held) < most

    def ways(self, one: Request, now: int) -> set[Way]:
        """Where a queued request may go when a worker looks at it."""
        account, doubt = self.accounts[one.appid], self.doubt_of(one)
        is_over = now >= one.deadline_at
        if is_over and not doubt:
            return {("expired", one.reason)}
        if is_over or one.is_cancelled:
            return {("calling", "")}
        if shut_for := account.why_shut(one.id, now):
            return {("waiting", shut_for)}
        if doubt:
            is_target = doubt in one.targets.split("|")
            can_ask = is_target and self._can_ask(one, doubt, now) is not False
            return {("calling", ""), ("calling", doubt)} if can_ask else {("calling", "")}
        agents, is_sure = self.choices(one, one.out, now)
        if account.has_limits:
            is_sure = False  # somebody may go before it
        ways = {("calling", each) for each in agents}
        if is_sure or ways == {("calling", "")}:
            return ways
        return ways | {("waiting", each) for each in account.reasons()}

    def choices(self, one: Request, out: str, now: int) -> tuple[set[str], bool]:
        """Who may be asked for `one`, and whether somebody must be; {""}: every target is wrong."""
        account = self.accounts[one.appid]
        targets = one.targets.split("|")
        left = [each for each in targets if each not in out.split("|")]
        is_fresh, is_blind = account.is_fresh(now), account.nobody_can_tell(now)
        agents: set[str] = set()
        for target in left:
            if not (is_fresh or is_blind or target == targets[0]):
                continue  # a fallback is asked only where somebody told, or nobody can tell
            known = set(account.sessions) - set(out.split("|")) if is_fresh else set()
            for agent in known if target == "any" else {target}:
                can_ask = self._can_ask(one, agent, now)
                if can_ask is not False:
                    agents.add(agent)
                if can_ask and (is_fresh or target == targets[0]):
                    if target != "any":
                        return agents, True
                    agents |= {each for each in known if self._can_ask(one, each, now)}
                    return agents, True
        return (agents, False) if left else ({""}, True)

    def _can_ask(self, one: Request, agent: str, now: int) -> bool | None:
        under_way = [
            each
            for each in self.in_state("calling")
            if each is not one and each.is_counted and each.calling == agent
            if each.appid == one.appid
        ]
        return self.accounts[one.appid].can_ask(agent, len(under_way), now)

    def _go(self, one: Request, way: Way, holder: str, now: int) -> None:
        status, detail = way
        account = self.accounts[one.appid]
        if status == "expired":
            self._finish(one, "expired", detail, now)
        elif status == "waiting":
            self._enter_room(one, detail)
        else:
            makes_no_call = one.is_cancelled or now >= one.deadline_at
            if account.hold and not makes_no_call and (detail or self.doubt_of(one)):
                account.hold.ends_at, account.hold.probe = now + PROBE_MS, one.id
            one.status, one.holder, one.fence = "calling", holder, one.fence + 1
            one.due_at = now + self._lease_ms
            self._leave_lane(one)
            self._call(one, detail)

    def _call(self, one: Request, agent: str) -> None:
        is_limited = self.accounts[one.appid].capacity(agent) > 0
        one.calling, one.is_counted = agent, bool(agent) and is_limited

    def _learn(self, one: Request, mark: str, now: int) -> None:
        if mark == "-":
            self.doubts.pop(one.fan, None)
        elif mark:
            self.doubts[one.fan] = Pointer(mark, now + DOUBT_MS)

    def holds(self, claim: claims.Claim) -> bool:
        """Whether the claim is its holder's yet."""
        one = self.requests.get(claim.id)
        return one is not None and one.fence == claim.fence and one.status == "calling"

    def renew(
        self,
        claim: claims.Claim,
        progress: claims.Progress,
        *,
        kf_account: str | None = None,
        out: Collection[str] = (),
        offline: str | None = None,
        got: claims.Claim,
        now: int,
    ) -> None:
        """Of a claim that is held: for `kf_account`, or else whom the ledger found."""
        one, account = self.requests[claim.id], self.accounts[claim.appid]
        assert got.is_cancelled == one.is_cancelled
        self._learn(one, progress.doubt.mark, now)
        if _is_answered(progress):
            account.note_answer(now)
        if offline:
            account.offline[offline] = now
            if account.is_fresh(now) and offline in account.sessions:
                account.lied.add(offline)
        out_text = "|".join(sorted(out))
        if kf_account is not None:
            assert (got.calling or "") == kf_account
        elif account.is_paused:
            assert (got.calling, got.held_for) == (None, "paused")
        elif now >= one.deadline_at:
            assert (got.calling, got.held_for) == (None, None), "nobody new after the deadline"
            assert got.is_over or got.is_cancelled
        else:
            agents, is_sure = self.choices(one, out_text, now)
            is_held = got.held_for in account.reasons() and not is_sure
            assert (got.calling is None and is_held) or (got.calling or "") in agents
        self._call(one, got.calling or "")
        one.attempts, one.calls = progress.attempt_count, progress.api_calls
        one.out = out_text or one.out
        one.due_at = now + self._lease_ms

    def settle(self, claim: claims.Claim, said: claims.Settlement, now: int) -> bool:
        """Whether the settlement is the holder's, now or when it was first sent."""
        one = self.requests.get(claim.id)
        if one is None or one.fence != claim.fence:
            return False
        if one.status == "calling":
            self._write(one, said, now)
        return True

    def _write(self, one: Request, said: claims.Settlement, now: int) -> None:
        account, progress = self.accounts[one.appid], said.progress
        self._learn(one, progress.doubt.mark, now)
        one.attempts = progress.attempt_count or one.attempts
        one.calls = progress.api_calls or one.calls
        one.out = "|".join(sorted(said.out)) or one.out
        one.served_by = said.served_by or one.served_by
        one.because = said.because or ("" if one.reason else one.because)
        self._end_hold(one, account, said)
        is_held = self._hold_hanging(one, account, said, now)
        status, reason = self._outcome(one, said, now)
        if status in FINAL:
            if status == "created" and one.calling in account.offline:
                account.may_be_back.add(one.calling)
            self._finish(one, status, reason, now)
        elif status == "queued":
            self._queue(one, now, now)
        elif said.holds is claims.Holds.REQUEST and not is_held:
            self._put_down(one)
            wake_at = now + round(said.wait_seconds * 1000)
            one.status, one.reason, one.crashes = "waiting", reason, said.crashes
            one.wake_at, one.due_at = wake_at, min(wake_at, one.deadline_at)
        else:
            if said.holds is claims.Holds.ACCOUNT and not account.why_held(one.id, now):
                ends_at = now + round(said.wait_seconds * 1000)
                account.hold = Hold(ends_at, reason, said.strikes)
            self._enter_room(one, reason)

    def _end_hold(self, one: Request, account: Account, said: claims.Settlement) -> None:
        """The probe of a held account got an answer, or anybody where its calls hung in a row."""
        is_answer = said.holds is not claims.Holds.ACCOUNT and said.reason not in NO_ANSWER
        tells = {"created", "already_served", "failed", "waiting"}
        if not (is_answer and said.status in tells and account.hold):
            return
        ends_row = account.hold.reason == "transient" and _is_answered(said.progress)
        if account.hold.probe == one.id or ends_row:
            account.hold = None

    def _hold_hanging(
        self, one: Request, account: Account, said: claims.Settlement, now: int
    ) -> bool:
        """Counts calls that hung in a row; whether the account is held for that."""
        if said.hanging_seconds is None:
            if _is_answered(said.progress):
                account.note_answer(now)
            return False
        if account.answered_at + ANSWERED_MS > now - said.hung_ms:
            return False  # another call may have been answered since this one began
        account.hung += 1
        is_probe = account.hold is not None and account.hold.probe == one.id
        if account.hung < MOST_HUNG and not is_probe:
            return False
        if not account.why_held(one.id, now):
            ends_at = now + round(said.hanging_seconds * 1000)
            account.hold = Hold(ends_at, "transient", said.strikes)
        return True

    def _outcome(self, one: Request, said: claims.Settlement, now: int) -> Way:
        """What is written: a cancel and a join meanwhile change what the worker says."""
        status, reason = said.status.value, said.reason.value if said.reason else ""
        is_unconfirmed = reason == "unconfirmed"
        if one.is_cancelled and status in ("waiting", "failed", "expired"):
            if not self.doubt_of(one) or is_unconfirmed:
                return "cancelled", "" if status == "failed" and not is_unconfirmed else reason
            if not said.crashes:
                return "queued", reason
        if status == "cancelled" and not one.is_cancelled:
            return "queued", reason
        if status == "expired" and now < one.deadline_at:
            return "queued", reason
        return status, reason

    # -- operators -------------------------------------------------------------------------------

    def cancel(self, request_id: str, now: int) -> str:
        one = self.requests.get(request_id)
        if one is None:
            return "unknown"
        if one.is_final:
            return one.status
        if one.status != "calling" and not self.doubt_of(one):
            self._finish(one, "cancelled", one.reason, now)
            return "cancelled"
        one.is_cancelled = True
        if one.status == "waiting":
            self._queue(one, now, now)
        elif one.status == "queued":
            self._enter_lane(one, now)
        return "asked"

    def retry(self, request_id: str, ttls: Mapping[str, int], now: int) -> tuple[str, str]:
        one = self.requests.get(request_id)
        if one is None:
            return "unknown", ""
        if one.status not in RETRIED:
            return ("succeeded" if one.is_final else "live"), one.status
        if other := self.live_of(one.fan):
            return "superseded", other.id
        self.newest[one.fan] = one.id
        one.generation += 1
        one.deadline_at = now + ttls[one.lane]
        one.reason = one.served_by = one.out = one.because = ""
        one.attempts = one.finished_at = one.removed_at = 0
        self._keep_own_key(one)
        self._queue(one, one.deadline_at, now)
        return "queued", one.lane

    # -- the waiting room ------------------------------------------------------------------------

    def wake(
        self, limit: int, now: int
    ) -> tuple[int, int, tuple[str, ...], dict[str, tuple[str, ...]]]:
        """How many were due, how many expired, whose leases were lost, and whom to ring."""
        live = [each for each in self.requests.values() if not each.is_final]
        due = [each for each in live if each.due_at <= now]
        due.sort(key=lambda each: (each.due_at, each.id))
        expired, lost = 0, []
        rings: dict[str, list[str]] = {"escalation": [], "batch": []}
        for one in due[:limit]:
            lane = one.lane
            if one.status == "calling":
                lost.append(one.id)
                if one.calling:
                    self.doubts[one.fan] = Pointer(one.calling, now + DOUBT_MS)
                one.attempts, one.fence = one.attempts + 1, one.fence + 1
                self._queue(one, one.deadline_at, now)
            elif now < one.deadline_at and one.status == "queued":
                one.due_at = one.deadline_at
            elif now < one.deadline_at:
                self._queue(one, one.deadline_at, now)
            elif self.doubt_of(one):
                self._queue(one, now + RING_AGAIN_MS, now)
                lane = "escalation"
            else:
                self._finish(one, "expired", one.reason, now)
                expired += 1
                continue
            rings[lane].append(one.id)
        return len(due[:limit]), expired, tuple(lost), {x: tuple(y) for x, y in rings.items()}

    def open_rooms(
        self, rung: Mapping[str, Sequence[str]], became: Mapping[str, Way], now: int
    ) -> None:
        """Only the first of a room leave it, and only where a call may be made."""
        rooms: dict[str, list[Request]] = {}
        for one in sorted(self.in_state("waiting"), key=lambda each: each.order):
            if one.is_in_room:
                rooms.setdefault(one.room, []).append(one)
        probing: dict[str, str] = {}
        for row in rooms.values():
            self._open_room(row, became, probing, now)
        for appid, request_id in probing.items():
            hold = self.accounts[appid].hold
            assert hold is not None
            hold.ends_at, hold.probe = now + PROBE_MS, request_id
        for lane, ids in rung.items():
            assert {self.requests[each].lane for each in ids} <= {lane}

    def _open_room(
        self,
        row: Sequence[Request],
        became: Mapping[str, Way],
        probing: dict[str, str],
        now: int,
    ) -> None:
        first, account = row[0], self.accounts[row[0].appid]
        stays = [became[each.id][0] == "waiting" for each in row]
        assert stays == sorted(stays), "a room lets out its first"
        if not all(stays):
            assert not account.why_shut("", now), "nobody leaves through a closed gate"
        for one in row:
            status, reason = became[one.id]
            if status == "expired":
                assert now >= one.deadline_at
                assert not self.doubt_of(one)
                self._finish(one, "expired", one.reason, now)
                continue
            assert reason in {one.reason} | account.reasons()
            one.reason = reason
            if status == "waiting":
                continue
            assert now < one.deadline_at or self.doubt_of(one)
            assert self.choices(first, "", now)[0], "somebody can be asked"
            if account.hold:
                assert probing.setdefault(one.appid, one.id) == one.id, "one probes"
            self._queue(one, one.deadline_at, now)

    def left_queued(self, limit: int, now: int) -> dict[str, tuple[str, ...]]:
        """Who stands first in the lanes whose first was left for a while, by account in turn."""
        rings: dict[str, list[str]] = {"escalation": [], "batch": []}
        for appid in self.in_turn():
            row = self.in_lane(appid)
            if now - row[0].updated_at >= RING_AGAIN_MS:
                for one in row[: max(0, limit - sum(map(len, rings.values())))]:
                    rings[one.lane].append(one.id)
        return {lane: tuple(ids) for lane, ids in rings.items()}

    def adopt(self, limit: int, now: int) -> None:
        """All who are queued enter their lanes, in which an older release did not put them.

        One step looks at `limit` of one lane; accounts that come in the same step come together.
        """
        self.turns.clear()
        for lane in ("escalation", "batch"):
            queued = [each for each in self.in_state("queued") if each.lane == lane]
            for place, one in enumerate(queued):
                self.moment += place % limit == 0
                one.lane_class = lanes.class_of(one, now)
                self.turns.setdefault(one.appid, self.moment)

    def purge(self, limit: int, now: int) -> int:
        final = [each for each in self.requests.values() if each.is_final]
        over = [each for each in final if each.removed_at <= now]
        over.sort(key=lambda each: (each.removed_at, each.id))
        for one in over[:limit]:
            del self.requests[one.id]
            if self.newest.get(one.fan) == one.id:
                del self.newest[one.fan]
        return len(over[:limit])


def _is_answered(progress: claims.Progress) -> bool:
    """Whether the last call was answered by WeChat, with a code."""
    return bool(progress.attempts) and progress.attempts[-1].errcode is not None

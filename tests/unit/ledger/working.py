"""The steps of workers in the ledger and in its model: claim, renew, find_next, settle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hypothesis import stateful
from hypothesis import strategies as st

from tests.unit.ledger import machine
from tests.unit.ledger import stage as stages
from tests.unit.ledger.machine import AGENTS
from tests.unit.ledger.standing import HUNG_MS
from worker import errors
from worker.contract import record
from worker.ledger import claims

#: A worker whose accounts share its slots, and whoever else takes requests.
SHARED = claims.Taker(worker="n2", slots=3)
HOLDERS = ["w1", SHARED.holder("t2")]
TAKERS = {SHARED.holder("t2"): SHARED}
Outcome = tuple[str, str | None, claims.Holds]
#: What a worker says a call came to: status, reason, and what waits with it.
ROOM, ACCOUNT, ALONE = claims.Holds.ROOM, claims.Holds.ACCOUNT, claims.Holds.REQUEST
OUTCOMES = [
    ("created", None, ALONE),
    ("created", None, ALONE),
    ("already_served", None, ALONE),
    *(("failed", each, ALONE) for each in ("invalid_openid", "gave_up", "unconfirmed")),
    *(("waiting", each, ALONE) for each in ("transient", "transient", "token")),
    *(("waiting", each, ROOM) for each in ("agent_offline", "agent_full", "paused")),
    *(("waiting", each, ACCOUNT) for each in ("quota", "account_blocked", "token", "rate_limited")),
    ("queued", None, ALONE),
    ("expired", "transient", ALONE),
    ("expired", "unconfirmed", ALONE),
    ("cancelled", None, ALONE),
]
#: What a call may come to that took long and left it open what became of the fan.
MAY_HANG = {("waiting", "transient"), ("failed", "gave_up"), ("expired", "unconfirmed")}
#: What a call taught of the fan: nothing, that nobody has it unseen, that the one asked may.
LESSON = st.sampled_from(["", "-", "asked"])


class Working(machine.Machine):
    """Two workers, who say what a worker may say, though perhaps too late or twice."""

    # -- workers -------------------------------------------------------------------------------

    @stateful.rule(
        data=st.data(), holder=st.sampled_from(HOLDERS), again=st.booleans(), tried=st.booleans()
    )
    def claim(self, data: st.DataObject, holder: str, again: bool, tried: bool) -> None:
        """Of ids that may be unknown, over, doubled, or somebody else's."""
        ids = self._some_ids(data)
        now = self.begin()
        taken = self.take(*ids, holder=holder, again=again, prefers_tried=tried)
        assert taken.unknown == tuple(x for x in ids if x not in self.model.requests)
        self._take(taken, holder, now, again=again, prefers_tried=tried)

    def take(self, *ids: str, holder: str, **how: bool) -> claims.Taken:
        taker = TAKERS.get(holder, claims.ANYBODY)
        return self.stage.take(*ids, holder=holder, taker=taker, **how)

    @stateful.rule(
        holder=st.sampled_from(HOLDERS), outcome=st.sampled_from(OUTCOMES), lesson=LESSON
    )
    def serve(self, holder: str, outcome: Outcome, lesson: str) -> None:
        """A claim and its settlement, twice: the second meets what the first one did."""
        for _ in range(2):
            self.serve_next(holder, outcome, lesson)
            self.agree()

    def serve_next(self, holder: str, outcome: Outcome, lesson: str) -> None:
        now = self.begin()
        taken = self.take(holder=holder)
        self._take(taken, holder, now)
        if taken.claim:
            self.agree()
            self._settle(taken.claim, self._settlement(taken.claim, outcome, lesson, 30, 0))

    @stateful.rule(
        appid=st.sampled_from(["wx1", "wx1", "wx2"]),
        calls=st.sampled_from([4, 5, 6]),
        rests=st.booleans(),
        probes=st.booleans(),
    )
    def hang(self, appid: str, calls: int, rests: bool, probes: bool) -> None:
        """Call after call of an account hangs, until nobody may call any more; then the probe.

        Where it `rests` before, none of them began before the last answer.
        """
        if rests:
            self.begin()
            self._pass(15)
        for _ in range(calls):
            self._hang_once(appid)
        if probes:
            self._pass(70)
            for look in (self._wake, self._open_rooms):
                look(100, self.begin())
                self.agree()
            self._hang_once(appid)

    def _hang_once(self, appid: str) -> None:
        now = self.begin()
        taken = self.take(holder="w3")
        self._take(taken, "w3", now)
        self.agree()
        if taken.claim:
            outcome = "waiting", "transient", ALONE
            seconds = 15 if taken.claim.appid == appid else None
            said = self._settlement(taken.claim, outcome, "asked", 0, 0, hanging_seconds=seconds)
            self._settle(taken.claim, said)
            self.agree()
            self._wake(100, self.begin())
            self.agree()

    @stateful.rule(holder=st.sampled_from(HOLDERS), outcome=st.sampled_from(OUTCOMES))
    def outlive_a_lease(self, holder: str, outcome: Outcome) -> None:
        """A worker stood still; another may have its claim by the time it goes on."""
        now = self.begin()
        taken = self.take(holder=holder)
        self._take(taken, holder, now)
        if taken.claim:
            self.agree()
            self._pass(30)
            self._wake(100, self.begin())
            self.agree()
            now = self.begin()
            self._take(self.take(holder="w3"), "w3", now)
            self.agree()
            self._settle(taken.claim, self._settlement(taken.claim, outcome, "asked", 30, 0))

    def _some_ids(self, data: st.DataObject) -> list[str]:
        live = [x for x, one in self.model.requests.items() if not one.is_final]
        over = [x for x, one in self.model.requests.items() if one.is_final]
        known = [*live, *over[-1:], "unknown"]
        return data.draw(st.lists(st.sampled_from(known), max_size=6))

    def _take(
        self,
        taken: claims.Taken,
        holder: str,
        now: int,
        *,
        again: bool = False,
        prefers_tried: bool = False,
    ) -> None:
        claim = taken.claim
        before = {each.id for each in self.model.in_state("calling")}
        doubts = {each: self.model.doubt_of(one) for each, one in self.model.requests.items()}
        has_more = self.model.claim(
            holder,
            slots=TAKERS.get(holder, claims.ANYBODY).slots,
            again=again,
            prefers_tried=prefers_tried,
            claimed=claim.id if claim else None,
            became=self.became(),
            now=now,
        )
        assert taken.has_more == has_more
        if claim:
            one = self.model.requests[claim.id]
            told = (
                claim.fence,
                claim.appid,
                claim.openid,
                claim.calling or "",
                claim.attempt_count,
            )
            assert told == (one.fence, one.appid, one.openid, one.calling, one.attempts)
            assert (claim.api_calls, claim.crashes) == (one.calls, one.crashes)
            assert (claim.is_cancelled, claim.doubt or "") == (one.is_cancelled, doubts[one.id])
            assert ("|".join(claim.targets), "|".join(sorted(claim.out))) == (one.targets, one.out)
            assert round(claim.seconds_left * 1000) <= one.deadline_at - now
            assert again or claim.id not in before or one.holder == holder
            self.held = [each for each in self.held if each.fence != claim.fence] + [claim]

    @stateful.precondition(lambda self: self.held)
    @stateful.rule(
        data=st.data(), renews=st.booleans(), agent=st.sampled_from(AGENTS), lesson=LESSON
    )
    def go_on(self, data: st.DataObject, renews: bool, agent: str, lesson: str) -> None:
        """A further call: to an agent of the worker's choice, or of the ledger's."""
        claim = self._some_claim(data)
        if renews:
            self._renew(claim, agent, lesson)
        else:
            self._find_next(claim, lesson)

    def _renew(self, claim: claims.Claim, agent: str, lesson: str) -> None:
        """Right before a further call; while a doubt stands, to the same agent."""
        made = self._progress(claim, lesson, calls=1)
        mark = made.doubt.mark or claim.doubt or "-"
        kf_account = agent if mark == "-" else mark
        self._keep(
            claim,
            made,
            lambda: self.stage.ledger.renew(claim, kf_account, made),
            kf_account=kf_account,
        )

    def _find_next(self, claim: claims.Claim, lesson: str) -> None:
        """After an agent was found wrong, offline or full, and nobody else has the fan."""
        is_wrong, is_offline = lesson == "asked", lesson == "-"
        made = self._progress(claim, "-" if claim.doubt else "", calls=1)
        out = claim.out | ({claim.calling} if is_wrong and claim.calling else set())
        offline = claim.calling if is_offline else None
        self._keep(
            claim,
            made,
            lambda: self.stage.ledger.find_next(claim, made, out=out, offline=offline),
            out=out,
            offline=offline,
        )

    def _keep(
        self,
        claim: claims.Claim,
        made: claims.Progress,
        step: Callable[[], claims.Claim],
        **how: object,
    ) -> None:
        now = self.begin()
        is_ours = self.model.holds(claim)
        self.held.remove(claim)
        try:
            got = step()
        except errors.LeaseLost:
            assert not is_ours
            return
        assert is_ours
        self.model.renew(claim, made, got=got, now=now, **how)
        one = self.model.requests[claim.id]
        self.held.append(
            dataclasses.replace(
                got,
                attempt_count=made.attempt_count,
                api_calls=made.api_calls,
                doubt=self.model.doubt_of(one) or None,
                out=frozenset(filter(None, one.out.split("|"))),
            )
        )

    @stateful.precondition(lambda self: self.held)
    @stateful.rule(
        data=st.data(),
        outcome=st.sampled_from(OUTCOMES),
        lesson=LESSON,
        seconds=st.sampled_from([0, 30, 120]),
        crashes=st.sampled_from([0, 0, 2]),
        hanging_seconds=st.sampled_from([None, 15, 60]),
        takes_next=st.booleans(),
    )
    def settle(
        self,
        data: st.DataObject,
        outcome: Outcome,
        lesson: str,
        seconds: float,
        crashes: int,
        hanging_seconds: float | None,
        takes_next: bool,
    ) -> None:
        """By whoever held the claim, perhaps too late; and take the next one with it."""
        claim = self._some_claim(data)
        said = self._settlement(
            claim, outcome, lesson, seconds, crashes, hanging_seconds=hanging_seconds
        )
        self._settle(claim, said, takes_next=takes_next)

    @stateful.precondition(lambda self: self.settled)
    @stateful.rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """The reply was lost: nothing is written twice."""
        claim, said = data.draw(st.sampled_from(self.settled[-4:]))
        self._settle(claim, said)

    def _some_claim(self, data: st.DataObject) -> claims.Claim:
        """The newest is the likeliest to be there yet."""
        return data.draw(st.sampled_from(self.held[::-1]))

    def _progress(self, claim: claims.Claim, lesson: str, *, calls: int) -> claims.Progress:
        """As a worker has it: who is in doubt is who was asked."""
        asked = claim.calling if calls else None
        mark = {"asked": asked or "", "-": "-" if claim.doubt else ""}.get(lesson, "")
        attempts = [stages.attempt(asked)] * calls if asked else []
        return claims.Progress(
            attempt_count=claim.attempt_count + (lesson == "asked"),
            api_calls=claim.api_calls + len(attempts),
            attempts=tuple(attempts),
            doubt=claims.Doubt(mark=mark),
        )

    def _settlement(
        self,
        claim: claims.Claim,
        outcome: Outcome,
        lesson: str,
        seconds: float,
        crashes: int,
        *,
        hanging_seconds: float | None = None,
    ) -> claims.Settlement:
        """As a worker has it: an end short of success while in doubt is `unconfirmed`."""
        status, reason, holds = outcome
        if status in ("created", "already_served"):
            lesson = "-"
        made = self._progress(claim, lesson, calls=1)
        is_unsure = made.doubt.mark not in ("", "-") or (claim.doubt and not made.doubt.mark)
        if is_unsure and status in ("failed", "expired", "cancelled"):
            reason = "unconfirmed"
        served_by = {"created": claim.calling or claim.doubt, "already_served": "kf9@a"}
        return claims.Settlement(
            status=record.Status(status),
            reason=record.Reason(reason) if reason else None,
            progress=made,
            wait_seconds=seconds,
            holds=holds,
            served_by=served_by.get(status),
            strikes=claim.strikes + 1,
            crashes=crashes if (reason, holds) == ("transient", ALONE) else 0,
            out=claim.out,
            because="40001 expired" if reason == "token" else "",
            hanging_seconds=hanging_seconds if (status, reason) in MAY_HANG else None,
            hung_ms=HUNG_MS,
        )

    def _settle(
        self, claim: claims.Claim, said: claims.Settlement, *, takes_next: bool = False
    ) -> None:
        """By a worker of either kind, whichever held the claim."""
        now, holder = self.begin(), HOLDERS[claim.fence % 2]
        taker = TAKERS.get(holder, claims.ANYBODY)
        taken = self.stage.ledger.settle(
            claim, said, holder, take_next=takes_next, rest_seconds=5, taker=taker
        )
        self.held = [each for each in self.held if each is not claim]
        self.settled.append((claim, said))
        assert taken.settled == self.model.settle(claim, said, now)
        if takes_next:
            self._take(taken, holder, now)

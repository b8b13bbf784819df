"""The steps of workers in the ledger and in its model: claim, renew, find_next, settle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from hypothesis import stateful
from hypothesis import strategies as st

from tests.unit.ledger import machine
from tests.unit.ledger import stage as stages
from tests.unit.ledger.machine import AGENTS
from worker import errors
from worker.contract import record
from worker.ledger import claims

HOLDERS = ["w1", "w2"]
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
#: What a call taught of the fan: nothing, that nobody has it unseen, that the one asked may.
LESSON = st.sampled_from(["", "-", "asked"])


class Working(machine.Machine):
    """Two workers, who say what a worker may say, though perhaps too late or twice."""

    # -- workers -------------------------------------------------------------------------------

    @stateful.rule(data=st.data(), holder=st.sampled_from(HOLDERS), again=st.booleans())
    def claim(self, data: st.DataObject, holder: str, again: bool) -> None:
        """Of ids that may be unknown, over, doubled, or somebody else's."""
        ids = self._some_ids(data)
        now = self.begin()
        taken = self.stage.take(*ids, holder=holder, again=again)
        self._take(taken, ids, holder, now, again=again)

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
        taken = self.stage.take(holder=holder)
        self._take(taken, (), holder, now)
        if taken.claim:
            self.agree()
            self._settle(taken.claim, self._settlement(taken.claim, outcome, lesson, 30, 0), None)

    @stateful.rule(holder=st.sampled_from(HOLDERS), outcome=st.sampled_from(OUTCOMES))
    def outlive_a_lease(self, holder: str, outcome: Outcome) -> None:
        """A worker stood still; another may have its claim by the time it goes on."""
        now = self.begin()
        taken = self.stage.take(holder=holder)
        self._take(taken, (), holder, now)
        if taken.claim:
            self.agree()
            self._pass(30)
            self._wake(100, self.begin())
            self.agree()
            now = self.begin()
            self._take(self.stage.take(holder="w3"), (), "w3", now)
            self.agree()
            self._settle(taken.claim, self._settlement(taken.claim, outcome, "asked", 30, 0), None)

    def _some_ids(self, data: st.DataObject) -> list[str]:
        live = [x for x, one in self.model.requests.items() if not one.is_final]
        over = [x for x, one in self.model.requests.items() if one.is_final]
        known = [*live, *over[-1:], "unknown"]
        return data.draw(st.lists(st.sampled_from(known), max_size=6))

    def _take(
        self, taken: claims.Taken, ids: Sequence[str], holder: str, now: int, again: bool = False
    ) -> None:
        claim = taken.claim
        before = {each.id for each in self.model.in_state("calling")}
        doubts = {each: self.model.doubt_of(one) for each, one in self.model.requests.items()}
        self.model.claim(
            ids,
            holder,
            again=again,
            claimed=claim.id if claim else None,
            became=self.became(),
            now=now,
        )
        looked_at = ids[: len(ids) - len(taken.rest)]
        assert taken.unknown == tuple(x for x in looked_at if x not in self.model.requests)
        assert claim or len(looked_at) == len(ids[:4]), "all of them were tried"
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
            assert claim.seconds_left * 1000 <= one.deadline_at - now
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
        takes_next=st.booleans(),
    )
    def settle(
        self,
        data: st.DataObject,
        outcome: Outcome,
        lesson: str,
        seconds: float,
        crashes: int,
        takes_next: bool,
    ) -> None:
        """By whoever held the claim, perhaps too late; and take the next one with it."""
        claim = self._some_claim(data)
        said = self._settlement(claim, outcome, lesson, seconds, crashes)
        self._settle(claim, said, self._some_ids(data) if takes_next else None)

    @stateful.precondition(lambda self: self.settled)
    @stateful.rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """The reply was lost: nothing is written twice."""
        claim, said = data.draw(st.sampled_from(self.settled[-4:]))
        self._settle(claim, said, None)

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
        )

    def _settle(
        self, claim: claims.Claim, said: claims.Settlement, ids: Sequence[str] | None
    ) -> None:
        now = self.begin()
        taken = self.stage.ledger.settle(
            claim, said, ids or (), "w1", take_next=ids is not None, rest_seconds=5
        )
        self.held = [each for each in self.held if each is not claim]
        self.settled.append((claim, said))
        assert taken.settled == self.model.settle(claim, said, now)
        if ids is not None:
            self._take(taken, ids, "w1", now)

"""Receives one parsed HTTP request and hands on WeChat's reply, step by step."""

from __future__ import annotations

import functools
import json
import random
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ops.simulator import bends, book, calls, faults, names, quota, replies, scenario, tokens, world


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `target` is path and query. Secrets may be in both: neither is shown."""

    method: str
    target: str = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class _Course:
    """What becomes known of one call on its way."""

    appid: str = ""
    openid: str = ""
    kf_account: str = ""
    errcode: int = 0
    fault: bends.Fault | None = None
    opened: bool = False

    @property
    def told_errcode(self) -> int | None:
        """What the client learns of the errcode."""
        return self.errcode if self.fault is None or self.fault.is_told else None


class Api:
    """The simulated WeChat without its sockets: state, and an answer for each request."""

    def __init__(self, chosen: scenario.Scenario, clock: Callable[[], float]) -> None:
        self.chosen = chosen
        self.clock = clock
        self._ok = replies.Reply(replies.OK, 200, chosen.content_type)
        # Not for secrets: rids and latencies are the same for the same seed.
        self._random = random.Random(chosen.seed)  # noqa: S311
        self.reset()

    def reset(self) -> None:
        """As at the start: nobody served, no tokens, an empty book, the scenario's faults."""
        self.started_at = self.clock()
        self.tokens = tokens.Tokens(self.chosen, self.clock)
        self.accounts = {account.appid: account for account in self.chosen.accounts}
        self.worlds = {
            account.appid: world.World(account, self.chosen, self.clock)
            for account in self.chosen.accounts
        }
        self.quotas = {appid: quota.Quota(self.chosen.limits, self.clock) for appid in self.worlds}
        self.set_faults(self.chosen.faults)
        self.book = book.Book(self.chosen.seed, self.started_at)
        self._asked: Counter[tuple[str, str, str]] = Counter()
        self._replies = 0

    def set_faults(self, chosen: scenario.Faults) -> None:
        """From now on, these chances."""
        self._struck_paths = frozenset(chosen.paths)
        self._chances = faults.chances(chosen)

    def latency_seconds(self) -> float:
        """How long the next reply takes."""
        low, high = self.chosen.latency_ms
        return self._random.uniform(low, high) / 1000 if high else 0.0

    def answer(self, request: Request) -> replies.Reply:
        """Answer one call and write it into the book."""
        path, _, query_text = request.target.partition("?")
        course = _Course()
        try:
            said = self._ask(request, path, query_text, course)
        except replies.Refused as refused:
            course.errcode = refused.errcode
            said = self._refusal(refused)
        reply = self._reply(said, course)
        self.book.write(
            book.Entry(
                at=round(self.clock() * 1000),
                method=request.method,
                path=path,
                appid=course.appid,
                openid=course.openid,
                kf_account=course.kf_account,
                errcode=course.told_errcode,
                fault=course.fault.name if course.fault else None,
                opened=course.opened,
            )
        )
        return reply

    # The steps of one call -----------------------------------------------------------------------

    def _ask(
        self, request: Request, path: str, query_text: str, course: _Course
    ) -> dict[str, object]:
        call = calls.CALLS.get(path)
        if call is None:
            raise replies.Refused(40066)
        if request.method != call.method:
            raise replies.Refused(43001 if call.method == "GET" else 43002)
        query = _query(query_text)
        if not call.is_token:
            course.appid = self.tokens.owner(query.get("access_token", ""))
        fields: Mapping[str, object] = _body(request.body) if call.method == "POST" else query
        asked = calls.Asked(
            appid=course.appid, path=path, fields=fields, is_create=path == scenario.CREATE_PATH
        )
        course.openid, course.kf_account = asked.told("openid"), asked.told("kf_account")
        if call.is_token:
            course.appid = asked.told("appid")
            return self._tokens_call(call, replace(asked, appid=course.appid), course)
        if errcode := self.accounts[course.appid].errcode:
            raise replies.Refused(errcode)
        self.quotas[course.appid].spend(path)
        return self._struck(call, asked, course)

    def _tokens_call(
        self, call: calls.Call, asked: calls.Asked, course: _Course
    ) -> dict[str, object]:
        account = self.accounts.get(asked.appid)
        if account is not None and account.token_errcode:
            raise replies.Refused(account.token_errcode)
        return self._struck(call, asked, course)

    def _struck(self, call: calls.Call, asked: calls.Asked, course: _Course) -> dict[str, object]:
        """Do what was asked, unless a fault strikes first."""
        course.fault, errcode = self._fault(asked)
        if errcode:
            raise replies.Refused(errcode)
        if course.fault is not None and course.fault.kills_tokens:
            raise replies.Refused(self.tokens.kill(asked.appid))
        if course.fault is not None and not course.fault.is_done:
            return {}
        done = call.handle(self, asked)
        course.opened = done.opened
        return done.payload

    def _fault(self, asked: calls.Asked) -> tuple[bends.Fault | None, int]:
        """The fault that strikes this call, and the errcode that the fan's name stands for."""
        who = openid = asked.told("openid")
        if not asked.is_create:
            who = f"{asked.path}/{openid or asked.told('kf_account') or asked.told('appid')}"
        key = (asked.appid, asked.path, who)
        number = self._asked[key]
        self._asked[key] += 1
        if asked.is_create:
            plan = names.fan(openid)
            if plan.errcode:
                return None, plan.errcode
            if plan.fault is not None and number < plan.times:
                return plan.fault, 0
        if (always := self._fault_of_account(asked)) is not None:
            return always, 0
        if asked.path not in self._struck_paths:
            return None, 0
        return faults.draw(self._chances, self.chosen.seed, who, number), 0

    def _fault_of_account(self, asked: calls.Asked) -> bends.Fault | None:
        """The fault that strikes all calls of this account."""
        account = self.accounts.get(asked.appid)
        if account is None or asked.path in book.TOKEN_PATHS:
            return None
        return bends.TABLE.get(account.fault)

    # The reply -----------------------------------------------------------------------------------

    def _reply(self, said: dict[str, object], course: _Course) -> replies.Reply:
        """The reply as it goes out, bent where a fault strikes."""
        if course.fault is not None:
            said = self._bent(said, course.fault, course)
        if self.chosen.errcode_as_text and isinstance(said.get("errcode"), int):
            said = {**said, "errcode": str(said["errcode"])}
        if said is calls.OK:
            reply = self._ok
        else:
            reply = replies.Reply(replies.dump(said), 200, self.chosen.content_type)
        if course.fault is None or course.fault.sends is None:
            return reply
        return course.fault.sends(reply)

    def _bent(
        self, said: dict[str, object], fault: bends.Fault, course: _Course
    ) -> dict[str, object]:
        errcode = fault.tells(course.errcode) if fault.tells else course.errcode
        if errcode != course.errcode:
            course.errcode = errcode
            said = self._refusal(replies.Refused(errcode))
        return said if fault.says is None else fault.says(said)

    def _refusal(self, refused: replies.Refused) -> dict[str, object]:
        return {"errcode": refused.errcode, "errmsg": self._errmsg(refused)}

    def _errmsg(self, refused: replies.Refused) -> str:
        self._replies += 1
        rid = f"{int(self.clock()):08x}-{self._replies:08x}-{self._random.getrandbits(32):08x}"
        return replies.errmsg(refused.errcode, refused.detail, rid)


@functools.lru_cache(maxsize=256)
def _query(text: str) -> Mapping[str, str]:
    return dict(urllib.parse.parse_qsl(text, keep_blank_values=True))


def _body(body: bytes) -> Mapping[str, object]:
    if not body.strip():
        raise replies.Refused(44002)
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise replies.Refused(47001) from None
    if not isinstance(fields, dict):
        raise replies.Refused(47001)
    return fields

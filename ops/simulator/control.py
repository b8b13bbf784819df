"""Receives a request under /_simulator and hands on JSON: reads the book, or steers.

No token is asked for; a wrong field answers HTTP 400 with `{"error": …}`.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, replace

from ops.simulator import api, bends, names, replies, scenario, tables, world

PREFIX = "/_simulator"

Answer = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Control:
    """One control call; `takes` shows its body or query."""

    does: str
    handle: Callable[[api.Api, tables.Table], Answer]
    takes: str = ""


def is_control(target: str) -> bool:
    """Whether a request is for the simulator itself."""
    return target.startswith(PREFIX) or target == "/"


def answer(of: api.Api, request: api.Request) -> replies.Reply:
    """Answer one control call."""
    path, _, query = request.target.partition("?")
    control = CONTROLS.get(f"{request.method} {path.rstrip('/') or PREFIX}")
    if control is None:
        return _json(
            {"error": f"no {request.method} {path}; GET {PREFIX} lists what there is"}, 404
        )
    try:
        given = _fields(request, query)
        said = control.handle(of, given)
    except (tables.ScenarioError, ValueError) as error:
        return _json({"error": str(error)}, 400)
    except replies.Refused as refused:
        return _json(
            {"error": replies.ERRMSG.get(refused.errcode), "errcode": refused.errcode}, 400
        )
    return _json(said, 200)


def _fields(request: api.Request, query: str) -> tables.Table:
    if request.method == "POST":
        return tables.Table(json.loads(request.body or b"{}"), "body")
    return tables.Table(dict(urllib.parse.parse_qsl(query)), "query")


def _json(said: Answer, status: int) -> replies.Reply:
    return replies.Reply(replies.dump(said) + b"\n", status)


def _world(of: api.Api, given: tables.Table) -> world.World:
    return of.worlds[given.choice("appid", of.chosen.accounts[0].appid, list(of.worlds))]


def _list(_of: api.Api, given: tables.Table) -> Answer:
    given.done()
    return {
        "simulator": "a WeChat that runs on this machine",
        "calls": {
            name: f"{control.does} {control.takes}".strip() for name, control in CONTROLS.items()
        },
    }


def _names(_of: api.Api, given: tables.Table) -> Answer:
    given.done()
    return {**names.table()}


def _book(of: api.Api, given: tables.Table) -> Answer:
    path, openid = given.maybe_text("path"), given.maybe_text("openid")
    given.done()
    return of.book.tell(of.worlds.values(), path, openid)


def _summary(of: api.Api, given: tables.Table) -> Answer:
    given.done()
    return of.book.summary(of.worlds.values())


def _agents(of: api.Api, given: tables.Table) -> Answer:
    account, kf_account = _world(of, given), given.text("kf_account")
    is_online, capacity = given.maybe_boolean("online"), given.maybe_whole("capacity")
    given.done()
    if is_online is None and capacity is None:
        raise tables.ScenarioError(
            "body.online is missing, and body.capacity too; give one or both"
        )
    agent = account.agent(kf_account)
    if is_online is not None:
        account.switch(kf_account, is_online)
    if capacity is not None:
        agent.capacity = capacity
    return {
        "kf_account": kf_account,
        "online": account.is_online(agent),
        "capacity": agent.capacity,
    }


def _waiting(of: api.Api, given: tables.Table) -> Answer:
    account, openids = _world(of, given), given.texts("openids")
    given.done()
    account.wait(openids)
    return {"count": account.waiting()[0]}


def _close(of: api.Api, given: tables.Table) -> Answer:
    account, openid = _world(of, given), given.text("openid")
    given.done()
    return {"openid": openid, "closed": account.hang_up(openid)}


def _faults(of: api.Api, given: tables.Table) -> Answer:
    chosen = scenario.read_faults(given)
    of.set_faults(chosen)
    chances = {name: chosen.chances.get(name, 0.0) for name in bends.TABLE}
    return {"faults": {**chances, "errcodes": {**chosen.errcodes}, "paths": chosen.paths}}


def _accounts(of: api.Api, given: tables.Table) -> Answer:
    appid = _world(of, given).account.appid
    old = of.accounts[appid]
    errcode = given.whole("errcode", old.errcode, least=-1)
    token_errcode = given.whole("token_errcode", old.token_errcode, least=-1)
    fault = given.choice("fault", old.fault, scenario.FAULT_NAMES)
    given.done()
    of.accounts[appid] = replace(old, errcode=errcode, token_errcode=token_errcode, fault=fault)
    return {"appid": appid, "errcode": errcode, "token_errcode": token_errcode, "fault": fault}


def _expire(of: api.Api, given: tables.Table) -> Answer:
    errcode = int(given.choice("errcode", "42001", ("42001", "40001", "40014")))
    given.done()
    return {"expired": of.tokens.expire_all(errcode)}


def _reset(of: api.Api, given: tables.Table) -> Answer:
    given.done()
    of.reset()
    return {"reset": True}


CONTROLS = {
    f"GET {PREFIX}": _Control("this list", _list),
    f"GET {PREFIX}/names": _Control("names of fans and agents that steer", _names),
    f"GET {PREFIX}/book": _Control("calls and sessions", _book, "?path= ?openid="),
    f"GET {PREFIX}/summary": _Control("counts", _summary),
    f"POST {PREFIX}/agents": _Control(
        "send an agent online or offline, set its capacity",
        _agents,
        '{"kf_account", "online"?, "capacity"?, "appid"?}',
    ),
    f"POST {PREFIX}/waiting": _Control("let fans wait", _waiting, '{"openids", "appid"?}'),
    f"POST {PREFIX}/close": _Control("end a fan's session", _close, '{"openid", "appid"?}'),
    f"POST {PREFIX}/faults": _Control(
        "set all fault chances",
        _faults,
        '{"busy": 0.1, …, "errcodes"?: {"45011": 0.1, …}, "paths"?}',
    ),
    f"POST {PREFIX}/accounts": _Control(
        "let all calls of an account answer a code, or go wrong by one fault",
        _accounts,
        '{"errcode"?, "token_errcode"?, "fault"?, "appid"?}',
    ),
    f"POST {PREFIX}/tokens/expire": _Control(
        "kill all tokens but the fixed ones", _expire, '{"errcode"?}'
    ),
    f"POST {PREFIX}/reset": _Control("all as at the start", _reset),
}

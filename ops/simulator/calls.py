"""Receives one call's fields and hands on what WeChat says: one small function a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.simulator import agents, replies, scenario

if TYPE_CHECKING:
    from ops.simulator import api, world

OK: dict[str, object] = {"errcode": 0, "errmsg": "ok"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one call asks: its query (GET) or its JSON body (POST)."""

    appid: str
    path: str
    fields: Mapping[str, object] = field(repr=False)
    is_create: bool = False

    def told(self, name: str) -> str:
        """A field for the book: "" where it is absent or no text."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def need(self, name: str, errcode: int) -> str:
        """A field that must be a text with something in it; refuses with `errcode`."""
        value = self.told(name)
        if not value:
            raise replies.Refused(errcode)
        return value


@dataclass(frozen=True, slots=True)
class Done:
    """What a call came to; `opened` says that it opened a session that was not there before."""

    payload: dict[str, object]
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call of WeChat's."""

    method: str
    handle: Callable[[api.Api, Asked], Done]
    is_token: bool = False


def _create(of: api.Api, asked: Asked) -> Done:
    openid, kf_account = asked.need("openid", 40003), asked.need("kf_account", 65416)
    return Done(OK, opened=of.worlds[asked.appid].create(kf_account, openid))


def _close(of: api.Api, asked: Asked) -> Done:
    openid, kf_account = asked.need("openid", 40003), asked.need("kf_account", 65416)
    of.worlds[asked.appid].close(kf_account, openid)
    return Done(OK)


def _get_session(of: api.Api, asked: Asked) -> Done:
    openid = asked.need("openid", 40003)
    held = of.worlds[asked.appid].checked_session_of(openid)
    return _read(
        of,
        {
            "createtime": int(held.opened_at) if held else 0,
            "kf_account": held.kf_account if held else "",
        },
    )


def _get_session_list(of: api.Api, asked: Asked) -> Done:
    held = of.worlds[asked.appid].sessions_of(asked.need("kf_account", 65416))
    rows = [{"createtime": int(one.opened_at), "openid": one.openid} for one in held]
    return _read(of, {"sessionlist": rows})


def _get_wait_case(of: api.Api, asked: Asked) -> Done:
    count, waiting = of.worlds[asked.appid].waiting()
    shape = of.chosen.waiting_rows
    rows = [
        _waiting_row(
            openid, int(since), shape == "createtime" or (shape == "mixed" and at % 2 == 1)
        )
        for at, (openid, since) in enumerate(waiting)
    ]
    return _read(of, {"count": count, "waitcaselist": rows})


def _waiting_row(openid: str, since: int, is_older: bool) -> dict[str, object]:
    if is_older:
        return {"openid": openid, "kf_account": "", "createtime": since}
    return {"latest_time": since, "openid": openid}


def _get_online_list(of: api.Api, asked: Asked) -> Done:
    rows: list[dict[str, object]] = [
        _online_row(of, agent, at, accepted)
        for at, (agent, accepted) in enumerate(of.worlds[asked.appid].online())
    ]
    if of.chosen.odd_rows:
        rows.insert(0, {"kf_account": "", "status": 1, "kf_id": 9001, "accepted_case": 0})
        rows.append({"status": 0, "kf_id": "9002", "accepted_case": 0})
    return _read(of, {"kf_online_list": rows})


def _online_row(of: api.Api, agent: agents.Agent, at: int, accepted: int) -> dict[str, object]:
    row: dict[str, object] = {
        "kf_account": agent.kf_account,
        "status": of.chosen.online_status,
        "kf_id": _kf_id(of, agent, at),
        "accepted_case": accepted,
    }
    return {**row, "auto_accept": agent.capacity} if agent.capacity else row


def _get_list(of: api.Api, asked: Asked) -> Done:
    known: world.World = of.worlds[asked.appid]
    rows = [_list_row(of, agent, at) for at, agent in enumerate(known.agents.values())]
    if of.chosen.odd_rows:
        rows.insert(0, {"kf_account": "", "kf_nick": "", "kf_id": 9001, "kf_headimgurl": ""})
    return _read(of, {"kf_list": rows})


def _list_row(of: api.Api, agent: agents.Agent, at: int) -> dict[str, object]:
    prefix = agent.kf_account.partition("@")[0]
    row: dict[str, object] = {
        "kf_account": agent.kf_account,
        "kf_headimgurl": "http://mmbiz.qpic.cn/mmbiz/simulator/300",
        "kf_id": _kf_id(of, agent, at),
        "kf_nick": prefix,
    }
    return row if agent.plan.errcode == 65402 else {**row, "kf_wx": f"wx_{prefix}"}


def _kf_id(of: api.Api, agent: agents.Agent, at: int) -> str | int:
    return str(agent.kf_id) if of.chosen.odd_rows and at % 2 else agent.kf_id


def _read(of: api.Api, payload: dict[str, object]) -> Done:
    return Done({**OK, **payload} if of.chosen.reads_carry_errcode else payload)


def _token(of: api.Api, asked: Asked) -> Done:
    value, seconds = of.tokens.fresh(*_credentials(asked))
    return Done({"access_token": value, "expires_in": seconds})


def _stable_token(of: api.Api, asked: Asked) -> Done:
    is_forced = asked.fields.get("force_refresh", False) is True
    value, seconds = of.tokens.stable(*_credentials(asked), is_forced)
    return Done({"access_token": value, "expires_in": seconds})


def _credentials(asked: Asked) -> tuple[str, str]:
    if asked.told("grant_type") != "client_credential":
        raise replies.Refused(40002)
    return asked.need("appid", 41002), asked.need("secret", 41004)


def _quota(of: api.Api, asked: Asked) -> Done:
    path = asked.told("cgi_path")
    if path not in CALLS:
        raise replies.Refused(76021)
    return Done({**OK, **of.quotas[asked.appid].report(path)})


CALLS = {
    scenario.CREATE_PATH: Call("POST", _create),
    "/customservice/kfsession/close": Call("POST", _close),
    "/customservice/kfsession/getsession": Call("GET", _get_session),
    "/customservice/kfsession/getsessionlist": Call("GET", _get_session_list),
    "/customservice/kfsession/getwaitcase": Call("GET", _get_wait_case),
    "/cgi-bin/customservice/getonlinekflist": Call("GET", _get_online_list),
    "/cgi-bin/customservice/getkflist": Call("GET", _get_list),
    "/cgi-bin/token": Call("GET", _token, is_token=True),
    "/cgi-bin/stable_token": Call("POST", _stable_token, is_token=True),
    "/cgi-bin/openapi/quota/get": Call("POST", _quota),
}

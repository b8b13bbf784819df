"""Takes a fan and an agent and asks WeChat to open the session between them; tells who has whom.

Each function is one call; what goes wrong is raised as a class of `worker.errors`.
Source: WeChat's pages of createkfsession, getkfsession and getwaitcase.
"""

import dataclasses
from typing import Any

from worker import errors
from worker.wechat import transport

#: "The fan has no session": an answer, where one was asked for.
_NO_SESSION = 65413


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFan:
    """A fan nobody serves yet; `waiting_since` is in Unix seconds, 0 where WeChat does not say."""

    openid: str
    waiting_since: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFans:
    """The oldest waiting fans, at most 100, and how many wait in all (`count`)."""

    count: int
    fans: tuple[WaitingFan, ...]


def create(via: transport.Transport, token: str, *, kf_account: str, openid: str) -> None:
    """Open the session; to ask again for a pair that has one succeeds too."""
    body = {"kf_account": kf_account, "openid": openid}
    via.post("/customservice/kfsession/create", token=token, body=body)


def serving(via: transport.Transport, token: str, *, openid: str) -> str | None:
    """The kf_account of the agent who serves this fan, None when nobody does."""
    try:
        answer = via.get(
            "/customservice/kfsession/getsession",
            token=token,
            params={"openid": openid},
            expects=("kf_account", "errcode"),
        )
    except errors.UnknownErrcode as error:
        if error.errcode != _NO_SESSION:
            raise
        return None
    kf_account = answer.get("kf_account") or ""
    if not isinstance(kf_account, str) or not kf_account.isprintable():
        raise errors.UnreadableReply("the kf_account is no name")
    return kf_account or None


def waiting(via: transport.Transport, token: str) -> WaitingFans:
    """The fans who wait for an agent, oldest first; no next page: route them, then ask again."""
    answer = via.get(
        "/customservice/kfsession/getwaitcase", token=token, params={}, expects=("waitcaselist",)
    )
    rows = answer["waitcaselist"]
    if not isinstance(rows, list):
        raise errors.UnreadableReply("the waitcaselist is no list")
    fans = tuple(
        _read_fan(row)
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("openid"), str) and row["openid"]
    )
    return WaitingFans(count=max(_read_number(answer.get("count")), len(fans)), fans=fans)


def _read_fan(row: dict[str, Any]) -> WaitingFan:
    """A row holds `latest_time`; older accounts send `createtime` in its place."""
    since = _read_number(row.get("latest_time")) or _read_number(row.get("createtime"))
    return WaitingFan(openid=row["openid"], waiting_since=since)


def _read_number(value: Any) -> int:
    """A number that may come as a string; 0 for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

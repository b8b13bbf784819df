"""Takes a token and hands on the account's agents: who is online now, or the names of all.

Source: WeChat's pages of getonlinekflist and getkflist, which live under /cgi-bin.
"""

import dataclasses
from typing import Any

from worker import errors
from worker.wechat import transport


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnlineAgent:
    """An agent who is online; `accepted_case` is how many sessions the agent serves now.

    `status` is 1 for the web client; older accounts also send 2 (phone) and 3 (both).
    """

    kf_account: str
    status: int
    accepted_case: int


def online(via: transport.Transport, token: str) -> tuple[OnlineAgent, ...]:
    """The agents who are online; raises a class of WeChatError."""
    rows = _read_rows(via, token, "/cgi-bin/customservice/getonlinekflist", "kf_online_list")
    agents = (
        OnlineAgent(
            kf_account=row["kf_account"],
            status=_read_count(row.get("status")),
            accepted_case=_read_count(row.get("accepted_case")),
        )
        for row in rows
    )
    return tuple(agent for agent in agents if agent.status)


def everybody(via: transport.Transport, token: str) -> dict[str, bool]:
    """Every agent's kf_account, online or not, and whether a WeChat user is bound to it."""
    rows = _read_rows(via, token, "/cgi-bin/customservice/getkflist", "kf_list")
    return {row["kf_account"]: bool(row.get("kf_wx")) for row in rows}


def _read_rows(via: transport.Transport, token: str, path: str, field: str) -> list[dict[str, Any]]:
    """The rows that name an agent: some come with an empty kf_account."""
    rows = via.get(path, token=token, params={}, expects=(field,))[field]
    if not isinstance(rows, list):
        raise errors.UnreadableReply(f"the {field} is no list")
    return [row for row in rows if isinstance(row, dict) and _is_name(row.get("kf_account"))]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _read_count(value: Any) -> int:
    """A number that may come as a string; 0 for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

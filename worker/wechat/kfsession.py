"""Takes a fan and an agent and asks WeChat to open the session between them, or who serves a fan.

Each function is one call; what goes wrong is raised as a class of `worker.errors`.
Source: WeChat's pages of createkfsession and getkfsession.
"""

from worker import errors
from worker.wechat import transport

#: "The fan has no session": an answer, where one was asked for.
_NO_SESSION = 65413


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

"""Takes the status and body of a reply and hands on the object in it, or the error it stands for.

WeChat answers 200 and JSON, errors included, whatever the Content-Type says. Seen in the wild
besides: HTML with 502, control characters inside strings, an errcode as a string or as a bare word.
What cannot be read for sure is an UnreadableReply, since the call may have taken effect.
"""

import contextlib
import json
import re
from typing import Any

from worker import errors
from worker.wechat import redaction

#: Largest body that is read, in bytes after decompression. A list of 100 fans takes 8 KiB, one of
#: 1,000 agents 300 KiB.
SIZE_LIMIT = 512 * 1024

_OK = 200
#: As json.loads, which makes a decoder for each call; control characters inside strings pass.
_decode = json.JSONDecoder(strict=False).decode
#: Codes are at most six digits long; more than nine are no code.
_NUMBER = re.compile(r"-?[0-9]{1,9}", re.ASCII)


def parse(
    status: int, body: bytes, *, expects: tuple[str, ...], token: str | None
) -> dict[str, Any]:
    """The reply's object, its errcode an int where it has one.

    `expects` names fields of which one at least must be there for the reply to mean anything:
    errcode for an action, the answer itself for a read. Raises the error of an errcode other than
    0, and UnreadableReply. Error texts are rid of `token`, in case WeChat quotes what it got.
    """
    if status != _OK:
        raise errors.UnreadableReply(f"HTTP {status}")
    if len(body) > SIZE_LIMIT:
        raise errors.UnreadableReply(f"a body of more than {SIZE_LIMIT} bytes")
    answer = _read_object(body)
    if "errcode" in answer:
        answer["errcode"] = _read_errcode(answer["errcode"])
        if answer["errcode"] != 0:
            raise errors.from_errcode(answer["errcode"], _read_errmsg(answer, token))
    if not any(field in answer for field in expects):
        raise errors.UnreadableReply(f"no {' or '.join(expects)} in the reply")
    return answer


def _read_object(body: bytes) -> dict[str, Any]:
    answer: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = _decode(body.decode(errors="replace").removeprefix("\ufeff"))
    if not isinstance(answer, dict):
        raise errors.UnreadableReply("the body is no JSON object")
    return answer


def _read_errcode(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, float) and value.is_integer():
        text = f"{value:.0f}"
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise errors.UnreadableReply("the errcode is no number")
    return int(text)


def _read_errmsg(answer: dict[str, Any], token: str | None) -> str | None:
    errmsg = answer.get("errmsg")
    return redaction.clean(errmsg, token) if isinstance(errmsg, str) else None

"""Takes a raw entry of a queue's list and hands kombu a clean message built from it, or refuses it.

Half of the malformed entries one can think of kill a stock worker, some of them again and again
(ENGINE.md). So nothing that a stranger wrote reaches kombu: of each entry only the task, its id
and its arguments are read, checked, and put into a message of our own making. What is refused
goes to the dead list with its error.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import functools
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils import json as kombu_json

from worker.contract import broker, request

#: Largest entry that is read, in bytes; fifty ids take 4 KiB, a whole request at most 8.
MAX_ENTRY_BYTES = 64 * 1024
#: Most ids one doorbell may carry.
MAX_IDS = 50
#: Deepest nesting of a request: its metadata's, and itself.
MAX_DEPTH = request.MAX_METADATA_DEPTH + 1

_ARGUMENT_NAMES = {broker.DELIVER: "ids", broker.SUBMIT: "request"}

#: What a message embeds that follows its result, by the words of Celery's users.
_WAITS_FOR_RESULT = {
    "callbacks": "link",
    "errbacks": "link_error",
    "chain": "chain",
    "chord": "chord",
}

_ID = re.compile(r"[0-9a-z]{1,64}")
_TASK_ID = re.compile(r"[\x21-\x7e]{1,128}")

#: What a refused entry is reported to: the entry, its queue, and why.
OnRefused = Callable[[bytes, str, str], None]


class Refused(ValueError):
    """An entry that is none of ours; the text says what is wrong with it."""


def check(raw: bytes, queue: str) -> bytes:
    """The message to hand to kombu in place of `raw`; raises Refused."""
    try:
        entry = _object(json.loads(raw[: MAX_ENTRY_BYTES + 1]), "entry")
        headers = _object(entry.get("headers"), "headers")
        task, task_id = _task(headers.get("task")), headers.get("id")
        args, kwargs, embed = _arguments(entry)
        if headers.get("eta") is not None:
            raise Refused("carries an eta or countdown: submit when it is time")
        _check_nobody_waits(headers, embed)
        expires = _expires(headers.get("expires"))
    except RecursionError:
        raise Refused("nested too deep to be read") from None
    except UnicodeError:
        raise Refused("is not UTF-8") from None
    except (ValueError, binascii.Error) as error:
        if isinstance(error, Refused):
            raise
        too_long = len(raw) > MAX_ENTRY_BYTES
        raise Refused(
            f"longer than {MAX_ENTRY_BYTES} bytes" if too_long else "is no JSON"
        ) from None
    if not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
        raise Refused("headers.id is no task id")
    argument = _sole_argument(task, args, kwargs)
    if task == broker.SUBMIT and expires and not {"ttl_seconds", "deadline_at"} & set(argument):
        argument = {**argument, "deadline_at": expires}
    return _message(task, task_id, argument, queue)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{what} is no JSON object")
    return value


def _check_nobody_waits(headers: dict[str, Any], embed: dict[str, Any]) -> None:
    """Refuse what goes on once the task has a result: it never has one."""
    found = [word for name, word in _WAITS_FOR_RESULT.items() if embed.get(name)]
    if headers.get("group"):
        found.append("group")
    if found:
        raise Refused(
            f"carries a {' and a '.join(found)}, which would wait for ever: the task has no result;"
            " send it alone, and read the record or the events"
        )


def _arguments(entry: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """The task's arguments, and what is to follow it, of a Celery message, protocol 2."""
    properties = _object(entry.get("properties"), "properties")
    body = entry.get("body")
    if not isinstance(body, str):
        raise Refused("body is no string")
    if properties.get("body_encoding") == "base64":
        body = _decoded(body)
    try:
        content = json.loads(body)
    except ValueError:
        raise Refused("body is no JSON") from None
    if not isinstance(content, list) or len(content) != 3:
        raise Refused("body is not [args, kwargs, embed]: Celery's protocol 2 is asked for")
    args, kwargs, embed = content
    if not isinstance(args, list):
        raise Refused("args is no list")
    return args, _object(kwargs, "kwargs"), embed if isinstance(embed, dict) else {}


def _decoded(body: str) -> str:
    try:
        return base64.b64decode(body, validate=True).decode()
    except UnicodeDecodeError:
        raise
    except ValueError:
        raise Refused("body is no base64") from None


def _expires(value: Any) -> str | None:
    """When the message expires; Celery would drop it then without a word, so it is a deadline."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused("expires is no ISO 8601 time")
    try:
        moment = datetime.datetime.fromisoformat(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return aware.astimezone(datetime.UTC).isoformat()
    except (ValueError, OverflowError):
        raise Refused("expires is no ISO 8601 time") from None


def _task(name: Any) -> str:
    if not isinstance(name, str) or name not in _ARGUMENT_NAMES:
        raise Refused(f"no such task: {str(name)[:80]!r}")
    return name


def _sole_argument(task: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What the task takes: both of ours take one thing."""
    name = _ARGUMENT_NAMES[task]
    given = [*args, *kwargs.values()]
    if len(given) != 1 or (kwargs and name not in kwargs):
        raise Refused(f"{task} takes one argument, {name}")
    if task == broker.DELIVER:
        _check_ids(given[0])
    else:
        _check_request(given[0])
    return given[0]


def _check_request(value: Any) -> None:
    if not isinstance(value, dict):
        raise Refused("request is no JSON object")
    if request.is_deeper(value, MAX_DEPTH):
        raise Refused("nested too deep to be read")
    try:
        read = kombu_json.loads(json.dumps(value))
    except Exception:  # Celery would drop the message, with a log line of its own
        raise Refused("holds a __type__ and __value__ that Celery cannot read") from None
    if not isinstance(read, dict):
        raise Refused("request is no JSON object")


def _check_ids(ids: Any) -> None:
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS:
        raise Refused(f"ids is no list of 1 to {MAX_IDS} request ids")
    if not all(isinstance(each, str) and _ID.fullmatch(each) for each in ids):
        raise Refused("ids holds something that is no request id")


def _message(task: str, task_id: str, argument: Any, queue: str) -> bytes:
    """A message as Celery itself would have sent it."""
    body = json.dumps([[argument], {}, {}], ensure_ascii=True).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": task_id,
                "root_id": task_id,
                "retries": 0,
                "timelimit": [None, None],
                "ignore_result": True,
            },
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    ).encode()


class _CheckingRedis(redis.Redis):
    """Kombu's client, except that what BRPOP brings is checked first."""

    def __init__(self, *args: Any, on_refused: OnRefused, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_refused = on_refused

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        reply = super().parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not reply:
            return reply
        key, raw = reply
        queue = key.decode(errors="replace").partition("\x06")[0]
        try:
            return key, check(raw, queue)
        except Refused as error:
            self._on_refused(raw, queue, str(error))
            return None  # kombu reads this as: nothing came


class _Checking:
    """Gives a channel the checking client, and has it take nothing while `may_consume` says no.

    `on_refused` and `may_consume` come as transport options.
    """

    on_refused: OnRefused
    may_consume: Callable[[], bool] = staticmethod(lambda: True)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for the next entry. One that was asked for already is taken: Redis gave it away."""
        if self.may_consume():
            super()._brpop_start(timeout)  # type: ignore[misc] # kombu's channel stands behind it

    def _get_client(self) -> Callable[..., redis.Redis]:
        return functools.partial(_CheckingRedis, on_refused=self.on_refused)


#: The transport options that are ours.
_OPTIONS = ("on_refused", "may_consume")


class Channel(_Checking, kombu_redis.Channel):
    """A Redis channel with checked entries."""

    from_transport_options = (*kombu_redis.Channel.from_transport_options, *_OPTIONS)


class SentinelChannel(_Checking, kombu_redis.SentinelChannel):
    """A Redis channel over Sentinel with checked entries."""

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, *_OPTIONS)


class Transport(kombu_redis.Transport):
    """What the worker reads from; producers use kombu's own."""

    #: A server that is demoted, full or read-only answers with an error: wait and connect again, as
    #: for one that is away, instead of ending the worker.
    connection_errors = (*kombu_redis.Transport.connection_errors, redis.exceptions.ResponseError)
    Channel = Channel


class UnixTransport(Transport):
    """The same over a Unix socket, `socket:///path`."""

    can_parse_url = True


class SentinelTransport(kombu_redis.SentinelTransport):
    """The same over Sentinel."""

    connection_errors = Transport.connection_errors
    Channel = SentinelChannel

"""intake: what stands in a queue's list becomes a clean message, or is refused with a reason."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import celery
import hypothesis
import kombu
import kombu.transport.memory
import kombu.transport.virtual
import pytest
import redis
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from worker import app as apps
from worker import intake
from worker.contract import broker

QUEUE = "kf.escalation"
IDS = [["0abc123", "0abc124"]]
WISH = {"openid": "oA", "kf_account": "kf1@acct", "metadata": {"名": [1.5, None, 2**70]}}


def body_of(args: Any = IDS, kwargs: Any = None, embed: Any = None) -> str:
    content = [args, {} if kwargs is None else kwargs, {} if embed is None else embed]
    return base64.b64encode(json.dumps(content).encode()).decode()


def entry(**changes: Any) -> dict[str, Any]:
    """A doorbell as Celery sends it, with fields replaced; `headers__x` replaces one within."""
    made: dict[str, Any] = {
        "body": body_of(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": broker.DELIVER, "id": "t-1", "expires": None, "eta": None},
        "properties": {"body_encoding": "base64", "delivery_tag": "d", "delivery_info": {}},
    }
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        if inner:
            made[outer] = {**made[outer], inner: value}
        else:
            made[outer.replace("_", "-") if outer.startswith("content") else outer] = value
    return made


def raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in entry().items() if key != name}


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


REFUSED: dict[str, tuple[Any, str]] = {
    # the entry itself
    "nothing": (b"", "is no JSON"),
    "a word": (b"hello", "is no JSON"),
    "half an object": (b'{"body": ', "is no JSON"),
    "two objects": (b"{}{}", "is no JSON"),
    "a pickle": (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94.", "is not UTF-8"),
    "no UTF-8": (b'{"body": "\xff\xfe"}', "is not UTF-8"),
    "NUL bytes": (b"\x00" * 64, "is no"),
    "a number": (b"7", "entry is no JSON object"),
    "a huge number": (b"9" * 6000, "is no JSON"),
    "null": (b"null", "entry is no JSON object"),
    "true": (b"true", "entry is no JSON object"),
    "a string": (b'"x"', "entry is no JSON object"),
    "a list": (b"[]", "entry is no JSON object"),
    "a list of a list": (b"[[[1]]]", "entry is no JSON object"),
    "an empty object": (b"{}", "headers is no JSON object"),
    "very deep JSON": (deep(100_000).encode(), "nested too deep"),
    "deep JSON within bounds of size": (deep(30_000).encode(), "nested too deep"),
    "too long": (b'{"a": "' + b"x" * 70_000 + b'"}', "longer than 65536 bytes"),
    "a megabyte": (b"[" + b"1," * 500_000 + b"1]", "longer than 65536 bytes"),
    # properties
    "no properties": (without("properties"), "properties is no JSON object"),
    "properties null": (entry(properties=None), "properties is no JSON object"),
    "properties a list": (entry(properties=[]), "properties is no JSON object"),
    # body
    "no body": (without("body"), "body is no string"),
    "body null": (entry(body=None), "body is no string"),
    "body a number": (entry(body=7), "body is no string"),
    "body an object": (entry(body={}), "body is no string"),
    "body a list": (entry(body=IDS), "body is no string"),
    "body empty": (entry(body=""), "body is no JSON"),
    "bad base64": (entry(body="%%%"), "body is no base64"),
    "base64 cut short": (entry(body=body_of()[:-3]), "body is no base64"),
    "base64 with a stranger's letter": (entry(body="é"), "body is no base64"),
    "base64 of no UTF-8": (entry(body=base64.b64encode(b"\xff\xfe\xff").decode()), "is not UTF-8"),
    "base64 of no JSON": (entry(body=base64.b64encode(b"{").decode()), "body is no JSON"),
    "body not encoded": (entry(body=json.dumps([IDS, {}, {}])), "body is no base64"),
    "body said to be plain": (entry(properties__body_encoding=None), "body is no JSON"),
    "body deep": (
        entry(body=deep(20_000), properties__body_encoding=None),
        "nested too deep",
    ),
    "protocol 1": (
        entry(body=json.dumps({"task": "t", "args": []}), properties__body_encoding=None),
        "body is not [args, kwargs, embed]",
    ),
    "body of two": (
        entry(body=json.dumps([IDS, {}]), properties__body_encoding=None),
        "body is not [args, kwargs, embed]",
    ),
    "body of four": (
        entry(body=json.dumps([IDS, {}, {}, {}]), properties__body_encoding=None),
        "body is not [args, kwargs, embed]",
    ),
    "body null inside": (
        entry(body="null", properties__body_encoding=None),
        "body is not [args, kwargs, embed]",
    ),
    # args and kwargs
    "args an object": (entry(body=body_of({"ids": []})), "args is no list"),
    "args null": (entry(body=body_of(None)), "args is no list"),
    "args a string": (entry(body=body_of("ids")), "args is no list"),
    "kwargs a list": (entry(body=body_of([], [1])), "kwargs is no JSON object"),
    "kwargs wrong": (entry(body=body_of([], {"idz": ["0a"]})), "takes one argument, ids"),
    "kwargs too many": (entry(body=body_of([], {"ids": ["0a"], "x": 1})), "takes one argument"),
    "args and kwargs": (entry(body=body_of([["0a"]], {"ids": ["0a"]})), "takes one argument"),
    "no argument": (entry(body=body_of([])), "takes one argument, ids"),
    "two arguments": (entry(body=body_of([["0a"], 1])), "takes one argument, ids"),
    # ids
    "ids a string": (entry(body=body_of(["0abc"])), "ids is no list of 1 to 50 request ids"),
    "ids empty": (entry(body=body_of([[]])), "ids is no list of 1 to 50 request ids"),
    "ids too many": (entry(body=body_of([["0a"] * 51])), "ids is no list of 1 to 50 request ids"),
    "ids with a number": (entry(body=body_of([["0a", 7]])), "something that is no request id"),
    "ids with null": (entry(body=body_of([[None]])), "something that is no request id"),
    "ids nested": (entry(body=body_of([[["0a"]]])), "something that is no request id"),
    "ids in capitals": (entry(body=body_of([["ABC"]])), "something that is no request id"),
    "ids with a newline": (entry(body=body_of([["0a\n"]])), "something that is no request id"),
    "ids with a glob": (entry(body=body_of([["*"]])), "something that is no request id"),
    "ids too long": (entry(body=body_of([["a" * 65]])), "something that is no request id"),
    "ids empty string": (entry(body=body_of([[""]])), "something that is no request id"),
    "ids with a lone surrogate": (entry(body=body_of([["\ud800"]])), "no request id"),
    # headers
    "headers null": (entry(headers=None), "headers is no JSON object"),
    "headers a list": (entry(headers=["task"]), "headers is no JSON object"),
    "headers empty": (entry(headers={}), "no such task: 'None'"),
    "no task": (entry(headers__task=None), "no such task: 'None'"),
    "an unknown task": (entry(headers__task="celery.backend_cleanup"), "no such task: 'cel"),
    "a task that is a list": (entry(headers__task=["x"]), "no such task"),
    "a task with a lone surrogate": (entry(headers__task="\ud800"), "no such task"),
    "a very long task": (entry(headers__task="x" * 9000), "no such task"),
    "no id": (entry(headers__id=None), "headers.id is no task id"),
    "an id that is a number": (entry(headers__id=7), "headers.id is no task id"),
    "an id with a space": (entry(headers__id="a b"), "headers.id is no task id"),
    "an id with NUL": (entry(headers__id="a\0"), "headers.id is no task id"),
    "an empty id": (entry(headers__id=""), "headers.id is no task id"),
    "an endless id": (entry(headers__id="x" * 129), "headers.id is no task id"),
    "a far ETA": (entry(headers__eta="2999-01-01T00:00:00+00:00"), "carries an eta"),
    "a link": (entry(body=body_of(embed={"callbacks": [{"task": "x"}]})), "carries a link,"),
    "a link_error": (entry(body=body_of(embed={"errbacks": 7})), "carries a link_error,"),
    "a chain": (entry(body=body_of(embed={"chain": [{"task": "x"}]})), "carries a chain,"),
    "a chord": (entry(body=body_of(embed={"chord": {"task": "x"}})), "carries a chord,"),
    "a group": (entry(headers__group="g"), "carries a group, which would wait for ever"),
    "an ETA that is nonsense": (entry(headers__eta=[]), "carries an eta"),
    "expires a number": (entry(headers__expires=60), "expires is no ISO 8601 time"),
    "expires nonsense": (entry(headers__expires="soon"), "expires is no ISO 8601 time"),
    "expires a list": (entry(headers__expires=[1]), "expires is no ISO 8601 time"),
    "expires before time": (
        entry(headers__expires="0001-01-01T00:00:00+23:59"),
        "expires is no ISO 8601 time",
    ),
    "expires after time": (
        entry(headers__expires="9999-12-31T23:59:59-23:59"),
        "expires is no ISO 8601 time",
    ),
    # submit
    "request null": (entry(headers__task=broker.SUBMIT, body=body_of([None])), "request is no"),
    "request a list": (entry(headers__task=broker.SUBMIT, body=body_of([[]])), "request is no"),
    "request a string": (entry(headers__task=broker.SUBMIT, body=body_of(["x"])), "request is no"),
    "a date that is none": (
        entry(
            headers__task=broker.SUBMIT,
            body=body_of([{**WISH, "metadata": {"__type__": "datetime", "__value__": "soon"}}]),
        ),
        "holds a __type__ and __value__ that Celery cannot read",
    ),
    "a type of nobody's": (
        entry(
            headers__task=broker.SUBMIT,
            body=body_of([{**WISH, "metadata": {"__type__": [], "__value__": 1}}]),
        ),
        "holds a __type__ and __value__ that Celery cannot read",
    ),
    "request that reads as a date": (
        entry(
            headers__task=broker.SUBMIT,
            body=body_of([{"__type__": "date", "__value__": "2031-01-01"}]),
        ),
        "request is no JSON object",
    ),
    "request as keywords": (
        entry(headers__task=broker.SUBMIT, body=body_of([], WISH)),
        "takes one argument, request",
    ),
}

ACCEPTED: dict[str, Any] = {
    "as it is": entry(),
    "delivery tag null": entry(properties__delivery_tag=None),
    "delivery tag a list": entry(properties__delivery_tag=[]),
    "delivery info null": entry(properties__delivery_info=None),
    "a bad timelimit": entry(headers__timelimit="soon"),
    "timelimit null": entry(headers__timelimit=None),
    "retries nonsense": entry(headers__retries="x"),
    "embed null": entry(body=base64.b64encode(json.dumps([IDS, {}, None]).encode()).decode()),
    "content type of a pickle": entry(content_type="application/x-python-serialize"),
    "content type null": entry(content_type=None),
    "content encoding nonsense": entry(content_encoding="klingon"),
    "compressed, it says": entry(headers__compression="application/x-gzip"),
    "a reply wanted": entry(properties__reply_to="x"),
    "a priority of nonsense": entry(properties__priority={"a": 1}),
    "a root id that is a list": entry(headers__root_id=[]),
    "nothing to follow": entry(
        body=body_of(embed={"callbacks": None, "errbacks": [], "chain": None, "chord": None}),
        headers__group=None,
    ),
    "plain body": entry(body=json.dumps([IDS, {}, {}]), properties__body_encoding=None),
    "expired": entry(headers__expires="2001-01-01T00:00:00+00:00"),
    "expires without a zone": entry(headers__expires="2031-01-01T00:00:00"),
    "expires in an odd spelling": entry(headers__expires="2031-W01-3"),
    "expires with Z": entry(headers__expires="2031-01-01T00:00:00Z"),
    "in UTF-16": json.dumps(entry()).encode("utf-16"),
    "with blanks around": b"\n " + json.dumps(entry()).encode() + b" \n",
}


def read(checked: bytes) -> tuple[dict[str, Any], Any, Any, Any]:
    """What kombu and Celery make of a message: it, and its args, kwargs and embed."""
    payload = kombu_json.loads(checked.decode())
    message = kombu.transport.virtual.Message(payload, channel=Channel())
    args, kwargs, embed = message.decode()
    return payload, args, kwargs, embed


class Channel(kombu.transport.virtual.Channel):
    """Decodes bodies as a real channel does, without a connection."""

    def __init__(self) -> None:
        self.no_ack_consumers = set()


@pytest.mark.parametrize("shape", list(REFUSED))
def test_a_malformed_entry_is_refused_with_a_reason(shape: str) -> None:
    """Never anything but Refused: whatever else is raised in the hub kills the worker."""
    value, reason = REFUSED[shape]
    with pytest.raises(intake.Refused) as caught:
        intake.check(raw(value), QUEUE)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 200
    str(caught.value).encode()


@pytest.mark.parametrize("shape", list(ACCEPTED))
def test_what_is_odd_but_harmless_becomes_a_clean_message(shape: str) -> None:
    """Nothing of the stranger's but the task, its id, its argument and its expiry gets through."""
    payload, args, kwargs, embed = read(intake.check(raw(ACCEPTED[shape]), QUEUE))
    assert (args, kwargs, embed) == (IDS, {}, {})
    assert set(payload) == {"body", "content-encoding", "content-type", "headers", "properties"}
    assert payload["content-type"] == "application/json"
    assert payload["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}
    assert payload["properties"]["delivery_tag"]
    headers = payload["headers"]
    assert (headers["task"], headers["id"], headers["root_id"]) == (broker.DELIVER, "t-1", "t-1")
    assert headers["timelimit"] == [None, None]
    assert "expires" not in headers


def test_every_message_has_a_delivery_tag_of_its_own() -> None:
    """Kombu's books are kept by it; a stranger's could overwrite another's."""
    tags = {
        json.loads(intake.check(raw(entry()), QUEUE))["properties"]["delivery_tag"]
        for _ in range(100)
    }
    assert len(tags) == 100


def test_entries_nested_to_any_depth_are_refused_or_can_be_handed_on() -> None:
    """What passes here must not be too deep for whoever reads it next."""
    for depth in range(1, 1200, 7):
        metadata = json.loads("[" * depth + "]" * depth) if depth < 800 else None
        body = '[[{"openid": "oA", "metadata": ' + deep(depth) + "}], {}, {}]"
        made = entry(headers__task=broker.SUBMIT, body=body, properties__body_encoding=None)
        try:
            checked = intake.check(raw(made), QUEUE)
        except intake.Refused:
            continue
        assert metadata is None or read(checked)[1][0]["metadata"] == metadata
        assert depth <= intake.MAX_DEPTH


# -- what Celery itself sends ----------------------------------------------------------------


def sent(**options: Any) -> bytes:
    """The raw entry that Celery's own send_task puts into a list."""
    app = celery.Celery("plain", broker="memory://", set_as_current=False)
    entries: list[bytes] = []

    class Capturing(kombu.transport.memory.Channel):
        def _put(self, queue: str, message: Any, **_: Any) -> None:
            entries.append(kombu_json.dumps(message).encode())

    with app.connection_for_write() as connection:
        connection.transport.Channel = Capturing
        app.send_task(queue=QUEUE, connection=connection, **options)
    (found,) = entries
    return found


@pytest.mark.parametrize("options", [{"args": [["0abc"]]}, {"kwargs": {"ids": ["0abc"]}}])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"priority": 5},
        {"task_id": "mine"},
        {"headers": {"x-trace": "1"}},
        {"expires": 60},
        {"expires": datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)},
        {"compression": None},
        {"time_limit": 5, "soft_time_limit": 4},
        {"retries": 3},
        {"ignore_result": False},
        {"reply_to": "me"},
    ],
)
def test_a_doorbell_of_any_celery_client_passes(
    options: dict[str, Any], more: dict[str, Any]
) -> None:
    """Positional or by keyword, whatever else it says."""
    payload, args, kwargs, _ = read(
        intake.check(sent(name=broker.DELIVER, **options, **more), QUEUE)
    )
    assert (args, kwargs) == ([["0abc"]], {})
    assert payload["headers"]["id"] == more.get("task_id", payload["headers"]["id"])
    assert "expires" not in payload["headers"], "Celery drops what expired without a word"


@pytest.mark.parametrize("options", [{"args": [WISH]}, {"kwargs": {"request": WISH}}])
def test_a_whole_request_of_any_celery_client_passes(options: dict[str, Any]) -> None:
    """With its numbers, its nulls and its letters."""
    _, args, _, _ = read(intake.check(sent(name=broker.SUBMIT, **options), QUEUE))
    assert args == [WISH]


@pytest.mark.parametrize("more", [{"countdown": 5}, {"eta": datetime.datetime(2040, 1, 1)}])
def test_a_countdown_is_refused(more: dict[str, Any]) -> None:
    """It would sit in worker memory and in `unacked`."""
    with pytest.raises(intake.Refused, match="submit when it is time"):
        intake.check(sent(name=broker.DELIVER, args=[["0abc"]], **more), QUEUE)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"link": celery.signature("other")}, "link"),
        ({"link_error": celery.signature("other")}, "link_error"),
        ({"chain": [celery.signature("other")]}, "chain"),
        ({"chord": celery.signature("other")}, "chord"),
        ({"group_id": "g"}, "group"),
    ],
)
def test_what_waits_for_a_result_is_refused(more: dict[str, Any], what: str) -> None:
    """There is none, so whoever waits would wait for ever."""
    with pytest.raises(intake.Refused, match=f"carries a {what}, .* read the record"):
        intake.check(sent(name=broker.SUBMIT, args=[WISH], **more), QUEUE)


# -- anything at all -------------------------------------------------------------------------


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@hypothesis.settings(max_examples=200, deadline=None, database=None)
@hypothesis.given(
    part=st.sampled_from(
        ["body", "headers", "properties", "args", "kwargs", "ids", "task", "whole"]
    ),
    value=ANYTHING,
)
def test_any_value_in_any_place_is_refused_or_made_clean(part: str, value: Any) -> None:
    """No third way out."""
    made: Any = entry()
    match part:
        case "args":
            made = entry(body=body_of(value))
        case "kwargs":
            made = entry(body=body_of([], value))
        case "ids":
            made = entry(body=body_of([value]))
        case "task":
            made = entry(headers__task=value)
        case "whole":
            made = value
        case _:
            made = entry(**{part: value})
    try:
        read(intake.check(raw(made), QUEUE))
    except intake.Refused:
        return


@hypothesis.settings(max_examples=200, deadline=None, database=None)
@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_are_refused(value: bytes) -> None:
    """No whole message is that short by chance."""
    with pytest.raises(intake.Refused):
        intake.check(value, QUEUE)


# -- where the check stands ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "channel"),
    [
        ("redis://h/0", intake.Channel),
        ("rediss://h/0", intake.Channel),
        ("unix:///run/v.sock?db=2", intake.Channel),
        ("sentinel://h1:1,h2:2/NAME", intake.SentinelChannel),
    ],
)
def test_a_worker_reads_through_the_check_from_every_kind_of_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, url: str, channel: type
) -> None:
    """Kombu must not choose a transport of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KF_REDIS_URL", url)
    app = celery.Celery("t", set_as_current=False)
    app.conf.update(apps._configuration())
    connection = app.connection_for_read()
    assert connection.get_transport_cls().Channel is channel
    assert "on_refused" in connection.transport_options


@pytest.mark.parametrize(
    ("more", "deadline"),
    [
        ({}, "2031-01-01T00:00:00+00:00"),
        ({"ttl_seconds": 60}, None),
        ({"deadline_at": "2030-01-01T00:00:00Z"}, "2030-01-01T00:00:00Z"),
    ],
)
def test_a_message_that_expires_carries_a_request_with_a_deadline(
    more: dict[str, Any], deadline: str | None
) -> None:
    """Celery would drop it without a word; a deadline of its own goes first."""
    given = entry(
        headers__task=broker.SUBMIT,
        headers__expires="2031-01-01T00:00:00Z",
        body=body_of([{**WISH, **more}]),
    )
    _, (fields,), _, _ = read(intake.check(raw(given), QUEUE))
    assert fields.get("deadline_at") == deadline


def test_a_server_that_answers_with_an_error_is_waited_for() -> None:
    """A demoted master answers UNBLOCKED, then READONLY: no reason for a worker to end."""
    for transport in (intake.Transport, intake.UnixTransport, intake.SentinelTransport):
        assert issubclass(redis.exceptions.ResponseError, transport.connection_errors)

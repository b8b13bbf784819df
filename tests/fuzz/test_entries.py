"""Broker entries by chance: refused with a reason, or a message that kombu and Celery can take.

What kombu and Celery can take, their own classes say: a real channel's Message, and a real worker
Request for one of our two tasks.
"""

from __future__ import annotations

import base64
import copy
import datetime
import functools
import json
import re
from typing import Any

import celery
import celery.worker.request
import fakeredis
import hypothesis
import kombu.transport.virtual
import pytest
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from tests.fuzz import profile, values
from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import APPID
from worker import accepting, intake
from worker.contract import broker
from worker.ledger import dead_list

QUEUE = "kf.escalation"
#: Longest reason, in characters.
LONGEST = 400
WISH = {"openid": "oA", "kf_account": "kf1@acct", "appid": APPID, "metadata": {"名": [1.5, None]}}


def packed(content: Any) -> str:
    return base64.b64encode(values.as_json(content)).decode()


def entry(task: str = broker.DELIVER, **headers: Any) -> dict[str, Any]:
    """What Celery 5.7 sends, whole; the body as it is before base64."""
    argument: Any = ["0abc123", "0abc124"] if task == broker.DELIVER else copy.deepcopy(WISH)
    return {
        "body": [[argument], {}, {"callbacks": None, "errbacks": None, "chain": None}],
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": "5f0c8e8e-8a34-4f6e-9c3b-7a2f0c1d2e3f",
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": "r",
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "gen1@h",
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamps": {},
            **headers,
        },
        "properties": {
            "correlation_id": "c",
            "reply_to": "q",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "d",
        },
    }


# -- what kombu and Celery make of it --------------------------------------------------------


class Channel(kombu.transport.virtual.Channel):
    """Decodes bodies as a real channel does, without a connection."""

    def __init__(self) -> None:
        self.no_ack_consumers = set()


def _task(*_: Any) -> None:
    """What is run of a task here."""


@functools.cache
def app() -> celery.Celery:
    """A Celery with our two tasks."""
    made = celery.Celery("fuzz", set_as_current=False)
    made.conf.accept_content = ["json"]
    for name in (broker.DELIVER, broker.SUBMIT):
        made.task(name=name)(_task)
    return made


def received(checked: bytes) -> Any:
    """The argument that one of our tasks is called with; raises what a worker would die of."""
    payload = kombu_json.loads(checked.decode())
    tag = payload["properties"]["delivery_tag"]
    assert isinstance(tag, str)
    assert tag
    message = kombu.transport.virtual.Message(payload, channel=Channel())
    message.accept = {"application/json"}
    assert message.headers["task"] in (broker.DELIVER, broker.SUBMIT)
    assert "args" not in message.payload
    made = celery.worker.request.Request(
        message,
        app=app(),
        task=app().tasks[message.headers["task"]],
        headers=message.headers,
        body=message.body,
        decoded=False,
    )
    made.execute_using_pool  # noqa: B018 - it is there
    assert not made.eta
    assert not made.expires
    assert made.time_limits == [None, None]
    assert made.delivery_info["routing_key"] == QUEUE
    assert made.id == made.correlation_id == made.root_id
    assert re.fullmatch(r"[\x21-\x7e]{1,128}", made.id)
    made.info()
    made.humaninfo()
    assert isinstance(message.serializable(), dict)
    kombu_json.dumps(message.serializable())
    (argument,) = made.args
    assert made.kwargs == {}
    _, kwargs, embed = message.payload
    assert (kwargs, embed) == ({}, {})
    return argument


def outcome(raw: bytes) -> tuple[str, Any] | str:
    """The task and its argument, or the reason that goes to the dead list."""
    try:
        checked = intake.check(raw, QUEUE)
    except intake.Refused as error:
        said = str(error)
        said.encode()
        assert said.isprintable(), said
        assert 0 < len(said) <= LONGEST, said
        return said
    task = json.loads(checked)["headers"]["task"]
    argument = received(checked)
    if task == broker.DELIVER:
        assert 1 <= len(argument) <= intake.MAX_IDS
        assert all(re.fullmatch("[0-9a-z]{1,64}", each) for each in argument)
    else:
        assert isinstance(argument, dict)
    assert len(checked) < 4 * intake.MAX_ENTRY_BYTES
    return task, argument


# -- mutations -------------------------------------------------------------------------------


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every part of a value stands, itself included; not deeper than a usual entry is."""
    found = [so_far]
    if isinstance(value, dict | list) and len(so_far) < 6:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += paths(inner, (*so_far, key))
    return found


MOMENTS = st.datetimes(timezones=st.none() | st.just(datetime.UTC)).map(
    datetime.datetime.isoformat
) | st.sampled_from(
    ["2031-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2031-W01-3"]
)
#: How kombu writes what JSON has no word for, and what looks like it.
TYPED = st.builds(
    lambda kind, value: {"__type__": kind, "__value__": value},
    st.sampled_from(["datetime", "date", "time", "decimal", "uuid", "bytes", "base64", "x", "", 7])
    | st.sampled_from([None, [], {}]),
    st.sampled_from(
        ["2031-01-01T00:00:00+00:00", "2031-01-01", "1.5", "sNaN", "YQ==", "12:00", "x"]
    )
    | st.sampled_from([{"hex": "0" * 32, "version": 4}, "é", "1e9999"])
    | values.JSON,
).map(copy.deepcopy)  # what is drawn is changed in place
REPLACEMENTS = (
    values.JSON
    | values.DEEP
    | TYPED
    | MOMENTS
    | st.sampled_from(
        [
            broker.SUBMIT,
            broker.DELIVER,
            "base64",
            "utf-8",
            [None, None],
            [1, 2],
            ["a"],
            {},
            [],
            {"ids": ["0a"]},
            {"request": WISH},
            [[["0a"]], {}, {}],
            ["0a"] * 51,
            "0abc",
            {"task": "x"},
            {"chain": [{"task": "x"}]},
            {"openid": "oA"},
            2**70,
            -1,
            0,
            "application/x-python",
        ]
    ).map(copy.deepcopy)
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An entry with some of its parts dropped, replaced, nested or doubled."""
    made: Any = entry(draw(st.sampled_from([broker.DELIVER, broker.SUBMIT])))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(paths(made)))
        if not path:
            continue
        *way, last = path
        place = functools.reduce(lambda value, key: value[key], way, made)
        match draw(st.sampled_from(["drop", "put", "put", "nest", "double", "add"])):
            case "drop":
                del place[last]
            case "nest":
                place[last] = draw(st.sampled_from([[place[last]], {"a": place[last]}]))
            case "double" if isinstance(place, list):
                place.append(place[last])
            case "add" if isinstance(place, dict):
                place[draw(values.TEXT)] = draw(REPLACEMENTS)
            case _:
                place[last] = draw(REPLACEMENTS)
    body = made.get("body") if isinstance(made, dict) else None
    if isinstance(body, list | dict):
        is_packed = draw(st.sampled_from([True, True, True, False]))
        made["body"] = packed(body) if is_packed else values.as_json(body).decode()
    if draw(st.integers(0, 9)) == 0:
        made["properties"] = {"delivery_tag": "d"}
        made["body"] = values.as_json(body).decode()
    raw = values.as_json(made)
    return draw(
        st.just(raw)
        | st.just(raw)
        | st.just(raw)
        | st.integers(0, len(raw)).map(lambda at: raw[:at])
        | st.sampled_from([raw + raw, b"\xef\xbb\xbf" + raw, raw + b" " * 70_000, b"\0" + raw])
        | st.sampled_from(
            [raw.decode().encode("utf-16"), raw.decode().encode("utf-32"), b"[" + raw]
        )
        | st.tuples(st.integers(0, len(raw)), st.binary(min_size=1, max_size=3)).map(
            lambda cut: raw[: cut[0]] + cut[1] + raw[cut[0] + len(cut[1]) :]
        )
    )


@profile.examples(250)
@hypothesis.given(mutated())
def test_a_mutated_entry_is_refused_or_run_as_one_of_our_tasks(raw: bytes) -> None:
    """By classes of kombu's and Celery's own; nothing they raise is left to chance."""
    outcome(raw)


@profile.examples(75)
@hypothesis.given(values.JSON | values.DEEP | st.binary(max_size=200), st.booleans())
def test_whatever_is_no_entry_is_refused(value: Any, is_headed: bool) -> None:
    """In place of the entry, or of each of its parts."""
    raw = value if isinstance(value, bytes) else values.as_json(value)
    if is_headed:
        raw = raw[:1] + b'"headers":{"task":"kfsession.deliver"},' + raw[1:]
    assert isinstance(outcome(raw), str)


@profile.examples(75)
@hypothesis.given(
    st.dictionaries(
        st.sampled_from(["headers", "properties"]),
        st.dictionaries(
            st.sampled_from(
                [
                    "eta",
                    "expires",
                    "timelimit",
                    "retries",
                    "group",
                    "shadow",
                    "ignore_result",
                    "stamps",
                    "delivery_tag",
                    "delivery_info",
                    "priority",
                    "compression",
                    "reply_to",
                    "root_id",
                    "argsrepr",
                    "redelivered",
                    "x-death",
                    "correlation_id",
                    "chord",
                    "lang",
                    "utc",
                ]
            ),
            REPLACEMENTS,
            max_size=4,
        ),
    ),
    st.sampled_from([broker.DELIVER, broker.SUBMIT]),
)
def test_odd_headers_and_properties_never_reach_celery(
    odd: dict[str, dict[str, Any]], task: str
) -> None:
    """The argument is what it was, or the entry is refused for its ETA, its expiry or its group."""
    made = entry(task)
    (argument,) = made["body"][0]
    for part, changes in odd.items():
        made[part].update(changes)
    made["body"] = packed(made["body"])
    raw = values.as_json(made)
    result = outcome(raw)
    headers = made["headers"]
    if isinstance(result, str):
        is_timed = headers["eta"] is not None or headers["expires"] is not None
        assert (
            is_timed
            or headers.get("group")
            or b'{"deep":' in raw
            or len(raw) > intake.MAX_ENTRY_BYTES
            or ("NaN" in result or result in ("is no JSON", "nested too deep to be read"))
        ), result
        return
    told, given = result
    assert told == task
    if task == broker.SUBMIT and headers["expires"]:
        given = {**given}
        assert datetime.datetime.fromisoformat(given.pop("deadline_at")).tzinfo
    assert given == argument


# -- and then --------------------------------------------------------------------------------


class Desk(stages.Stage):
    """A ledger, and what a submit does with a message."""

    def __init__(self) -> None:
        super().__init__(fakeredis.FakeRedis(decode_responses=True), "t")
        self.refused: list[str] = []

    def refuse(self, dead: bytes, queue: str, why: str) -> None:
        why.encode()
        assert why.isprintable(), why
        assert len(why) <= LONGEST, why
        self.ledger.dead_list.bury([dead_list.Refused.now(dead, queue=queue, error=why)])
        self.refused.append(why)


FIELDS = st.fixed_dictionaries(
    {"openid": st.text("oAB", min_size=1, max_size=3), "kf_account": st.just("kf1@acct")},
    optional={
        "ttl_seconds": st.just(60) | TYPED | values.JSON,
        "deadline_at": MOMENTS | TYPED | values.JSON,
        "key": values.TEXT | TYPED,
        "lane": st.sampled_from(["batch", "escalation", None]) | values.JSON,
        "metadata": st.dictionaries(values.TEXT, TYPED | values.JSON, max_size=2) | TYPED,
        "fallbacks": TYPED | st.just(["any"]),
        "appid": st.just(APPID) | TYPED,
    },
)


@pytest.fixture(scope="module")
def desk() -> Desk:
    """One ledger for all examples, as strangers share one."""
    return Desk()


@profile.examples(60)
@hypothesis.given(
    fields=FIELDS | st.dictionaries(values.TEXT, TYPED | values.JSON, max_size=3),
    expires=st.none() | MOMENTS,
)
def test_a_request_by_celery_is_written_or_buried(
    desk: Desk, fields: dict[str, Any], expires: str | None
) -> None:
    """Never neither: nobody else would tell its sender."""
    made = entry(broker.SUBMIT, expires=expires)
    made["body"] = packed([[fields], {}, {}])
    result = outcome(values.as_json(made))
    if isinstance(result, str):
        return
    before = len(desk.refused)
    request_id = accepting.accept(
        result[1],
        task_id=made["headers"]["id"] + str(before),
        queue=QUEUE,
        ledger=desk.ledger,
        refuse=desk.refuse,
    )
    assert (request_id is None) == (len(desk.refused) == before + 1)
    if request_id is not None:
        wish = desk.get(request_id)
        assert wish.openid == fields["openid"]
        json.dumps(wish.as_json())

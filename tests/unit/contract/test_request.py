"""request: every limit of a wish, and the one sentence that a breach of it gets."""

from __future__ import annotations

import datetime
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from worker.contract import request

GOOD = {"openid": "oABC-_9", "kf_account": "kf1@acct"}
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
AGENT_RULE = "an agent is prefix@account (both parts non-empty, no spaces) or `any`"
OPENID_RULE = "an openid is 1 to 128 characters of A-Z a-z 0-9 _ -"
SWAPPED = "; did you swap KF_ACCOUNT and OPENID?"


def refusal(**fields: Any) -> str:
    with pytest.raises(request.InvalidRequest) as caught:
        request.SessionRequest.parse({**GOOD, **fields})
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kf_account": "kf1"}, f"kf_account: 'kf1': {AGENT_RULE}"),
        ({"kf_account": "@acct"}, f"kf_account: '@acct': {AGENT_RULE}"),
        ({"kf_account": "kf1@"}, f"kf_account: 'kf1@': {AGENT_RULE}"),
        ({"kf_account": "a@b@c"}, f"kf_account: 'a@b@c': {AGENT_RULE}"),
        ({"kf_account": "a b@c"}, f"kf_account: 'a b@c': {AGENT_RULE}"),
        ({"kf_account": "\ud800@c"}, f"kf_account: '\\ud800@c': {AGENT_RULE}"),
        ({"kf_account": "a|b@c"}, f"kf_account: 'a|b@c': {AGENT_RULE}"),
        ({"kf_account": "a@b\n"}, f"kf_account: 'a@b\\n': {AGENT_RULE}"),
        ({"kf_account": "a@b\0"}, f"kf_account: 'a@b\\x00': {AGENT_RULE}"),
        ({"kf_account": ""}, f"kf_account: '': {AGENT_RULE}"),
        ({"kf_account": "ANY"}, f"kf_account: 'ANY': {AGENT_RULE}"),
        ({"kf_account": "a@" + "b" * 127}, "an agent's name has at most 128 characters"),
        ({"kf_account": 7}, "kf_account: 7: Input should be a valid string"),
        ({"kf_account": None}, "kf_account: None: Input should be a valid string"),
        ({"openid": ""}, f"openid: '': {OPENID_RULE}"),
        ({"openid": "o" * 129}, OPENID_RULE),
        ({"openid": "oA B"}, f"openid: 'oA B': {OPENID_RULE}"),
        ({"openid": "oA\n"}, f"openid: 'oA\\n': {OPENID_RULE}"),
        ({"openid": "oÄ"}, f"openid: 'oÄ': {OPENID_RULE}"),
        ({"openid": "a@b"}, f"openid: 'a@b': {OPENID_RULE}{SWAPPED}"),
        ({"openid": 5}, "openid: 5: Input should be a valid string"),
        ({"appid": "wx 1"}, "appid: 'wx 1': an appid is 1 to 64 characters of A-Z a-z 0-9 _ -"),
        ({"appid": ""}, "appid: '': an appid is 1 to 64 characters of A-Z a-z 0-9 _ -"),
        ({"fallbacks": ["b"]}, f"fallbacks: 'b': {AGENT_RULE}"),
        ({"fallbacks": "a@b||c@d"}, f"fallbacks: '': {AGENT_RULE}"),
        ({"fallbacks": 3}, "fallbacks: 3: Input should be a valid tuple"),
        (
            {"fallbacks": [f"k{n}@a" for n in range(10)]},
            "fallbacks: 11 targets; at most 10 are tried",
        ),
        ({"fallbacks": ["kf1@acct"]}, "fallbacks: an agent is named twice; name each once"),
        (
            {"fallbacks": ["any", "b@c"]},
            "fallbacks: `any` takes whoever is left, so it can only come last",
        ),
        (
            {"kf_account": "any", "fallbacks": ["b@c"]},
            "fallbacks: `any` takes whoever is left, so it can only come last",
        ),
        ({"lane": "urgent"}, "lane: 'urgent': Input should be 'escalation' or 'batch'"),
        ({"ttl_seconds": 0.5}, "ttl_seconds: 0.5: Input should be greater than or equal to 1"),
        (
            {"ttl_seconds": 172801},
            "ttl_seconds: 172801: Input should be less than or equal to 172800",
        ),
        ({"ttl_seconds": float("nan")}, "ttl_seconds: nan: Input should be"),
        ({"ttl_seconds": float("inf")}, "ttl_seconds: inf: Input should be"),
        ({"ttl_seconds": "10m"}, "ttl_seconds: '10m': Input should be a valid number"),
        (
            {"ttl_seconds": 5, "deadline_at": "2026-11-22T13:00:00Z"},
            "ttl_seconds and deadline_at are both given; give one",
        ),
        ({"deadline_at": "2026-11-22T13:00:00"}, "Input should have timezone info"),
        ({"deadline_at": "tomorrow"}, "deadline_at: 'tomorrow': Input should be a valid datetime"),
        ({"key": ""}, "key: '': String should have at least 1 character"),
        ({"key": "k" * 129}, "String should have at most 128 characters"),
        ({"metadata": "[1]"}, "metadata: [1]: Input should be a valid dictionary"),
        ({"metadata": "{"}, "metadata is a JSON object"),
        ({"metadata": [1]}, "metadata: [1]: Input should be a valid dictionary"),
        ({"metadata": {"a": "x" * 4100}}, "metadata: more than 4096 bytes of JSON"),
        ({"metadata": {"a": "客" * 1400}}, "metadata: more than 4096 bytes of JSON"),
        ({"metadata": {"a": float("nan")}}, "metadata: not writable as JSON"),
        ({"metadata": {"a": {1, 2}}}, "metadata: not writable as JSON"),
        ({"metadata": {"a": "\ud800"}}, "metadata: not writable as JSON"),
        ({"metadata": {"a": json.loads("[" * 100 + "]" * 100)}}, "metadata: nested more than 100"),
        ({"ttl_seconds": True}, "ttl_seconds: True: a life is a number of seconds"),
    ],
)
def test_each_breach_names_the_field_the_value_and_the_rule(
    fields: dict[str, Any], sentence: str
) -> None:
    """One sentence, on one line."""
    said = refusal(**fields)
    assert sentence in said
    assert said.startswith((*fields, "ttl_seconds and deadline_at", "fallbacks:"))
    assert "\n" not in said
    assert len(said) < 300


@pytest.mark.parametrize(
    "fields",
    [
        {"kf_account": "any"},
        {"kf_account": "a@" + "b" * 126},
        {"kf_account": "客服@gh_1"},
        {"openid": "o" * 128},
        {"fallbacks": [*[f"k{n}@a" for n in range(8)], "any"]},
        {"fallbacks": "b@c | d@e|any"},
        {"fallbacks": []},
        {"lane": "batch"},
        {"ttl_seconds": 1},
        {"ttl_seconds": "172800"},
        {"deadline_at": "2026-11-22T13:00:00+08:00"},
        {"key": "k" * 128},
        {"metadata": None},
        {"metadata": {}},
        {"metadata": '{"a": [1, {"b": null}]}'},
        {"metadata": {"a": "x" * 4088}},
        {"metadata": {"a": json.loads("[" * 99 + "]" * 99)}},
        {"appid": None},
    ],
)
def test_the_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    """Each rule is met at its edge."""
    request.SessionRequest.parse({**GOOD, **fields})


def test_swapped_arguments_are_recognised() -> None:
    """The most likely mistake on a command line."""
    said = refusal(kf_account="oABC", openid="kf1@acct")
    assert said.startswith("kf_account: 'oABC'") or SWAPPED in said


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("opneid", "did you mean openid?"),
        ("kfaccount", "did you mean kf_account?"),
        ("fallback", "did you mean fallbacks?"),
        ("ttl", "did you mean ttl_seconds?"),
        ("meta", "did you mean metadata?"),
        ("zzz", "the fields are openid, kf_account, fallbacks, appid, lane"),
        ("", "the fields are"),
        ("\ud800", "'\\ud800': unknown field; the fields are"),
        ("open\nid", "'open\\nid': unknown field; did you mean openid?"),
        ("o" * 5000, "...oooo"),
    ],
)
def test_an_unknown_field_names_the_nearest(name: str, mend: str) -> None:
    """A misspelled option is not ignored."""
    said = refusal(**{name: "x"})
    assert "unknown field" in said
    assert mend in said
    assert said.isprintable()
    assert len(said) < 300


def test_a_misspelled_name_is_said_before_the_missing_one() -> None:
    """It explains it."""
    with pytest.raises(
        request.InvalidRequest, match=r"^opneid: unknown field; did you mean openid"
    ):
        request.SessionRequest.parse({"opneid": "oA", "kf_account": "a@b"})


@pytest.mark.parametrize("missing", ["openid", "kf_account"])
def test_a_missing_field_is_named(missing: str) -> None:
    """With the least that a request names."""
    fields = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(request.InvalidRequest, match=f"^{missing}: missing; a request names"):
        request.SessionRequest.parse(fields)


@pytest.mark.parametrize("thing", [None, [], "text", 5, [["openid", "oA"]]])
def test_only_an_object_is_a_request(thing: Any) -> None:
    """Whatever a stranger sends."""
    with pytest.raises(request.InvalidRequest, match="a request is a JSON object, not "):
        request.SessionRequest.parse(thing)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": nested(100_000)}},
        {"metadata": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"},
        {"openid": nested(100_000)},
        {"ttl_seconds": nested(100_000)},
        {"zzz": nested(100_000)},
        {1: "x"},
        {"metadata": {1: "x"}},
        {"metadata": {"a": b"bytes"}},
        {"metadata": '{"a": ' + "9" * 5000 + "}"},
        {"ttl_seconds": 10**400},
        {"openid": 10**5000},
        {"openid": "\ud800"},
        {"key": "\ud800"},
        {"\ud800": "x"},
        {"deadline_at": 10**30},
        {"deadline_at": float("nan")},
    ],
)
def test_nothing_a_stranger_sends_gets_past_the_one_error(fields: dict[Any, Any]) -> None:
    """Very deep, very large, of the wrong kind: InvalidRequest, never anything else."""
    with pytest.raises(request.InvalidRequest) as caught:
        request.SessionRequest.parse({**GOOD, **fields})
    assert len(str(caught.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.settings(max_examples=60, deadline=None, database=None)
@hypothesis.given(
    st.dictionaries(st.sampled_from(list(request.SessionRequest.model_fields)) | st.text(), JSON)
)
def test_any_json_object_is_a_request_or_one_refusal(fields: dict[str, Any]) -> None:
    """And what is accepted can be written."""
    try:
        wish = request.SessionRequest.parse({**GOOD, **fields})
    except request.InvalidRequest:
        return
    assert wish.digest
    assert wish.metadata is None or json.loads(wish.metadata_json) == wish.metadata


def test_a_copy_says_what_it_holds() -> None:
    """A template may be copied for each fan; the digest tells the copies apart."""
    wish = request.SessionRequest(openid="o1", kf_account="a@b", metadata={"n": 1})
    copy = wish.model_copy(update={"metadata": {"n": 2}})
    assert copy.metadata_json == '{"n":2}'
    assert copy.digest != wish.digest


# -- how long a wish lasts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "ms"),
    [
        ({}, 1_800_000),
        ({"ttl_seconds": 1}, 1000),
        ({"ttl_seconds": 1.5}, 1500),
        ({"ttl_seconds": 172800}, 172_800_000),
        ({"deadline_at": "2026-11-22T12:00:01Z"}, 1000),
        ({"deadline_at": "2026-11-22T20:30:00+08:00"}, 1_800_000),
        ({"deadline_at": "2026-11-24T12:00:00Z"}, 172_800_000),
    ],
)
def test_a_wish_ends_by_its_ttl_its_deadline_or_the_setting(
    fields: dict[str, Any], ms: int
) -> None:
    """In milliseconds from now."""
    assert request.SessionRequest.parse({**GOOD, **fields}).ttl_ms(1800, NOW) == ms


@pytest.mark.parametrize(
    "deadline", ["2026-11-22T12:00:00Z", "2020-01-01T00:00:00Z", "2026-11-24T12:00:01Z"]
)
def test_a_deadline_lies_within_the_next_48_hours(deadline: str) -> None:
    """Past ones, and ones too far away, are refused at submit."""
    wish = request.SessionRequest.parse({**GOOD, "deadline_at": deadline})
    rule = r"^deadline_at: .* s from now; a deadline lies within the next 48 h$"
    with pytest.raises(request.InvalidRequest, match=rule):
        wish.ttl_ms(1800, NOW)


# -- the digest ------------------------------------------------------------------------------


def digest(**fields: Any) -> str:
    return request.SessionRequest.parse({**GOOD, **fields}).digest


@pytest.mark.parametrize(
    "fields",
    [
        {"openid": "oOTHER"},
        {"kf_account": "kf2@acct"},
        {"fallbacks": ["kf2@acct"]},
        {"lane": "batch"},
        {"metadata": {}},
        {"metadata": {"a": 1}},
    ],
)
def test_another_wish_has_another_digest(fields: dict[str, Any]) -> None:
    """Whoever sends a key with another body is told."""
    assert digest(**fields) != digest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"ttl_seconds": 5}),
        ({}, {"deadline_at": "2030-01-01T00:00:00Z"}),
        ({}, {"key": "k"}),
        ({"fallbacks": "b@c|any"}, {"fallbacks": ["b@c", "any"]}),
        ({"metadata": {"a": 1, "b": [2]}}, {"metadata": '{"b": [2], "a": 1}'}),
    ],
)
def test_the_same_wish_in_another_spelling_has_the_same_digest(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whenever it ends, and in whatever order its metadata comes."""
    assert digest(**one) == digest(**other)


def test_a_digest_stays_the_same_between_releases() -> None:
    """Keys outlive an upgrade; this value may change only with the schema."""
    assert digest(metadata={"a": "客"}, fallbacks=["any"]) == "986aa9eea2b1a3a4"

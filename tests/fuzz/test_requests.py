"""Requests by chance: whatever comes is a wish that can be kept, or one sentence that helps."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz import profile, values
from worker.contract import record, request

GOOD = {"openid": "oABC-_9", "kf_account": "kf1@acct"}
FIELDS = list(request.SessionRequest.model_fields)
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
#: Longest sentence, in characters.
LONGEST = 400

AGENTS = st.sampled_from(["kf1@acct", "客服@号", "any", "a@" + "b" * 126, "a@b|c@d", "é@ü"])
#: Zones as they are since their offsets are whole minutes, which ISO 8601 can say.
MOMENTS = st.datetimes(
    datetime.datetime(2000, 1, 1),
    datetime.datetime(9990, 1, 1),
    timezones=st.timezones() | st.just(datetime.UTC),
) | st.datetimes(
    NOW.replace(tzinfo=None),
    NOW.replace(tzinfo=None) + datetime.timedelta(days=3),
    timezones=st.just(datetime.UTC),
)
#: What a field may hold; mostly right.
PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "openid": st.text("oAZ09_-", min_size=1, max_size=130),
    "kf_account": AGENTS,
    "fallbacks": st.lists(AGENTS | st.integers(0, 20).map("k{}@a".format), max_size=12)
    | st.lists(AGENTS, max_size=3).map("|".join),
    "appid": st.text("wx09", max_size=66),
    "lane": st.sampled_from(["escalation", "batch", "Batch", "urgent", request.Lane.BATCH]),
    "ttl_seconds": st.floats(0, 172801) | st.integers(0, 172801) | st.integers().map(str),
    "deadline_at": MOMENTS
    | MOMENTS.map(datetime.datetime.isoformat)
    | st.integers(0, 2**40)
    | st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "now"]),
    "key": values.TEXT | st.text("k", min_size=120, max_size=130),
    "metadata": st.dictionaries(values.TEXT, values.JSON, max_size=4)
    | st.dictionaries(values.TEXT, values.ANYTHING, max_size=2)
    | values.JSON.map(lambda value: values.as_json({"a": value}).decode())
    | st.builds(lambda inner: {"a": inner}, values.DEEP)
    | st.integers(4080, 4100).map(lambda size: {"a": "x" * size}),
}


def misspelled(name: str) -> st.SearchStrategy[str]:
    """The name with a letter dropped, doubled, or in capitals."""
    places = st.integers(0, len(name) - 1)
    return (
        places.map(lambda at: name[:at] + name[at + 1 :])
        | places.map(lambda at: name[:at] + name[at] + name[at:])
        | st.just(name.upper())
    )


WRONG_NAMES = (
    st.sampled_from(FIELDS).flatmap(misspelled)
    | values.TEXT
    | values.ODD_TEXT
    | st.sampled_from(["a\nb", "ttl", "\ud800", "openid\n", "k" * 5000])
).filter(lambda name: name not in FIELDS)


def field_of(name: str) -> st.SearchStrategy[Any]:
    return PLAUSIBLE[name] | PLAUSIBLE[name] | values.ANYTHING


MAPPINGS = st.builds(
    lambda base, known, unknown: {**base, **known, **unknown},
    st.sampled_from([GOOD, GOOD, GOOD, {}]),
    st.fixed_dictionaries({}, optional={name: field_of(name) for name in FIELDS}),
    st.dictionaries(WRONG_NAMES | st.integers() | st.none(), values.JSON, max_size=1) | st.just({}),
)


def parsed(fields: Any) -> request.SessionRequest | str:
    """The wish, or what is wrong with it; whatever else is raised is the finding."""
    try:
        return request.SessionRequest.parse(fields)
    except request.InvalidRequest as error:
        return check_sentence(str(error))


def check_sentence(said: str) -> str:
    """One bounded line that any terminal, log and JSON can show."""
    said.encode()
    assert said.isprintable(), said
    assert 0 < len(said) <= LONGEST, said
    return said


def check_wish(wish: request.SessionRequest) -> None:
    """Within its limits, the same after a journey, and fit for a record that can be shown."""
    assert 1 <= len(wish.targets) <= request.MAX_TARGETS
    assert all(len(agent) <= request.MAX_KF_ACCOUNT for agent in wish.targets)
    assert request.ANY not in wish.targets[:-1]
    assert not {"|", "\n"} & set("".join(wish.targets))
    assert wish.key is None or 1 <= len(wish.key.encode()) <= request.MAX_KEY * 4
    assert len(wish.metadata_json.encode()) <= request.MAX_METADATA_BYTES
    assert request.SessionRequest.parse(wish.model_dump()) == wish
    told = json.loads(json.dumps(wish.model_dump(mode="json", exclude={"metadata"})))
    kept = json.loads(wish.metadata_json) if wish.metadata is not None else None
    back = request.SessionRequest.parse({**told, "metadata": kept})
    assert back.digest == wish.digest
    assert back.metadata_json == wish.metadata_json
    assert back.model_dump(exclude={"metadata"}) == wish.model_dump(exclude={"metadata"})
    check_record(wish, kept)
    ttl_ms = life_ms(wish)
    assert type(ttl_ms) is int
    assert 0 <= ttl_ms <= request.MAX_TTL_SECONDS * 1000


def life_ms(wish: request.SessionRequest) -> int:
    """How long it lasts; 0 where its deadline is refused, in one sentence."""
    try:
        return wish.ttl_ms(1800, NOW)
    except request.InvalidRequest as error:
        said = check_sentence(str(error))
    assert said.startswith("deadline_at: ")
    return 0


def check_record(wish: request.SessionRequest, metadata: dict[str, Any] | None) -> None:
    """What is accepted can be handed back."""
    made = record.Record(
        id="0",
        schema_=1,
        appid="wx",
        openid=wish.openid,
        kf_account=wish.kf_account,
        targets=wish.targets,
        lane=wish.lane,
        status=record.Status.QUEUED,
        final=False,
        reason=None,
        errcode=None,
        errmsg=None,
        hint=None,
        served_by=None,
        ahead=None,
        attempts=(),
        attempt_count=0,
        api_calls=0,
        generation=1,
        submitted_at=NOW,
        updated_at=NOW,
        next_attempt_at=None,
        deadline_at=NOW,
        finished_at=None,
        key=wish.key,
        metadata=metadata,
    )
    shown = json.loads(json.dumps(made.as_json()))
    assert shown["metadata"] == metadata
    assert json.loads(made.model_dump_json())["openid"] == wish.openid


@profile.examples(125)
@hypothesis.given(MAPPINGS)
def test_any_mapping_is_a_wish_that_can_be_kept_or_one_sentence(fields: Mapping[Any, Any]) -> None:
    """No third way out; a wrong name is told before all else, with the nearest right one."""
    result = parsed(fields)
    unknown = fields.keys() - set(FIELDS)
    if isinstance(result, str):
        assert any(name in result for name in FIELDS)
        assert ("unknown field; " in result) == bool(unknown)
    else:
        assert not unknown
        check_wish(result)


@profile.examples(80)
@hypothesis.given(values.ANYTHING)
def test_only_an_object_is_a_wish(value: Any) -> None:
    """Whatever stands in its place."""
    assert isinstance(parsed(value), str)


@profile.examples(125)
@hypothesis.given(st.data(), st.sampled_from(FIELDS))
def test_one_wrong_field_is_named_and_shown(data: st.DataObject, name: str) -> None:
    """With its value, as far as that fits on a line, and the rule."""
    value = data.draw(field_of(name))
    result = parsed({**GOOD, name: value})
    if not isinstance(result, str):
        check_wish(result)
        return
    assert result.startswith(f"{name}: ")
    _, _, rest = result.partition(": ")
    assert rest
    is_short = isinstance(value, str | int) and not isinstance(value, bool) and _fits(value)
    if is_short and name not in ("metadata", "fallbacks"):
        assert rest.startswith(f"{value!r}: ")
        assert len(rest) > len(f"{value!r}: ")


def _fits(value: str | int) -> bool:
    return abs(value) < 10**30 if isinstance(value, int) else len(repr(value)) < 70


@profile.examples(80)
@hypothesis.given(
    st.sampled_from(FIELDS).flatmap(lambda name: st.tuples(st.just(name), misspelled(name)))
)
def test_a_misspelled_field_names_the_one_that_was_meant(pair: tuple[str, str]) -> None:
    """Of all the fields, the one that is a letter away."""
    name, wrong = pair
    hypothesis.assume(wrong not in FIELDS)
    result = parsed({**GOOD, wrong: "x"})
    assert isinstance(result, str)
    assert "unknown field; " in result
    if wrong.islower():
        assert result == f"{wrong}: unknown field; did you mean {name}?"


@profile.examples(50)
@hypothesis.given(
    st.dictionaries(
        st.text(max_size=6),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=8)
            | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=4), inner, max_size=4)
            ),
            max_leaves=10,
        ),
        max_size=6,
    )
)
def test_metadata_comes_back_as_it_was_given(metadata: dict[str, Any]) -> None:
    """As an object, or as the JSON text of a CSV cell: the same bytes."""
    given = request.SessionRequest.parse({**GOOD, "metadata": metadata})
    written = request.SessionRequest.parse({**GOOD, "metadata": json.dumps(metadata)})
    assert json.loads(given.metadata_json) == metadata
    assert written.metadata_json == given.metadata_json
    assert written.digest == given.digest
    check_wish(given)


@profile.examples(80)
@hypothesis.given(st.booleans() | st.floats() | values.HUGE | values.ODD_TEXT)
def test_a_life_is_a_number_of_seconds(value: Any) -> None:
    """Neither a truth nor nothing, nor more than two days."""
    result = parsed({**GOOD, "ttl_seconds": value})
    if isinstance(result, str):
        return
    assert not isinstance(value, bool)
    assert result.ttl_seconds is not None
    assert math.isfinite(result.ttl_seconds)
    assert 1 <= result.ttl_seconds <= request.MAX_TTL_SECONDS


@pytest.mark.parametrize("name", FIELDS)
def test_a_truth_is_no_value_of_any_field(name: str) -> None:
    """JSON's true is a slip wherever it stands."""
    for value in (True, False):
        assert isinstance(parsed({**GOOD, name: value}), str)

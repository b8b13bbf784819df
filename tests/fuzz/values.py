"""Values that a stranger may put where another was meant."""

from __future__ import annotations

import datetime
import decimal
import functools
import json
import uuid
from typing import Any

from hypothesis import strategies as st

#: Every character there is, lone surrogates and NUL included.
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
#: Texts that have made readers of texts stumble.
ODD_TEXT = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a\nb",
        "\r\n",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\udfff\ud800",
        "null",
        "NaN",
        "1e999",
        "-1",
        "0x10",
        "1_0",
        "٣",
        "１",
        "any",
        "any ",
        "客服@号",
        "a@b",
        "a@b|c@d",
        "\x85@b",
        "{}",
        '{"a":1}',
        "[",
        '{"a":' * 300,
        "[" * 5000,
        "o" * 129,
        "x" * 70_000,
        "\n" * 300,
    ]
)


def nested(depth: int, inner: Any = 1) -> Any:
    """Lists in lists."""
    return functools.reduce(lambda value, _: [value], range(depth), inner)


def nested_objects(depth: int) -> dict[str, Any]:
    """Objects in objects."""
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"a": made}
    return made


DEPTHS = st.sampled_from([2, 50, 99, 100, 101, 200, 253, 256, 300, 600, 990, 1500, 30_000])
#: Nested about as deep as whoever reads it stands.
DEEP = DEPTHS.map(nested) | DEPTHS.map(nested_objects)
HUGE = st.sampled_from([2**31, 2**53 + 1, 2**63, -(2**64), 10**30, 10**400]) | st.sampled_from(
    [4299, 5000]  # more than 4,300 digits are too many to be written, for Hypothesis too
).map(lambda digits: -(10**digits))
NUMBERS = (
    st.integers()
    | st.floats()
    | HUGE
    | st.sampled_from([0, 1, -1, 1.5, 172800, 172801, 172800.5, 0.5, 1e308, float("nan"), -0.0])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT | ODD_TEXT
#: What JSON can say, and some of what Python's reader takes for JSON besides.
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=6,
)


class Hostile:
    """Anything of a caller's own: its repr is of no help."""

    def __repr__(self) -> str:
        return "line\n" * 100


#: What a Python caller can pass besides.
PYTHON = (
    st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=True)
    | st.sampled_from([decimal.Decimal("sNaN"), decimal.Decimal("1e9999")])
    | st.uuids()
    | st.frozensets(TEXT, max_size=3)
    | st.tuples(SCALARS, SCALARS)
    | st.sampled_from([object, len, 1j, uuid.UUID(int=0), ..., Exception("x\ny")])
    | st.builds(Hostile)
)
ANYTHING = JSON | PYTHON | DEEP | st.lists(PYTHON, max_size=2)


def as_json(value: Any) -> bytes:
    """A value as JSON bytes; what is too deep or too large to be written as something that is."""
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):
        return b'{"deep":' + b"[" * 20_000

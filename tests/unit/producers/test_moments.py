from __future__ import annotations

import datetime

import pytest

from producers import moments

NOW = datetime.datetime(2025, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("2.5", 2.5),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1d", 86400),
        ("500ms", 0.5),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert moments.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "10x", "10 m", "1e3", "nan", "ten"])
def test_what_is_no_duration_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90s, 10m or 1h30m"):
        moments.seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2025-03-01T10:00:00+00:00"),
        ("2025-02-28", "2025-02-28T00:00:00+00:00"),
        ("2025-02-28T08:00:00+08:00", "2025-02-28T00:00:00+00:00"),
        ("2025-02-28T08:00:00Z", "2025-02-28T08:00:00+00:00"),
    ],
)
def test_a_moment_is_a_duration_ago_or_iso_8601_in_utc(text: str, expected: str) -> None:
    found = moments.moment(text, NOW)
    assert found.astimezone(datetime.UTC).isoformat() == expected


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "99999999999d", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ago"):
        moments.moment(text, NOW)


def test_a_length_of_time_is_told_in_its_largest_unit() -> None:
    told = [moments.spoken(each) for each in (-1, 0.4, 59, 60, 3599, 7200, 200_000)]
    assert told == ["0s", "0s", "59s", "1m", "60m", "2h", "2d"]

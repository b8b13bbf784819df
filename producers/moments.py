"""Takes durations and moments as people write them (`90s`, `2h`, ISO 8601), gives values."""

from __future__ import annotations

import datetime
import re

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(text: str) -> float:
    """`10m`, `1h30m`, `500ms`, or plain seconds; raises ValueError with the forms."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it like 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment(text: str, now: datetime.datetime) -> datetime.datetime:
    """A duration before `now`, or ISO 8601 (UTC unless it names a zone)."""
    try:
        return now - datetime.timedelta(seconds=seconds(text))
    except OverflowError:
        raise ValueError(f"{text!r} is longer ago than anything") from None
    except ValueError:
        pass
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a duration ago (2h) nor a time (2025-01-31T08:00:00Z)"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)


def spoken(age_seconds: float) -> str:
    """A length of time for people: `12s`, `3m`, `5h`, `2d`."""
    for unit in ("d", "h", "m"):
        if age_seconds >= _UNITS[unit]:
            return f"{age_seconds / _UNITS[unit]:.0f}{unit}"
    return f"{max(0, age_seconds):.0f}s"

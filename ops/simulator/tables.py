"""Receives a TOML (or JSON) table and hands on checked values; every complaint names the key.

Read each key with one of the methods, then call `done()`: whatever was not asked for is an unknown
key, and the complaint names the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping


class ScenarioError(ValueError):
    """The scenario cannot be used as written; the message says which key, and how to mend it."""


class Table:
    """One table of a scenario; `where` is its place, as messages name it ("": the top level)."""

    def __init__(self, values: object, where: str = "") -> None:
        self.where = where
        if not isinstance(values, Mapping):
            raise ScenarioError(f"{where or 'the scenario'} must be a table, not {values!r}")
        self._values: Mapping[str, object] = values
        self._known: list[str] = []

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def maybe_boolean(self, key: str) -> bool | None:
        """True, false, or None where the key is absent."""
        return self.boolean(key, False) if self._take(key, None) is not None else None

    def whole(self, key: str, default: int, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, f"must be a whole number of at least {least}")
        return value

    def maybe_whole(self, key: str) -> int | None:
        """A whole number of at least 0, or None where the key is absent."""
        return self.whole(key, 0) if self._take(key, None) is not None else None

    def number(self, key: str, default: float, most: float | None = None) -> float:
        """A number of at least 0, and of at most `most` where that is given."""
        return self._as_number(key, self._take(key, default), most)

    def text(self, key: str, default: str | None = None) -> str:
        """A text with something in it; required where there is no default."""
        value = self._take(key, default)
        if value is None:
            raise ScenarioError(f"{self.name(key)} is missing")
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "must be a text")
        return value

    def maybe_text(self, key: str) -> str:
        """A text, or "" where the key is absent."""
        return self.text(key) if self._take(key, None) is not None else ""

    def choice(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of the named texts; a number is read as its digits, so that codes need no quotes."""
        value = self._take(key, default)
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or text not in choices:
            near = _nearest(str(text), choices)
            raise self.wrong(key, f"must be one of {', '.join(choices)}{near}")
        return text

    def text_or_whole(self, key: str, default: int) -> str | int:
        """A text or a whole number."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.wrong(key, "must be a text or a whole number")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts."""
        value = self._take(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "must be a list of texts")
        return tuple(value)

    def span(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """A number, or a list [from, to]; handed on as (from, to)."""
        value = self._take(key, list(default))
        if isinstance(value, list):
            return self._as_span(key, value)
        number = self._as_number(key, value, None)
        return number, number

    def spans(self, key: str) -> tuple[tuple[float, float], ...]:
        """A list of [from, to] pairs."""
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list of [from, to] pairs")
        return tuple(self._as_span(key, pair) for pair in value)

    def table(self, key: str) -> Table:
        """A table inside this one; empty where the key is absent."""
        return Table(self._take(key, {}), self.name(key))

    def tables(self, key: str) -> list[Table]:
        """A list of tables inside this one."""
        value = self._take(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, f"must be a list of tables ([[{self.name(key)}]])")
        return [Table(item, f"{self.name(key)}[{at}]") for at, item in enumerate(value)]

    def given_keys(self) -> list[str]:
        """The keys that are there, for a table whose keys are no closed set."""
        return [str(key) for key in self._values]

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                near = _nearest(key, self._known) or f"; known are {', '.join(self._known)}"
                raise ScenarioError(f"unknown key {self.name(key)}{near}")

    def name(self, key: str) -> str:
        """A key with its place in front, as messages name it."""
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, what: str) -> ScenarioError:
        """The complaint about one key's value."""
        return ScenarioError(f"{self.name(key)} {what}, not {self._values.get(key)!r}")

    def _take(self, key: str, default: object) -> object:
        if key not in self._known:
            self._known.append(key)
        return self._values.get(key, default)

    def _as_number(self, key: str, value: object, most: float | None) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "must be a number")
        if not value >= 0 or (most is not None and value > most):
            bounds = "of at least 0" if most is None else f"from 0 to {most:g}"
            raise self.wrong(key, f"must be a number {bounds}")
        return float(value)

    def _as_span(self, key: str, value: object) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.wrong(key, "must hold [from, to]")
        first, last = (self._as_number(key, item, None) for item in value)
        if last < first:
            raise self.wrong(key, "must hold [from, to] with from before to")
        return first, last


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""

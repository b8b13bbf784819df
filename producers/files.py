"""Takes a file of requests (CSV with a header, JSON lines, or bare openids) and hands on its rows.

The content tells which: a first line that starts with `{` is JSON lines; with `--to`, a first line
without a column `openid` is a bare openid. One row is one line. Each row comes as the fields of a
request, or as what is wrong with it, so that one bad row never stops the others.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from producers import lines
from worker.contract import request

UnreadableFile = lines.UnreadableFile

_COLUMNS = tuple(request.SessionRequest.model_fields)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: `fields` of a request, unchecked, or the `error` that keeps it from being one."""

    line_number: int
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None
    #: Bytes of the file up to the end of this row, for a progress bar.
    position: int


class _BadRow(ValueError):
    """Why a line is no row."""


def read(stream: BinaryIO, *, kf_account: str | None = None) -> Iterator[Row]:
    """The rows of `stream`; `kf_account` is for the rows that name none.

    Raises UnreadableFile when its first line shows that no row can be read.
    """
    numbered = lines.read(stream)
    first = next(numbered, None)
    if first is None:
        return
    if first.error:
        raise UnreadableFile(f"line {first.number}: {first.error}")
    try:
        parse, is_row = _parser(first.text, kf_account)
    except _BadRow as error:
        raise UnreadableFile(f"line {first.number}: {error}") from None
    if is_row:
        yield _row(first, parse, kf_account)
    for line in numbered:
        yield _row(line, parse, kf_account)


def _row(line: lines.Line, parse: Callable[[str], dict[str, Any]], kf_account: str | None) -> Row:
    try:
        if line.error:
            raise _BadRow(line.error)
        fields = parse(line.text)
    except _BadRow as error:
        return Row(line_number=line.number, error=str(error), position=line.position)
    if kf_account is not None:
        fields.setdefault("kf_account", kf_account)
    return Row(line_number=line.number, fields=fields, position=line.position)


def _parser(first: str, kf_account: str | None) -> tuple[Callable[[str], dict[str, Any]], bool]:
    """How to read each line, and whether the first is a row already."""
    start = first.lstrip()
    if start.startswith("{"):
        return _json_fields, True
    if start.startswith("["):
        raise _BadRow("a JSON array: write one object a line instead (JSON lines)")
    delimiter = next((each for each in ",\t;" if each in first), ",")
    names = [cell.strip() for cell in _cells(first, delimiter)]
    if kf_account is not None and "openid" not in names:
        return _bare_openid, True
    _check_header(names, needs_agent=kf_account is None)
    return lambda text: _csv_fields(text, names, delimiter), False


def _check_header(names: list[str], *, needs_agent: bool) -> None:
    if not set(names) & set(_COLUMNS):
        raise _BadRow(
            f"no header; the columns are {', '.join(_COLUMNS)} (for a file of bare openids"
            " name their agent with --to KF_ACCOUNT)"
        )
    for name in names:
        if name not in _COLUMNS:
            raise _BadRow(f"{_shown(name)}: unknown column; {_nearest(name)}")
        if names.count(name) > 1:
            raise _BadRow(f"{name}: the column stands there twice")
    for needed in ("openid", "kf_account") if needs_agent else ("openid",):
        if needed not in names:
            raise _BadRow(f"{needed}: the column is missing")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "...")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name[:40].lower(), _COLUMNS, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"the columns are {', '.join(_COLUMNS)}"


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _BadRow(f"not CSV: {error} (a row is one line)") from None


def _csv_fields(text: str, names: list[str], delimiter: str) -> dict[str, Any]:
    cells = _cells(text, delimiter)
    if len(cells) != len(names):
        raise _BadRow(f"{len(cells)} cells, and the header has {len(names)}")
    pairs = zip(names, (cell.strip() for cell in cells), strict=True)
    return {name: cell for name, cell in pairs if cell}


def _bare_openid(text: str) -> dict[str, Any]:
    return {"openid": text.strip().strip('"')}


def _json_fields(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _BadRow("a row is a JSON object")
    return fields

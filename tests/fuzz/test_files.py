"""Files by chance: every line is a row or is told by its number, and no line costs another."""

from __future__ import annotations

import codecs
import csv
import io
import json
from typing import Any

import hypothesis
from hypothesis import strategies as st

from producers import files, lines
from tests.fuzz import profile, values
from worker.contract import request

HEADER = "openid,kf_account,metadata"
#: Longest text that a line is refused with, in characters.
LONGEST = 400
ENDS = st.sampled_from([b"\n", b"\r\n"])


def rows_of(content: bytes, to: str | None = None) -> list[files.Row] | str:
    """The rows of a file, or why it is none; checks what holds for every file."""
    lines_in = content.count(b"\n") + (not content.endswith(b"\n"))
    found: list[files.Row] = []
    try:
        found.extend(files.read(io.BytesIO(content), kf_account=to))
    except files.UnreadableFile as error:
        assert not found, "a file is given up at its first line, or not at all"
        check_text(str(error))
        return str(error)
    numbers = [row.line_number for row in found]
    assert numbers == sorted(set(numbers)), "no line is two rows"
    assert all(1 <= number <= lines_in for number in numbers)
    positions = [row.position for row in found]
    assert positions == sorted(set(positions))
    assert not positions or positions[-1] <= len(content)
    for row in found:
        if row.error is not None:
            assert not row.fields
            check_text(row.error)
        else:
            check_fields(row.fields)
    return found


def check_text(text: str) -> None:
    """Fit for a terminal and a log."""
    text.encode()
    assert text.isprintable(), text
    assert 0 < len(text) <= LONGEST, text


def check_fields(fields: Any) -> None:
    """A row is judged like any other request."""
    try:
        request.SessionRequest.parse(fields)
    except request.InvalidRequest as error:
        check_text(str(error))


def told(content: bytes, to: str | None = None) -> dict[int, Any]:
    """What became of each line that is no blank one."""
    found = rows_of(content, to)
    assert not isinstance(found, str), found
    return {row.line_number: row.error or dict(row.fields) for row in found}


# -- any bytes -------------------------------------------------------------------------------


PIECES = st.sampled_from(
    [
        HEADER.encode(),
        b"openid",
        b"kf_account",
        b"oA",
        b"a@b",
        b",",
        b";",
        b"\t",
        b'"',
        b'""',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b'{"openid":"oA"}',
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"|",
        b" ",
        codecs.BOM_UTF8,
        codecs.BOM_UTF16_LE,
        codecs.BOM_UTF16_BE,
        codecs.BOM_UTF32_LE,
        b"\xff",
        "客服".encode(),
        "客服".encode("gbk"),
        "é".encode("latin-1"),
        "\u2028\x85".encode(),
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x1a",
        b"x" * 70,
        b"o" * (lines.MAX_LINE - 3),
        b"o" * lines.MAX_LINE,
        b"[" * 30_000,
        b"9" * 5000,
        b"\\ud800",
        b"\\",
    ]
)
FILES = st.lists(PIECES, max_size=25).map(b"".join) | st.binary(max_size=60)


@profile.examples(80)
@hypothesis.given(
    FILES, st.sampled_from([None, "a@b"]), st.sampled_from([b"", b"openid\n", b"{}\n"])
)
def test_any_bytes_are_rows_or_no_file(content: bytes, to: str | None, start: bytes) -> None:
    """Every line that holds anything is told, once, in order, by its number."""
    content = start + content
    found = rows_of(content, to)
    if isinstance(found, str):
        return
    blank = [not _text(line).strip() for line in content.split(b"\n")]
    expected = [number for number, is_blank in enumerate(blank, start=1) if not is_blank]
    got = [row.line_number for row in found]
    assert got in (expected, expected[1:]), "only a header may be no row"


def _text(line: bytes) -> str:
    return line.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")


# -- good rows around bad ones ---------------------------------------------------------------


NAMES = st.text("abcXYZ09_-", min_size=1, max_size=12)
AGENTS = st.sampled_from(["kf1@acct", "客服一@号", "é@ü", "any"])
METADATA = st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers(), max_size=2)


def csv_line(cells: list[str], delimiter: str) -> str:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="").writerow(cells)
    return written.getvalue()


def json_line(openid: str, agent: str, metadata: dict[str, Any]) -> str:
    return json.dumps(
        {"openid": openid, "kf_account": agent, "metadata": metadata}, ensure_ascii=False
    )


BAD_ANYWHERE = st.sampled_from(
    [
        b"\0",
        b"o\0,a@b,",
        b"x" * (lines.MAX_LINE + 1),
        b"y" * 200_000,
        b"only one cell",
        b"[]",
        b"7",
        b'"',
        b'"o,a@b',
        b'o,"a"b,c',
        b'o,a\rb,"c',
        b",,,,,,",
        b"{",
        b'{"openid":',
        b"}{",
        b"null",
        b"[" * 30_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"\xff" * 9,
        b"o,\xff\xff,a",
        b"\x81\x40\0",
    ]
)


@profile.examples(75)
@hypothesis.given(
    st.lists(st.tuples(NAMES, AGENTS, METADATA) | BAD_ANYWHERE | st.just(b""), max_size=12),
    st.sampled_from([",", ";", "\t", "json"]),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
    ENDS,
    st.booleans(),
)
def test_good_rows_around_bad_ones_survive(
    given: list[tuple[str, str, dict[str, Any]] | bytes],
    kind: str,
    encoding: str,
    end: bytes,
    is_ended: bool,
) -> None:
    """In any encoding, with any line ends: rows out and bad rows are the rows in."""
    is_json = kind == "json"
    header = '{"openid":"o0","kf_account":"a@b"}' if is_json else HEADER.replace(",", kind)
    content, expected = [header.encode(encoding)], {}
    if is_json:
        expected[1] = {"openid": "o0", "kf_account": "a@b"}
    for number, row in enumerate(given, start=2):
        if isinstance(row, bytes):
            content.append(row)
            if row:
                expected[number] = None
            continue
        openid, agent, metadata = row
        text = json.dumps(metadata, ensure_ascii=False)
        line = json_line(*row) if is_json else csv_line([openid, agent, text], kind)
        content.append(line.encode(encoding.removesuffix("-sig")))
        expected[number] = {
            "openid": openid,
            "kf_account": agent,
            "metadata": metadata if is_json else text,
        }
    whole = end.join(content) + (end if is_ended else b"")
    _check_told(told(whole), expected)


def _check_told(found: dict[int, Any], expected: dict[int, Any]) -> None:
    assert list(found) == list(expected)
    for number, fields in expected.items():
        if fields is None:
            assert isinstance(found[number], str), (number, found[number])
        else:
            assert found[number] == fields


@profile.examples(75)
@hypothesis.given(
    st.lists(NAMES, min_size=1, max_size=12),
    st.lists(
        st.tuples(
            st.integers(0, 400), st.sampled_from(["drop", "put", "flip"]), st.binary(max_size=3)
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([",", "json", "bare"]),
)
def test_a_mutated_file_loses_no_line_that_was_left_alone(
    openids: list[str], mutations: list[tuple[int, str, bytes]], kind: str
) -> None:
    """A byte dropped, put in or changed costs the lines it stands in, and no other."""
    head = {",": b"openid,kf_account\n", "json": b'{"openid":"o"}\n', "bare": b"o\n"}[kind]
    make = {",": "{},a@b", "json": '{{"openid":"{}","kf_account":"a@b"}}', "bare": "{}"}[kind]
    marked = [make.format(f"{name}-{n}").encode() for n, name in enumerate(openids)]
    body = bytearray(b"\n".join(marked))
    for at, how, data in mutations:
        place = at % (len(body) + 1)
        if how == "drop":
            del body[place : place + 1 + len(data)]
        elif how == "put":
            body[place:place] = data
        else:
            body[place : place + len(data)] = data
    content = head + bytes(body)
    untouched = {line: n for n, line in enumerate(content.split(b"\n"), 1) if line in marked}
    found = told(content, "a@b")
    for line, number in untouched.items():
        openid = json.loads(line)["openid"] if kind == "json" else line.split(b",")[0].decode()
        assert found[number] == {"openid": openid, "kf_account": "a@b"}
    assert len(found) <= content.count(b"\n") + 1


# -- headers ---------------------------------------------------------------------------------


@profile.examples(80)
@hypothesis.given(
    st.lists(
        st.sampled_from(list(request.SessionRequest.model_fields)) | values.TEXT.filter(bool),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 3),
    st.sampled_from([None, "a@b"]),
)
def test_a_wrong_header_is_told_with_its_line(names: list[str], blank: int, to: str | None) -> None:
    """Which column, and where it stands; a right one loses no cell."""
    cells = csv_line(names, ",").encode(errors="replace")
    content = b"\n" * blank + cells + b"\n" + b",".join([b"v"] * len(names)) + b"\n"
    found = rows_of(content, to)
    if isinstance(found, str):
        if found.startswith("line "):
            assert found.startswith(f"line {blank + 1}: "), found
        return
    assert found[-1].line_number <= content.count(b"\n")


@profile.examples(60)
@hypothesis.given(
    st.integers(-4, 4), st.sampled_from([b"", codecs.BOM_UTF8]), ENDS, st.booleans(), st.booleans()
)
def test_a_line_about_as_long_as_allowed_stays_one_line(
    over: int, bom: bytes, end: bytes, is_first: bool, is_json: bool
) -> None:
    """Whole or refused, but never in pieces, which would be rows of their own."""
    size = lines.MAX_LINE + over - len(end)
    row = b'{"openid":"oA"}'.ljust(size) if is_json else b"o" * size
    content = bom + (b"" if is_first else b"oB" + end) + row + end + b"oC" + end
    found = rows_of(content, "a@b")
    if isinstance(found, str):
        assert is_first
        assert "longer than" in found
        return
    assert [each.line_number for each in found] == ([1, 2] if is_first else [1, 2, 3])
    assert found[-1].position == len(content)

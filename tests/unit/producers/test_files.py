from __future__ import annotations

import io
import json

import pytest

from producers import files, lines


def rows(content: bytes, to: str | None = None) -> list[tuple[int, object]]:
    """Each row's line number with its fields, or with what is wrong."""
    return [
        (row.line_number, row.error or dict(row.fields))
        for row in files.read(io.BytesIO(content), kf_account=to)
    ]


def test_csv_is_read_by_its_header_and_empty_cells_are_absent() -> None:
    content = b"openid,kf_account,fallbacks,ttl_seconds\n o1 ,a@b,c@d|any,60\no2,a@b,,\n"
    assert rows(content) == [
        (2, {"openid": "o1", "kf_account": "a@b", "fallbacks": "c@d|any", "ttl_seconds": "60"}),
        (3, {"openid": "o2", "kf_account": "a@b"}),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
def test_every_encoding_a_spreadsheet_writes_is_read(encoding: str) -> None:
    content = "openid,kf_account\r\no1,客服一@b\r\no2,客服二@b\r\n".encode(encoding)
    agents = [row.fields["kf_account"] for row in files.read(io.BytesIO(content))]
    assert agents == ["客服一@b", "客服二@b"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_spreadsheets_other_delimiters_are_read(delimiter: str) -> None:
    content = f"openid{delimiter}kf_account\no1{delimiter}a@b\n".encode()
    assert rows(content) == [(2, {"openid": "o1", "kf_account": "a@b"})]


def test_json_lines_are_known_by_their_first_brace() -> None:
    content = b'\n{"openid": "o1", "fallbacks": ["a@b"]}\n\n[1]\n{"openid": \n"o2"\n'
    found = rows(content)
    assert found[0] == (2, {"openid": "o1", "fallbacks": ["a@b"]})
    assert found[1] == (4, "a row is a JSON object")
    assert [number for number, _ in found] == [2, 4, 5, 6]
    assert str(found[2][1]).startswith("not JSON: ")


def test_wild_json_is_a_bad_row_and_never_a_crash() -> None:
    deep = b'{"metadata": ' + b"[" * 30_000
    digits = b'{"openid": ' + b"1" * 5_000 + b"}"
    found = rows(b'{"openid": "o1"}\n' + deep + b"\n" + digits + b'\n{"openid": "o2"}')
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert [isinstance(each, str) for _, each in found] == [False, True, True, False]


def test_bare_openids_go_to_the_agent_that_was_named() -> None:
    expected = [
        (1, {"openid": "o1", "kf_account": "a@b"}),
        (3, {"openid": "o2", "kf_account": "a@b"}),
    ]
    assert rows(b"o1\n\no2", "a@b") == expected


def test_a_column_of_openids_goes_to_the_agent_that_was_named() -> None:
    assert rows(b"openid\no1\n", "a@b") == [(2, {"openid": "o1", "kf_account": "a@b"})]


def test_a_row_that_names_its_agent_keeps_it() -> None:
    content = b"openid,kf_account\no1,c@d\no2,\n"
    agents = [row.fields["kf_account"] for row in files.read(io.BytesIO(content), kf_account="a@b")]
    assert agents == ["c@d", "a@b"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"openid,kf_acount\no1,a@b\n", "'kf_acount': unknown column; did you mean kf_account?"),
        (b"openid,OpenID\n", "'OpenID': unknown column; did you mean openid?"),
        (b"openid,kf_account,openid\n", "openid: the column stands there twice"),
        (b"kf_account\na@b\n", "openid: the column is missing"),
        (b"openid\no1\n", "kf_account: the column is missing"),
        (b"o1\no2\n", "no header; .*--to KF_ACCOUNT"),
        (b"o1,a@b\n", "no header"),
        (b'[{"openid": "o1"}]', "one object a line"),
        ("openid\no1\n".encode("utf-16"), "UTF-16"),
        (b"open\0id\n", "line 1: holds a NUL byte"),
        (b'openid,"kf_account\n', "line 1: not CSV"),
        (b"\n\nopenid\no1\n", "line 3: kf_account: the column is missing"),
        (b"\n[", "line 2: a JSON array"),
        (b"openid," + b"x" * 60_000, r"line 1: 'x{37}\.\.\.': unknown column; the columns are"),
        (b"\xef\xbb\xbf" + b"o" * lines.MAX_LINE + b"\no2", "line 1: longer than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_says_why(content: bytes, why: str) -> None:
    with pytest.raises(files.UnreadableFile, match=why):
        rows(content)


def test_a_bad_row_is_told_by_line_and_the_others_are_read() -> None:
    content = (
        b"openid,kf_account\n"
        b"o1,a@b,extra\n"
        b'o2,"a@b\n'
        b"o3\n"
        b"o\0,a@b\n" + b"o" * (lines.MAX_LINE + 10) + b",a@b\n"
        b"o\xff\xff,a@b\n"
        b"o9,a@b\n"
    )
    found = rows(content)
    assert [number for number, _ in found] == [2, 3, 4, 5, 6, 7, 8]
    assert found[0][1] == "3 cells, and the header has 2"
    assert str(found[1][1]).startswith("not CSV: ")
    assert found[2][1] == "1 cells, and the header has 2"
    assert found[3][1] == "holds a NUL byte"
    assert found[4][1] == f"longer than {lines.MAX_LINE} bytes"
    assert found[5][1] == "is not UTF-8, nor GB18030, at byte 2"
    assert found[6][1] == {"openid": "o9", "kf_account": "a@b"}


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("damaged", [b"o1,\xff\xff@b", b"o1,\x81\x40\0@b"])
def test_a_damaged_row_does_not_decide_how_the_others_are_read(
    start: bytes, damaged: bytes
) -> None:
    content = start + b"openid,kf_account\n" + damaged + b"\n" + "o2,客服一@b\n".encode()
    assert rows(content)[1] == (3, {"openid": "o2", "kf_account": "客服一@b"})


def test_a_file_with_a_bom_is_utf_8_whatever_its_first_odd_row_looks_like() -> None:
    content = b"\xef\xbb\xbfopenid,kf_account\no1,\xa3\xa3@b\n" + "o2,客服一@b\n".encode()
    assert rows(content) == [
        (2, "is not UTF-8 at byte 4"),
        (3, {"openid": "o2", "kf_account": "客服一@b"}),
    ]


def test_a_cell_may_hold_json_and_delimiters() -> None:
    metadata = json.dumps({"n": 1, "s": "a,b"})
    content = f'openid,kf_account,metadata\no1,a@b,"{metadata.replace(chr(34), chr(34) * 2)}"\n'
    assert rows(content.encode())[0][1] == {
        "openid": "o1",
        "kf_account": "a@b",
        "metadata": metadata,
    }


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"   \n"])
def test_an_empty_file_has_no_rows(content: bytes) -> None:
    assert rows(content) == []


def test_the_rows_come_while_the_file_is_still_being_read() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> bytes:
            return b"o1\n"

    stream = files.read(Endless(), kf_account="a@b")  # type: ignore[arg-type]
    assert [next(stream).line_number for _ in range(3)] == [1, 2, 3]


def test_positions_count_every_byte_up_to_the_end_of_a_row() -> None:
    content = b"openid\no1\n\n" + b"x" * (lines.MAX_LINE * 2) + b"\no2"
    positions = [row.position for row in files.read(io.BytesIO(content), kf_account="a@b")]
    assert positions == [10, len(content) - 2, len(content)]

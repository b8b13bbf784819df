"""Takes a stream of bytes and hands on numbered lines of text, or what is wrong with a line.

UTF-8 (with or without BOM) or GB18030, of which GBK is a part: a BOM decides, else the first line
that is not plain ASCII and can be read as one of them. In neither is a line feed part of a
character, so lines are split, then decoded.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

#: Longest line, in bytes; metadata has at most 4 KiB.
MAX_LINE = 64 * 1024

_WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class UnreadableFile(ValueError):
    """The file as a whole cannot be read: the text says why, and the mend."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line without its end; `error` says what is wrong with it, in place of `text`."""

    number: int
    text: str = ""
    error: str | None = None
    #: Bytes of the stream up to the end of this line.
    position: int


def read(stream: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank; memory does not grow with the stream."""
    encoding: str | None = None
    number = position = 0
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        position += len(raw)
        is_whole = len(raw) <= MAX_LINE or raw.endswith(b"\n")
        if number == 1 and (rest := _without_bom(raw)) != raw:
            raw, encoding = rest, "utf-8"
        if not is_whole:
            position += _skip_line(stream)
            yield Line(number=number, error=f"longer than {MAX_LINE} bytes", position=position)
            continue
        if encoding is None and not raw.isascii() and b"\0" not in raw:
            encoding = _encoding_of(raw)
        line = _decode(raw, encoding, number, position)
        if line.error or line.text.strip():
            yield line


def _decode(raw: bytes, encoding: str | None, number: int, position: int) -> Line:
    if b"\0" in raw:
        return Line(number=number, error="holds a NUL byte", position=position)
    try:
        text = raw.decode(encoding or "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        name = encoding.upper() if encoding else "UTF-8, nor GB18030,"
        why = f"is not {name} at byte {error.start + 1}"
        return Line(number=number, error=why, position=position)
    return Line(number=number, text=text, position=position)


def _encoding_of(raw: bytes) -> str | None:
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            raw.decode(encoding)
            return encoding
    return None


def _without_bom(raw: bytes) -> bytes:
    if raw.startswith(_WIDE_BOMS):
        raise UnreadableFile("the file is UTF-16 or UTF-32; save it as UTF-8")
    return raw.removeprefix(codecs.BOM_UTF8)


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while raw := stream.readline(MAX_LINE):
        skipped += len(raw)
        if raw.endswith(b"\n"):
            break
    return skipped

"""WeChat's replies by chance: an answer, or an error of the tree that tells no more than is known.

The bytes come through the whole transport from a socket that plays them in pieces; nothing else of
the connection is left out.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import itertools
import json
import math
import os
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz import profile, values
from worker import errors
from worker.wechat import agents, connection, kfsession, reply, token_calls, tokens, transport

TOKEN = "PLANTED-token"
OK = b'{"errcode":0,"errmsg":"ok"}'


class Sock:
    """A connected socket that plays pieces of a reply, then its end; or then nothing more."""

    def __init__(self, pieces: Iterable[bytes], *, hangs: bool = False) -> None:
        self.pieces, self.hangs = iter(pieces), hangs
        self.rest = b""
        self.readable, self.writable = os.pipe()
        self.is_closed = self.has_sent = False
        os.write(self.writable, b"x")

    def fileno(self) -> int:
        return self.readable

    def settimeout(self, _seconds: float | None) -> None:
        """Nothing here ever blocks."""

    def send(self, data: Any) -> int:
        self.has_sent = True
        return len(data)

    def recv(self, size: int) -> bytes:
        self.rest = self.rest or next((piece for piece in self.pieces if piece), b"")
        if not self.rest and self.hangs:
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(self.readable, False)
                os.read(self.readable, 1)  # poll finds nothing from now on
            raise BlockingIOError
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def shutdown(self, _how: int) -> None:
        """The end of a connection, before its close."""

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self.readable)
            os.close(self.writable)


@pytest.fixture(scope="module")
def via() -> Iterator[transport.Transport]:
    """A transport whose next connection is what `play` says."""
    made = transport.Transport("http://127.0.0.1:9", timeout_seconds=5)
    yield made
    made.close()


@contextlib.contextmanager
def playing(
    via: transport.Transport, pieces: Iterable[bytes], *, hangs: bool = False, seconds: float = 5
) -> Iterator[Sock]:
    """While this lasts, WeChat sends this."""
    sock = Sock(pieces, hangs=hangs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.Connection, "_new_conn", lambda _self: sock)
        patch.setattr(via, "timeout_seconds", seconds)
        try:
            yield sock
        finally:
            via.close()  # no example sees another's connection
            sock.close()


def create(via: transport.Transport, sock: Sock) -> str:
    """What became of a create: `ok`, or the name of its error; whatever else is the finding."""
    started_at = time.monotonic()
    failure: errors.WeChatError | None = None
    try:
        kfsession.create(via, TOKEN, kf_account="a@b", openid="o")
    except errors.WeChatError as error:
        failure = error
    assert time.monotonic() - started_at < via.timeout_seconds + 5
    assert isinstance(failure, errors.NeverLeft) == (not sock.has_sent)
    if failure is None:
        return "ok"
    check_error(failure)
    assert "PLANTED" not in f"{failure}{failure.errmsg}{failure.rid}"
    return failure.name


def check_error(error: errors.WeChatError) -> None:
    """Only a code that was read is a refusal, and every text can be shown."""
    assert isinstance(error, errors.NeverLeft | errors.Unsure | errors.Refused)
    assert isinstance(error, errors.Refused) <= (error.errcode is not None)
    assert error.__cause__ is error.__context__ is None
    for text in (str(error), error.errmsg or "", error.rid or ""):
        text.encode()
        assert not text or text.isprintable(), text
        assert len(text) <= 400


# -- heads -----------------------------------------------------------------------------------


NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Content-Encoding",
        b"Connection",
        b"Content-Type",
        b"Date",
        b"Server",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Connection-X",
        b"Content-Length-X",
        b"X",
        b"!#$%&'*+-.^_`|~",
        b"",
        b"a b",
        b"\tx",
        b" Content-Length",
        b"\xff",
        b"From ",
        b"Content\x0bLength",
        b"Trailer",
        b"Upgrade",
        b"Location",
        b"Set-Cookie",
        b"\0",
    ]
)
VALUES = st.sampled_from(
    [
        b"13",
        b"27",
        b"0",
        b"7",
        b"-1",
        b"+13",
        b"1_3",
        b"0x1B",
        b"1e1",
        b"27, 27",
        b"27 ",
        b"27\t",
        b"",
        b"99999999",
        b"9999999",
        b"000027",
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"identity",
        b"gzip",
        b"deflate",
        b"br",
        b"zstd",
        b"x-gzip",
        b"keep-alive",
        b"Keep-Alive",
        b"close",
        b"a\rb",
        b"keep-alive, close",
        b"a\nb",
        b"\x85",
        b"\x1c",
        b"\x0b27",
        b"\xa027",
        b"text/plain",
        b"\0",
        "２７".encode(),
        b"x" * 70_000,
        b"9" * 5000,
        b"27;q=1",
        b'"27"',
        b"timeout=5, max=0",
    ]
)
FIRST = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK"] * 6,
        b"HTTP/1.1 502 Bad Gateway",
        b"HTTP/1.1 200",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 No",
        b"",
        b"HTTP/1.1 304 X",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 X",
        b"HTTP/2 200",
        b"http/1.1 200 O",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1  200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1\t200\tOK",
        b"HTTP/0.9",
        b"HTTP/1.1 200 \xff\x85\x1c",
        b"HTTP/1.1 200\xa0OK",
        b"HTTP/1.10 200 OK",
        b"HTTP/1.1 999 X",
        b"HTTP/1.1 -20 X",
        b"HTTP/1.1 0200 OK",
        b"HTTP/1.1 \xb2\xb0\xb0 OK",
        b"HTTP/1.1 2_0 X",
        b"x" * 70_000,
    ]
)
LENGTH = st.just(b"Content-Length: 27")
HEADER_LINES = st.builds(
    lambda name, colon, value: name + colon + value,
    NAMES,
    st.sampled_from([b": ", b": ", b":", b":  ", b" : ", b"", b":\t"]),
    VALUES,
)
LINE_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r"])
BODIES = st.sampled_from(
    [
        *[OK] * 4,
        b"",
        OK[:13],
        OK + b"HTTP/1.1 200 OK\r\n",
        b"<html>502</html>",
        b"1b\r\n" + OK + b"\r\n0\r\n\r\n",
        b"-1\r\n" + OK,
        b"1B;x=y\r\n" + OK + b"\r\n0\r\nX: y\r\n\r\n",
        b"zz\r\n",
        b"0\r\n\r\n",
        b"fffffffffff\r\n",
        b"\r\n" * 40,
        gzip.compress(OK),
        zlib.compress(OK),
        gzip.compress(OK)[:-5],
        b"\x1f\x8b\x08\0",
        b'{"errcode":65415}',
        b'{"errcode":40001,"errmsg":"PLANTED-token rid: 1-2"}',
        b"{" * 3000,
    ]
)
#: Most heads hold one good length, so that more than their lengths is tried.
HEADS = st.builds(
    lambda first, lines, ends: b"".join(
        part + end for part, end in zip([first, *lines, b""], itertools.cycle(ends))
    ),
    FIRST,
    st.lists(HEADER_LINES, max_size=3).flatmap(
        lambda few: st.permutations([*few, b"Content-Length: 27"]) | st.just(few)
    ),
    st.just([b"\r\n"]) | st.lists(LINE_ENDS, min_size=1, max_size=6),
)
REPLIES = st.builds(lambda head, body: head + body, HEADS, BODIES)
MUTATED = st.builds(
    lambda whole, at, data, how: {
        "put": whole[: at % (len(whole) + 1)] + data + whole[at % (len(whole) + 1) :],
        "drop": whole[: at % (len(whole) + 1)] + whole[at % (len(whole) + 1) + len(data) :],
        "cut": whole[: at % (len(whole) + 1)],
        "none": whole,
    }[how],
    REPLIES,
    st.integers(0, 300),
    st.binary(min_size=1, max_size=3)
    | st.sampled_from([b"\r\n", b"\r\n\r\n", b": ", b"\r", b"\n"]),
    st.sampled_from(["put", "drop", "cut", "none"]),
)


class Whole(io.BytesIO):
    """A socket that has received all it ever will, for http.client alone."""

    def makefile(self, _mode: str) -> Whole:
        return self


def pieces_of(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(places)]


@profile.examples(300)
@hypothesis.given(REPLIES | MUTATED)
def test_what_looks_plain_reads_the_same_to_http_client(received: bytes) -> None:
    """Status, length, body, nothing packed, and a connection that stays open."""
    head = connection.PLAIN_HEAD.match(received)
    if head is None:
        return
    told = http.client.HTTPResponse(Whole(received))  # type: ignore[arg-type] # all it needs
    told.begin()
    assert (told.status, told.length) == (int(head["status"]), int(head["length"]))
    assert (told.chunked, told.will_close) == (False, False)
    assert not {"content-encoding", "transfer-encoding"} & {each.lower() for each in told.headers}
    assert len(told.headers.get_all("content-length", [])) == 1
    rest = received[head.end() :]
    length = int(head["length"])
    if len(rest) < length:
        with pytest.raises(http.client.IncompleteRead):
            told.read()
    else:
        assert told.read() == rest[:length]


@profile.examples(75)
@hypothesis.given(st.just(OK) | BODIES, HEADS, st.lists(st.integers(0, 400), max_size=4))
def test_a_reply_in_pieces_is_the_same_reply(
    via: transport.Transport, body: bytes, head: bytes, cuts: list[int]
) -> None:
    """Whichever way it is read, at a glance or by http.client."""
    whole = head + body
    with playing(via, [whole]) as sock:
        at_once = create(via, sock)
    with playing(via, pieces_of(whole, cuts)) as sock:
        in_pieces = create(via, sock)
    assert in_pieces == at_once


@profile.examples(100)
@hypothesis.given(MUTATED | st.binary(max_size=80), st.lists(st.integers(0, 400), max_size=3))
def test_any_bytes_end_in_an_answer_or_in_the_tree(
    via: transport.Transport, whole: bytes, cuts: list[int]
) -> None:
    """Success only where the bytes hold it."""
    with playing(via, pieces_of(whole, cuts)) as sock:
        ended = create(via, sock)
    if ended == "ok":
        assert b"200" in whole
        readable = b'"errcode":0' in whole or b"\x1f\x8b" in whole or b"\x78\x9c" in whole
        assert readable


@profile.examples(8)
@hypothesis.given(MUTATED, st.floats(0.02, 0.08))
def test_a_server_that_falls_silent_is_left_at_the_deadline(
    via: transport.Transport, whole: bytes, seconds: float
) -> None:
    """Wherever it falls silent; what was whole by then counts."""
    with playing(via, [whole], hangs=True, seconds=seconds) as sock:
        create(via, sock)


FOUNTAINS = {
    "the body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 16384),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 4000),
    "a chunk of -1": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"y" * 16384),
    "a chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1" * 16384),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 2000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 2000),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 16384),
    "a first line": (b"HTTP/1.1 200 ", b"y" * 16384),
    "no head": (b"", b"\0" * 16384),
    "continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: ", b"9" * 16384),
    "seven digits": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"z" * 16384),
    "a bomb": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"\0" * 50_000_000),
        b"\0" * 16384,
    ),
    "a bomb in a bomb": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\n\r\n"
        + gzip.compress(gzip.compress(b"\0" * 50_000_000)),
        b"\0" * 16384,
    ),
}


@pytest.mark.parametrize("kind", list(FOUNTAINS))
def test_a_reply_without_end_takes_bounded_memory(via: transport.Transport, kind: str) -> None:
    """And is unsure: the call was sent."""
    start, more = FOUNTAINS[kind]
    tracemalloc.start()
    try:
        with playing(via, itertools.chain([start], itertools.repeat(more)), seconds=1) as sock:
            ended = create(via, sock)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ended in ("lost_reply", "unreadable")
    assert peak < 6 * connection.WIRE_LIMIT, peak


# -- bodies ----------------------------------------------------------------------------------


CODES = (
    st.sampled_from(
        [0, -1, 40001, 65415, 65414, 65413, 45009, 12345, -0.0, 0.0, 65415.0, True, False]
    )
    | st.sampled_from(["0", " 0", "65415", "ok", "-1", "1e3", "", "０", "0x0", "65415\n", "+0"])
    | values.JSON
)
ERRMSGS = (
    st.sampled_from(
        [
            "ok",
            f"invalid {TOKEN} rid: 6528a1b2-0c3d4e5f",
            "a\nb\0c",
            "\ud800",
            "x" * 5000,
            " rid:1-2 rid: 3",
            "https://api/?access_token=PLANTED&x=1 secret=PLANTED",
            "\u2028\u202e",
            "rid: " + "a" * 4000,
        ]
    )
    | values.TEXT
)
OBJECTS = st.dictionaries(values.TEXT, values.JSON, max_size=2)


def replied(value: Any) -> bytes:
    body = value if isinstance(value, bytes) else values.as_json(value)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def rows(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Rows of a list, most of them of the right shape."""
    row = st.fixed_dictionaries({}, optional=fields)
    return st.lists(row | row | row | values.JSON, max_size=5) | values.JSON


def is_zero(code: Any) -> bool:
    """Whether WeChat said: done."""
    return not isinstance(code, bool) and str(code).strip() in ("0", "0.0", "-0.0", "-0")


@profile.examples(75)
@hypothesis.given(
    st.builds(
        lambda code, errmsg, more: {**more, "errcode": code, "errmsg": errmsg},
        CODES,
        ERRMSGS,
        OBJECTS,
    )
    | values.JSON
    | values.DEEP
    | st.binary(max_size=50)
)
def test_a_create_is_done_only_where_wechat_says_zero(via: transport.Transport, value: Any) -> None:
    """A code that refuses refuses; whatever cannot be read is unsure."""
    with playing(via, [replied(value)]) as sock:
        ended = create(via, sock)
    code = value.get("errcode", "none") if isinstance(value, dict) else "none"
    if ended == "ok":
        assert is_zero(code) or isinstance(value, bytes)
    elif code in ("none", True, False, None) and not isinstance(code, int):
        assert ended in ("unreadable", "lost_reply")
    elif type(code) is int and code == 65415:
        assert ended == "offline" or len(values.as_json(value)) > reply.SIZE_LIMIT


NAMES_OF_AGENTS = st.sampled_from(["a@b", "客服@号", "", "a@b\n", "\0", "\ud800"]) | values.JSON
NUMBERS = (
    st.sampled_from([0, 1, 3, "1", "", "x", -1, 1.5, 2**70, "9" * 30, "٣", True]) | values.JSON
)


def asked(via: transport.Transport, value: Any, call: Any) -> Any:
    """The answer of `call` to this reply, or the class of its error."""
    with playing(via, [replied(value)]):
        try:
            return call()
        except errors.WeChatError as error:
            check_error(error)
            return type(error)


def with_code(field: str, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A reply with this field, with or without a code."""
    made = st.fixed_dictionaries({field: strategy}, optional={"errcode": CODES, "errmsg": ERRMSGS})
    return made | made | OBJECTS | values.JSON


@profile.examples(80)
@hypothesis.given(
    with_code(
        "kf_online_list",
        rows({"kf_account": NAMES_OF_AGENTS, "status": NUMBERS, "accepted_case": NUMBERS}),
    )
)
def test_any_list_of_online_agents_is_typed_or_an_error(
    via: transport.Transport, value: Any
) -> None:
    """Names that can be shown, numbers that can be compared."""
    found = asked(via, value, lambda: agents.online(via, TOKEN))
    if isinstance(found, type):
        return
    assert isinstance(found, tuple)
    for agent in found:
        assert agent.kf_account.isprintable()
        assert agent.kf_account
        assert type(agent.status) is type(agent.accepted_case) is int
        assert agent.status > 0
        assert 0 <= agent.accepted_case < 10**15


@profile.examples(50)
@hypothesis.given(with_code("kf_list", rows({"kf_account": NAMES_OF_AGENTS, "kf_wx": values.JSON})))
def test_any_list_of_agents_is_typed_or_an_error(via: transport.Transport, value: Any) -> None:
    """Who there is, and who is bound."""
    found = asked(via, value, lambda: agents.everybody(via, TOKEN))
    if not isinstance(found, type):
        assert all(name and name.isprintable() for name in found)
        assert all(type(is_bound) is bool for is_bound in found.values())


@profile.examples(50)
@hypothesis.given(with_code("kf_account", NAMES_OF_AGENTS))
def test_any_session_is_an_agent_nobody_or_an_error(via: transport.Transport, value: Any) -> None:
    """The read that decides a doubt must not guess."""
    found = asked(via, value, lambda: kfsession.serving(via, TOKEN, openid="o"))
    if isinstance(found, type):
        return
    assert found is None or (found and found.isprintable())
    given = value.get("kf_account")
    assert found == (given or None)
    assert is_zero(value.get("errcode", 0)) or str(value["errcode"]).strip().startswith("65413")


@profile.examples(50)
@hypothesis.given(
    with_code(
        "waitcaselist",
        rows({"openid": values.TEXT | values.JSON, "latest_time": NUMBERS, "createtime": NUMBERS}),
    )
)
def test_any_queue_of_fans_is_typed_or_an_error(via: transport.Transport, value: Any) -> None:
    """As many as there are rows with a name, at least."""
    found = asked(via, value, lambda: kfsession.waiting(via, TOKEN))
    if not isinstance(found, type):
        assert found.count >= len(found.fans)
        assert all(isinstance(fan.openid, str) and fan.openid for fan in found.fans)
        assert all(0 <= fan.waiting_since < 10**15 for fan in found.fans)


TOKENS = st.sampled_from(["t", "x" * 512, "x" * 2049, "", "a b", "a\nb", "é", "\0"]) | values.JSON
TERMS = st.sampled_from([7200, "7200", 0, -1, 1.5, "", 10**6, True, None, math.inf]) | values.JSON


@profile.examples(80)
@hypothesis.given(
    st.fixed_dictionaries(
        {"access_token": TOKENS},
        optional={"expires_in": TERMS, "errcode": CODES, "errmsg": ERRMSGS},
    )
    | values.JSON,
    st.booleans(),
)
def test_any_grant_is_a_token_with_its_term_or_an_error(
    via: transport.Transport, value: Any, is_url: bool
) -> None:
    """And no error quotes what may be one."""
    call: Any = token_calls.UrlCall(via)
    if not is_url:
        secret = token_calls.pydantic.SecretStr("PLANTED-secret")
        call = token_calls.StableCall(via, appid="wx", secret=secret)
    found = asked(via, value, lambda: call.fetch(5.0))
    if isinstance(found, type):
        assert issubclass(found, errors.Unsure | errors.Refused)
        return
    assert tokens.is_token(found.token)
    assert found.token not in repr(found) or len(found.token) < 20
    assert type(found.expires_in_seconds) is int
    assert 0 < found.expires_in_seconds < 10**6
    json.dumps(found.expires_in_seconds)

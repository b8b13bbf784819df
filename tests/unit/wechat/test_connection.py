"""connection: what it reads at a glance, http.client reads the same."""

import http.client
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from worker.wechat import connection

BODY = b'{"errcode":0}'
FIRST = [b"HTTP/1.1 200 OK", b"HTTP/1.1 502 Bad Gateway", b"HTTP/1.1 200", b"HTTP/1.0 200 OK"]
FIRST += [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 X", b"HTTP/1.1 100 Continue", b"HTTP/2 200"]
FIRST += [b"http/1.1 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1  200 OK", b" HTTP/1.1 200 OK", b""]
LINES = [b"Content-Length: 13", b"content-length:13", b"Content-Length: 13 ", b"Content-Length: 7"]
LINES += [b"Content-Length: 13, 13", b"Content-Length: -13", b"Content-Length: +13", b"X: content"]
LINES += [b"Content-Length : 13", b" Content-Length: 13", b"Content-Length: 0x13"]
LINES += [b"Content-Length: 1_3", b"Content-Length:"]
LINES += [b"Transfer-Encoding: chunked", b"transfer-encoding: identity", b"Content-Encoding: gzip"]
LINES += [b"Connection: close", b"Connection: keep-alive", b"connection: keep-alive, close"]
LINES += [b"Connection: ", b"Date: Sat, 01 Jun 2024 10:00:00 GMT", b"no colon", b": no name", b""]
LINES += [b"X: a\rContent-Length: 99", b"X: a\nContent-Length: 99", b"X: \xff\x00"]
LINES += [b"\tfolded", b"a b: c"]
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n"]
#: Most heads break no rule at the ends of their lines, so that other rules are tried too.
USUAL = [b"\r\n"] * 7


class Sock(io.BytesIO):
    """A socket that has received all it ever will."""

    def makefile(self, _mode: str) -> "Sock":
        return self


@hypothesis.settings(max_examples=500, deadline=None, database=None)
@hypothesis.given(
    st.sampled_from([*FIRST[:3], *FIRST]),
    st.lists(st.sampled_from(LINES), max_size=3)
    .map(lambda few: [*few, LINES[0]])
    .flatmap(st.permutations),
    st.just(USUAL) | st.lists(st.sampled_from(ENDS), min_size=7, max_size=7),
)
@hypothesis.example(FIRST[0], LINES[:1], USUAL)
def test_a_head_that_looks_plain_means_to_http_client_what_it_means_here(
    first: bytes, lines: list[bytes], ends: list[bytes]
) -> None:
    """One length, nothing packed, and a connection that stays open."""
    words = [first, *lines, b""]
    received = b"".join(word + end for word, end in zip(words, ends, strict=False)) + BODY
    head = connection.PLAIN_HEAD.match(received)
    if head is None:
        return
    reply = http.client.HTTPResponse(Sock(received))  # type: ignore[arg-type] # all it needs
    reply.begin()
    assert (reply.status, reply.length) == (int(head["status"]), int(head["length"]))
    assert (reply.chunked, reply.will_close) == (False, False)
    assert "content-encoding" not in reply.headers
    assert len(reply.headers.get_all("content-length", [])) == 1
    assert reply.read() == received[head.end() :][: int(head["length"])]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: application/json; encoding="
        b"utf-8\r\nDate: Sat, 01 Jun 2024 10:00:00 GMT\r\nContent-Length: 13\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nserver: nginx\r\ncontent-length: 13\r\n\r\n",
    ],
)
def test_what_wechat_sends_is_plain(head: bytes) -> None:
    """Else every call would go the long way."""
    found = connection.PLAIN_HEAD.match(head + BODY)
    assert found is not None
    assert (found["length"], found.end()) == (b"13", len(head))

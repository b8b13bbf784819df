"""The transport against servers that behave as WeChat, and everything between, at times does."""

import concurrent.futures
import contextlib
import gzip
import json
import logging
import pathlib
import socket
import ssl
import struct
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
import trustme

from worker import errors
from worker.wechat import agents, kfsession, transport
from worker.wechat import connection as connections

OK = b'{"errcode":0,"errmsg":"ok"}'
TOKEN = "PLANTED-token/with+odd%characters=&"
#: The deadline of a call that is to run into it, and how far beyond it a call may end.
SHORT, GRACE = 0.4, 1.0


class Connection:
    """One accepted connection, as a server sees it."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock, self.over = sock, over
        self.reader = sock.makefile("rb")

    def read_request(self) -> tuple[str, dict[str, str], bytes]:
        """Request line, headers in lower case, body; raises EOFError when the client is gone."""
        line = self.reader.readline().decode(errors="replace").strip()
        if not line:
            raise EOFError
        headers = {}
        while header := self.reader.readline().decode(errors="replace").strip():
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        return line, headers, self.reader.read(int(headers.get("content-length", 0)))

    def reply(self, body: bytes, *, status: str = "200 OK", extra: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.sock.sendall(head.encode() + body)

    def drip(self, data: bytes) -> None:
        """Send a byte every 50 ms until the client or the test has had enough."""
        for index in range(len(data)):
            self.sock.sendall(data[index : index + 1])
            if self.over.wait(0.05):
                return

    def reset(self) -> None:
        self.reader.close()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Handler = Callable[[Connection], None]


class Server:
    """Runs `handler` once for each connection, in a thread of its own."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None) -> None:
        self.handler, self.context = handler, context
        self.accepted = 0
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.threads: list[threading.Thread] = []
        self.acceptor = threading.Thread(target=self._accept)
        self.acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self.context is not None:
                sock = stack.enter_context(self.context.wrap_socket(sock, server_side=True))
            connection = Connection(sock, self.over)
            stack.callback(connection.reader.close)
            self.handler(connection)

    def close(self) -> None:
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive(), "the client did not let go of its connection"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handler: Handler, context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(handler, context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., transport.Transport]]:
    opened: list[transport.Transport] = []

    def open_one(
        port: int, *, timeout: float = 5.0, scheme: str = "http", **more: str
    ) -> transport.Transport:
        url = f"{scheme}://127.0.0.1:{port}"
        opened.append(transport.Transport(url, timeout_seconds=timeout, **more))
        return opened[-1]

    with contextlib.ExitStack() as stack:
        yield open_one
        for via in opened:
            stack.callback(via.close)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _create(via: transport.Transport) -> None:
    kfsession.create(via, TOKEN, kf_account="客服@b", openid="o")


def _answers(*bodies: bytes, status: str = "200 OK", extra: str = "") -> Handler:
    """A server that answers every request, with the last body for ever."""

    def handle(connection: Connection) -> None:
        left = list(bodies)
        while True:
            connection.read_request()
            body = left.pop(0) if len(left) > 1 else left[0]
            connection.reply(body, status=status, extra=extra)

    return handle


def _assert_clean(error: errors.WeChatError) -> None:
    """Nothing that a log can show of the error holds the token, or the whole URL."""
    shown = "".join(traceback.format_exception(error, chain=True)) + repr(error) + repr(vars(error))
    chain: list[BaseException | None] = [error]
    while (last := chain[-1]) is not None:
        shown += f"{last!r}"
        chain.append(last.__cause__ or last.__context__)
    assert "PLANTED" not in shown
    assert "access_token=" not in shown
    assert error.elapsed_ms is not None


def _failure(via: transport.Transport, kind: type[errors.WeChatError]) -> errors.WeChatError:
    with pytest.raises(kind) as caught:
        _create(via)
    _assert_clean(caught.value)
    return caught.value


# --- what works


def test_a_call_arrives_as_wechat_wants_it(serve, connect) -> None:
    seen = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request())
        connection.reply(OK)

    server = serve(handle)
    _create(connect(server.port))
    line, headers, body = seen[0]
    assert line == (
        "POST /customservice/kfsession/create"
        "?access_token=PLANTED-token%2Fwith%2Bodd%25characters%3D%26 HTTP/1.1"
    )
    assert json.loads(body) == {"kf_account": "客服@b", "openid": "o"}
    assert "客服".encode() in body
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in headers


def test_a_read_carries_its_parameters(serve, connect) -> None:
    seen = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request())
        connection.reply(b'{"kf_account":"a@b","createtime":1}')

    assert kfsession.serving(connect(serve(handle).port), "T", openid="o&x=1") == "a@b"
    assert seen[0][0].split()[1].endswith("getsession?access_token=T&openid=o%26x%3D1")


def test_a_base_url_with_a_query_keeps_it(serve) -> None:
    seen = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request()[0])
        connection.reply(b'{"access_token":"T","expires_in":60}')

    port = serve(handle).port
    via = transport.Transport(f"http://127.0.0.1:{port}/token?key=k", timeout_seconds=5)
    via.get("", token=None, params={}, expects=("access_token",))
    via.close()
    assert seen == ["GET /token?key=k HTTP/1.1"]


def test_calls_of_one_thread_share_a_connection(serve, connect) -> None:
    server = serve(_answers(OK))
    via = connect(server.port)
    for _ in range(20):
        _create(via)
    assert server.accepted == 1


def test_an_error_reply_keeps_the_connection(serve, connect) -> None:
    server = serve(_answers(b'{"errcode":65415}', b"<html>", OK))
    via = connect(server.port)
    _failure(via, errors.AgentOffline)
    _failure(via, errors.UnreadableReply)
    _create(via)
    assert server.accepted == 1


def test_64_threads_call_at_once(serve, connect) -> None:
    server = serve(_answers(OK))
    via = connect(server.port)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda _: _create(via), range(1000)))
    assert server.accepted <= 64


def test_a_reply_that_ends_with_the_connection_is_whole(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + OK)

    via = connect(serve(handle).port)
    _create(via)
    _create(via)


@pytest.mark.parametrize("extra", ["Connection: close\r\n", "connection: Keep-Alive, close\r\n"])
def test_a_connection_whose_end_is_announced_is_not_used_again(serve, connect, extra) -> None:
    server = serve(_answers(OK, extra=extra))
    via = connect(server.port)
    _create(via)
    _create(via)
    assert server.accepted == 2


def test_a_connection_with_more_on_it_than_the_reply_is_not_used_again(serve, connect) -> None:
    """What is left over would be taken for the reply to the next call."""

    def handle(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.sock.sendall(HEAD + OK + HEAD + b'{"errcode":40003,"errmsg":""}'[:27])

    server = serve(handle)
    via = connect(server.port)
    for _ in range(3):
        _create(via)
    assert server.accepted == 3


def test_a_reply_may_come_in_any_two_pieces(serve, connect) -> None:
    whole = HEAD + OK

    def handle(connection: Connection) -> None:
        for cut in range(1, len(whole)):
            connection.read_request()
            connection.sock.sendall(whole[:cut])
            connection.over.wait(0.005)
            connection.sock.sendall(whole[cut:])

    server = serve(handle)
    via = connect(server.port)
    for _ in range(1, len(whole)):
        _create(via)
    assert server.accepted == 1


def test_a_call_larger_than_the_network_takes_at_once_arrives_whole(serve, connect) -> None:
    seen = []

    def handle(connection: Connection) -> None:
        connection.over.wait(0.1)
        seen.append(connection.read_request()[2])
        connection.reply(OK)

    body = b'"' + b"x" * 20_000_000 + b'"'
    connect(serve(handle).port).post("/x", token="T", body=body)
    assert seen == [body]


def test_a_call_that_nobody_takes_does_not_hold_a_slot(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.over.wait(5)

    via = connect(serve(handle).port, timeout=SHORT)
    started_at = time.monotonic()
    with pytest.raises(errors.LostReply) as caught:
        via.post("/x", token="T", body=b"x" * 20_000_000)
    _assert_on_time(caught.value, started_at)


def test_chunks_are_put_together(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in OK:
            connection.sock.sendall(b"1\r\n%c\r\n" % byte)
        connection.sock.sendall(b"0\r\n\r\n")

    _create(connect(serve(handle).port))


def test_a_compressed_reply_is_read_though_nobody_asked_for_it(serve, connect) -> None:
    body = gzip.compress(OK)
    _create(connect(serve(_answers(body, extra="Content-Encoding: gzip\r\n")).port))


def test_a_large_list_fits(serve, connect) -> None:
    rows = [{"kf_account": f"a{n}@x", "status": 1, "accepted_case": n} for n in range(500)]
    body = json.dumps({"kf_online_list": rows}).encode()
    assert len(agents.online(connect(serve(_answers(body)).port), "T")) == 500


# --- the total deadline


def _assert_on_time(error: errors.WeChatError, started_at: float) -> None:
    assert time.monotonic() - started_at < SHORT + GRACE
    assert SHORT * 1000 - 10 <= (error.elapsed_ms or 0) < (SHORT + GRACE) * 1000


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n"


@pytest.mark.parametrize(
    ("whole", "dripped"),
    [
        (b"", HEAD + OK),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 99),
        (HEAD, OK),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 999),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n" * 99),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 999),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 999\r\n\r\n", b"x" * 999),
    ],
    ids=["status", "continue", "headers", "body", "endless", "chunks", "chunk-size", "502"],
)
def test_a_server_that_drips_does_not_hold_a_slot(serve, connect, whole, dripped) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(whole)
        connection.drip(dripped)

    via = connect(serve(handle).port, timeout=SHORT)
    started_at = time.monotonic()
    error = _failure(via, errors.LostReply)
    _assert_on_time(error, started_at)
    assert "time is up" in str(error)


def test_a_server_that_hangs_does_not_hold_a_slot(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.over.wait(5)

    via = connect(serve(handle).port, timeout=SHORT)
    started_at = time.monotonic()
    _assert_on_time(_failure(via, errors.LostReply), started_at)


@pytest.mark.parametrize("moment", ["before the wait", "in the wait"])
def test_a_reply_that_came_while_the_worker_stood_still_is_taken(
    serve, connect, monkeypatch, moment
) -> None:
    """However late it looks: a process that is stopped tells nothing of whether WeChat answers."""
    wait = connections._poll

    def stand_still_in(sock: socket.socket, event: int, seconds: float) -> bool:
        time.sleep(2 * SHORT)
        return wait(sock, event, seconds)

    def stand_still_before(self: connections.Connection, data: bytes) -> None:
        self.sock.sendall(data)
        time.sleep(2 * SHORT)

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.reply(OK)

    via = connect(serve(handle).port, timeout=SHORT)
    if moment == "in the wait":
        monkeypatch.setattr(connections, "_poll", stand_still_in)
    else:
        monkeypatch.setattr(connections.Connection, "send", stand_still_before)
    _create(via)


def test_a_late_reply_is_not_taken_for_the_next_calls(serve, connect) -> None:
    released = threading.Event()

    def handle(connection: Connection) -> None:
        while True:
            line, _, _ = connection.read_request()
            if "LATE" in line:
                released.wait(5)
                connection.reply(b'{"errcode":65401}')
            else:
                connection.reply(OK)

    via = connect(serve(handle).port, timeout=SHORT)
    with pytest.raises(errors.LostReply):
        kfsession.create(via, "LATE", kf_account="a@b", openid="o")
    released.set()
    for _ in range(5):
        _create(via)


def test_one_call_can_have_less_time_than_the_rest(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.over.wait(5)

    via = connect(serve(handle).port, timeout=5)
    started_at = time.monotonic()
    with pytest.raises(errors.LostReply) as caught:
        via.post("/x", token="T", body={}, timeout_seconds=SHORT)
    _assert_on_time(caught.value, started_at)


def test_64_dripped_calls_end_together(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.drip(HEAD)

    via = connect(serve(handle).port, timeout=SHORT)
    started_at = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        kinds = {type(e) for e in pool.map(lambda _: _failure(via, errors.LostReply), range(64))}
    assert kinds == {errors.LostReply}
    assert time.monotonic() - started_at < SHORT + 2 * GRACE


# --- it never left


def test_a_refused_connection_never_left(connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in str(_failure(connect(port), errors.NeverLeft))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "x..y"])
def test_a_name_that_does_not_resolve_never_left(host: str) -> None:
    via = transport.Transport(f"https://{host}", timeout_seconds=5)
    _failure(via, errors.NeverLeft)
    via.close()


def test_a_host_that_does_not_answer_never_left_and_its_addresses_share_the_time(
    connect, monkeypatch
) -> None:
    """A listener with a full backlog drops what knocks, as a black hole does."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        found = socket.getaddrinfo(*listener.getsockname(), 0, socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 4)
        started_at = time.monotonic()
        via = connect(listener.getsockname()[1], timeout=SHORT)
        _assert_on_time(_failure(via, errors.NeverLeft), started_at)


def test_the_next_address_is_tried(serve, connect, monkeypatch) -> None:
    server = serve(_answers(OK))
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = gone.getsockname()
    addresses = [dead, ("127.0.0.1", server.port)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    _create(connect(server.port))


def test_a_call_whose_name_lookup_took_all_the_time_never_left(serve, connect, monkeypatch) -> None:
    server, lookup = serve(_answers(OK)), socket.getaddrinfo

    def slow(*args, **options):
        threading.Event().wait(SHORT)
        return lookup(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    _failure(connect(server.port, timeout=SHORT), errors.NeverLeft)
    assert server.accepted == 0


@pytest.mark.parametrize("url", ["*.example", "", "ftp://h", "https://", "https://*.x?key=PLANTED"])
def test_an_address_that_is_none_never_left(url: str) -> None:
    via = transport.Transport(url, timeout_seconds=5)
    _failure(via, errors.NeverLeft)
    via.close()


# --- TLS and proxies


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: pathlib.Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def _server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_trusted_certificate_is_accepted_and_its_connection_kept(
    serve, connect, authority, trusted
) -> None:
    server = serve(_answers(OK), _server_context(authority, "127.0.0.1"))
    via = connect(server.port, scheme="https", ca_file=trusted)
    for _ in range(5):
        _create(via)
    assert server.accepted == 1


def test_an_unknown_authority_never_left(serve, connect, authority) -> None:
    server = serve(_answers(OK), _server_context(authority, "127.0.0.1"))
    error = _failure(connect(server.port, scheme="https"), errors.NeverLeft)
    assert "certificate refused" in str(error)


def test_a_certificate_of_another_host_never_left(serve, connect, authority, trusted) -> None:
    server = serve(_answers(OK), _server_context(authority, "evil.example"))
    via = connect(server.port, scheme="https", ca_file=trusted)
    assert "certificate refused" in str(_failure(via, errors.NeverLeft))


def test_a_server_without_tls_never_left(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.sock.recv(1)
        connection.reply(b"", status="400 Bad Request")

    _failure(connect(serve(handle).port, scheme="https"), errors.NeverLeft)


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x03\x00\x7a"])
def test_a_handshake_that_hangs_or_drips_never_left(serve, connect, hello) -> None:
    def handle(connection: Connection) -> None:
        connection.sock.recv(1)
        connection.drip(hello + b"\x02" * 99) if hello else connection.over.wait(5)

    via = connect(serve(handle).port, scheme="https", timeout=SHORT)
    started_at = time.monotonic()
    _assert_on_time(_failure(via, errors.NeverLeft), started_at)


def test_a_body_that_drips_over_tls_does_not_hold_a_slot(
    serve, connect, authority, trusted
) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.drip(HEAD + OK)

    server = serve(handle, _server_context(authority, "127.0.0.1"))
    via = connect(server.port, scheme="https", ca_file=trusted, timeout=SHORT)
    started_at = time.monotonic()
    _assert_on_time(_failure(via, errors.LostReply), started_at)


def test_a_record_of_tls_that_drips_does_not_hold_a_slot(
    serve, connect, authority, trusted
) -> None:
    """Nothing can be read of it before its last byte is here."""
    dripping = threading.Event()

    def answer(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.reply(OK)

    def pass_on(connection: Connection) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            there = threading.Thread(target=_pump, args=(connection.sock, far))
            there.start()
            with contextlib.suppress(OSError):
                while data := far.recv(65536):
                    if dripping.is_set():
                        connection.drip(data)
                    connection.sock.sendall(data)
            there.join()

    server = serve(answer, _server_context(authority, "127.0.0.1"))
    via = connect(serve(pass_on).port, scheme="https", ca_file=trusted, timeout=SHORT)
    _create(via)
    dripping.set()
    started_at = time.monotonic()
    _assert_on_time(_failure(via, errors.LostReply), started_at)


def _proxy(verdict: bytes) -> Handler:
    """An HTTP proxy that opens the tunnel asked for, or says why not."""

    def handle(connection: Connection) -> None:
        line, _, _ = connection.read_request()
        connection.sock.sendall(verdict)
        if b" 200 " not in verdict:
            return
        host, _, port = line.split()[1].partition(":")
        with socket.create_connection((host, int(port))) as far:
            pairs = [(connection.sock, far), (far, connection.sock)]
            threads = [threading.Thread(target=_pump, args=pair) for pair in pairs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return handle


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_https_proxy_is_used_and_tls_ends_behind_it(
    serve, connect, authority, trusted, monkeypatch
) -> None:
    server = serve(_answers(OK), _server_context(authority, "127.0.0.1"))
    proxy = serve(_proxy(b"HTTP/1.1 200 Connection established\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    via = connect(server.port, scheme="https", ca_file=trusted)
    _create(via)
    _create(via)
    via.close()
    assert (proxy.accepted, server.accepted) == (1, 1)


def test_a_proxy_can_be_talked_to_over_tls(serve, connect, authority, trusted, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", trusted)  # where urllib3 finds whom a proxy may be
    server = serve(_answers(OK), _server_context(authority, "127.0.0.1"))
    proxy = serve(
        _proxy(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        _server_context(authority, "127.0.0.1"),
    )
    monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
    via = connect(server.port, scheme="https", ca_file=trusted)
    _create(via)
    _create(via)
    via.close()
    assert (proxy.accepted, server.accepted) == (1, 1)


def test_a_proxy_that_says_no_never_left(serve, connect, monkeypatch) -> None:
    proxy = serve(_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:PLANTED@127.0.0.1:{proxy.port}")
    assert "407" in str(_failure(connect(1, scheme="https"), errors.NeverLeft))


def test_a_proxy_that_drips_never_left(serve, connect, monkeypatch) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.drip(b"HTTP/1.1 200 Connection established\r\n" + b"X-A: b\r\n" * 99)

    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{serve(handle).port}")
    started_at = time.monotonic()
    via = connect(1, scheme="https", timeout=SHORT)
    _assert_on_time(_failure(via, errors.NeverLeft), started_at)


def test_a_socks_proxy_is_refused_by_name(connect, monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert "SOCKS" in str(_failure(connect(1, scheme="https"), errors.NeverLeft))


def test_a_simulator_on_this_machine_is_called_without_the_proxy(
    serve, connect, monkeypatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    _create(connect(serve(_answers(OK)).port))


def test_netrc_is_not_read(serve, connect, monkeypatch, tmp_path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    seen = []

    def handle(connection: Connection) -> None:
        seen.append(connection.read_request()[1])
        connection.reply(OK)

    _create(connect(serve(handle).port))
    assert "authorization" not in seen[0]


# --- it is unsure


def test_a_reset_before_the_reply_is_unsure(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.reset()

    _failure(connect(serve(handle).port), errors.LostReply)


@pytest.mark.parametrize("part", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nConte", HEAD, HEAD + OK[:20]])
@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_reply_that_breaks_off_is_unsure(serve, connect, part, ending) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(part)
        if ending == "reset":
            connection.reset()

    _failure(connect(serve(handle).port), errors.Unsure)


def test_no_call_is_sent_twice(serve, connect) -> None:
    requests = []

    def handle(connection: Connection) -> None:
        requests.append(connection.read_request())

    server = serve(handle)
    _failure(connect(server.port), errors.LostReply)
    assert (len(requests), server.accepted) == (1, 1)


def test_a_kept_connection_that_the_server_closed_is_not_used_again(serve, connect) -> None:
    closed = threading.Semaphore(0)

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.reply(OK)
        connection.sock.shutdown(socket.SHUT_RDWR)
        closed.release()

    server = serve(handle)
    via = connect(server.port)
    for _ in range(10):
        _create(via)
        assert closed.acquire(timeout=5)
    assert server.accepted == 10


def test_a_connection_idle_for_long_is_not_used_again(serve, connect, monkeypatch) -> None:
    server = serve(_answers(OK))
    via = connect(server.port)
    _create(via)
    monkeypatch.setattr("worker.wechat.connection.IDLE_SECONDS", 0.0)
    _create(via)
    assert server.accepted == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"garbage\r\n\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-%s\r\n{}" % (b"9" * 40),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 27\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip,gzip,gzip,gzip,gzip,gzip\r\n\r\n" + OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff\xfe=\x00\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_whatever_a_server_sends_ends_in_the_tree(serve, connect, reply, caplog) -> None:
    caplog.set_level(logging.DEBUG)

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(reply)

    _failure(connect(serve(handle).port), errors.Unsure)
    assert "PLANTED" not in caplog.text


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "404 Not Found"])
def test_html_with_an_error_status_is_unsure(serve, connect, status) -> None:
    handler = _answers(b"<html>oops</html>", status=status, extra="Content-Type: text/html\r\n")
    error = _failure(connect(serve(handler).port), errors.UnreadableReply)
    assert status[:3] in str(error)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 P"])
def test_a_redirect_is_not_followed(serve, connect, status) -> None:
    target = serve(_answers(OK))
    extra = f"Location: http://127.0.0.1:{target.port}/?access_token=PLANTED\r\n"
    server = serve(_answers(OK, status=status, extra=extra))
    _failure(connect(server.port), errors.UnreadableReply)
    assert (server.accepted, target.accepted) == (1, 0)


def test_a_body_of_10_mb_is_not_read(serve, connect) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.reply(b'{"errcode":0,"x":"' + b"x" * 10_000_000 + b'"}')

    server = serve(handle)
    _failure(connect(server.port), errors.UnreadableReply)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_a_compressed_bomb_takes_no_memory(serve, connect, encoding) -> None:
    plain = b'{"errcode":0,"x":"' + b"x" * 20_000_000 + b'"}'
    bomb = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain, 1)
    bomb = gzip.compress(bomb) if "," in encoding else bomb
    del plain
    server = serve(_answers(bomb, extra=f"Content-Encoding: {encoding}\r\n"))
    via = connect(server.port)
    tracemalloc.start()
    try:
        _failure(via, errors.UnreadableReply)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
    ids=["headers", "negative-chunk", "trailers"],
)
def test_a_reply_without_end_takes_no_memory(serve, connect, head) -> None:
    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.sock.sendall(head)
        while not connection.over.is_set():
            connection.sock.sendall(b"X-A: b\r\n" * 8_000)

    via = connect(serve(handle).port)
    tracemalloc.start()
    try:
        error = _failure(via, errors.Unsure)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
    assert (error.elapsed_ms or 0) < 4000, "the size ends it, not the deadline"


# --- secrets


def test_a_reply_that_quotes_the_token_is_redacted(serve, connect) -> None:
    body = json.dumps({"errcode": 40001, "errmsg": f"bad {TOKEN} rid: 1-2"}).encode()
    error = _failure(connect(serve(_answers(body)).port), errors.TokenRejected)
    assert (error.errmsg, error.rid) == ("bad ***", "1-2")


def test_no_level_of_logging_shows_the_token(serve, connect, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    via = connect(serve(_answers(OK)).port)
    _create(via)
    assert caplog.records, "urllib3 logs each call at DEBUG"
    assert "PLANTED" not in caplog.text

"""The simulator over real sockets, as a client meets it."""

from __future__ import annotations

import concurrent.futures
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ops.simulator import replies, running, scenario

TOKEN = "simulator-token"
CREATE = "/customservice/kfsession/create"


@pytest.fixture(scope="module")
def wechat() -> Iterator[running.SimulatorThread]:
    with running.SimulatorThread(scenario.Scenario(drip_seconds=0.01)) as started:
        yield started


def create(
    wechat: running.SimulatorThread, openid: str, *, timeout: float = 5
) -> requests.Response:
    return requests.post(
        f"{wechat.url}{CREATE}?access_token={TOKEN}",
        json={"kf_account": "anna@shop", "openid": openid},
        timeout=timeout,
    )


def opened(wechat: running.SimulatorThread, openid: str) -> int:
    return len(wechat.book(openid=openid)["sessions"])


def test_a_session_is_opened_and_read_back(wechat: running.SimulatorThread) -> None:
    assert create(wechat, "plain").json() == {"errcode": 0, "errmsg": "ok"}
    said = requests.get(
        f"{wechat.url}/customservice/kfsession/getsession",
        params={"access_token": TOKEN, "openid": "plain"},
        timeout=5,
    )
    assert said.json()["kf_account"] == "anna@shop"


def test_a_502_is_html(wechat: running.SimulatorThread) -> None:
    reply = create(wechat, "e502_1")

    assert reply.status_code == 502
    assert "<html>" in reply.text


@pytest.mark.parametrize(("openid", "sessions"), [("cut_before_1", 0), ("cut_after_1", 1)])
def test_a_cut_is_a_reset_and_only_one_kind_opens_the_session(
    wechat: running.SimulatorThread, openid: str, sessions: int
) -> None:
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        create(wechat, openid)

    assert opened(wechat, openid) == sessions
    assert create(wechat, openid).json()["errcode"] == 0
    assert opened(wechat, openid) == 1


def test_a_hanging_call_hangs_until_the_client_leaves(wechat: running.SimulatorThread) -> None:
    with pytest.raises(requests.ReadTimeout):
        create(wechat, "hang_1", timeout=0.1)

    assert opened(wechat, "hang_1") == 0
    assert create(wechat, "hang_1").json()["errcode"] == 0


def test_a_drip_comes_in_the_end_and_fools_a_read_timeout(
    wechat: running.SimulatorThread,
) -> None:
    begun = time.monotonic()
    reply = create(wechat, "drip_1", timeout=0.2)

    assert reply.json() == {"errcode": 0, "errmsg": "ok"}
    assert time.monotonic() - begun > 0.25


def test_a_slow_drip_times_out_and_the_session_is_open() -> None:
    with running.SimulatorThread() as slow:
        with pytest.raises(requests.ConnectionError, match="Read timed out"):
            create(slow, "drip_1", timeout=0.1)
        assert opened(slow, "drip_1") == 1


def test_garbage_and_huge_replies_arrive_as_promised(wechat: running.SimulatorThread) -> None:
    with pytest.raises(requests.exceptions.JSONDecodeError):
        create(wechat, "garbage_1").json()
    assert len(create(wechat, "huge_1").content) > 10_000_000


def asked(openid: str, *, last: bool = False) -> bytes:
    """A create call as it stands on the wire."""
    body = f'{{"kf_account":"anna@shop","openid":"{openid}"}}'.encode()
    close = "Connection: close\r\n" if last else ""
    head = f"POST {CREATE}?access_token={TOKEN} HTTP/1.1\r\nHost: x\r\n{close}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def dial(wechat: running.SimulatorThread) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(wechat.url.rsplit(":", 1)[1])), timeout=5)


def until_the_end(raw: socket.socket) -> tuple[bytes, bool]:
    """What comes, and whether a reset ends it."""
    received = b""
    try:
        while more := raw.recv(65536):
            received += more
    except ConnectionResetError:
        return received, True
    return received, False


GOOD = b'{"errcode":0,"errmsg":"ok"}'
#: What is on the wire after the head, where Content-Length is true and no reset ends it.
SENT = {
    "truncated": GOOD[:13],
    "errcode_text": b'{"errcode":"0","errmsg":"ok"}',
    "errcode_missing": b'{"errmsg":"ok"}',
    "errcode_float": b'{"errcode":0.0,"errmsg":"ok"}',
    "errcode_nan": b'{"errcode":NaN,"errmsg":"ok"}',
    "html_200": replies.HTML_200,
    "lied_502": replies.HTML_502,
    "drip_head": GOOD,
    "cut_idle": GOOD,
}


@pytest.mark.parametrize("name", SENT)
def test_a_bent_body_comes_whole_and_the_session_is_open(
    wechat: running.SimulatorThread, name: str
) -> None:
    with dial(wechat) as raw:
        raw.sendall(asked(f"{name}_1", last=True))
        received, is_reset = until_the_end(raw)
    head, _, body = received.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 502 " if name == "lied_502" else b"HTTP/1.1 200 OK\r\n")
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert (body, is_reset) == (SENT[name], False)
    assert opened(wechat, f"{name}_1") == 1


def test_a_cut_during_the_reply_comes_after_half_of_the_body(
    wechat: running.SimulatorThread,
) -> None:
    with dial(wechat) as raw:
        raw.sendall(asked("cut_during_1"))
        received, is_reset = until_the_end(raw)

    assert received.endswith(b"\r\n\r\n" + GOOD[:13])
    assert f"Content-Length: {len(GOOD)}\r\n".encode() in received
    assert is_reset
    assert opened(wechat, "cut_during_1") == 1


def test_a_short_reply_ends_cleanly_before_its_length(wechat: running.SimulatorThread) -> None:
    with dial(wechat) as raw:
        raw.sendall(asked("short_1"))
        received, is_reset = until_the_end(raw)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        create(wechat, "short_2")

    assert received.endswith(b"\r\n\r\n" + GOOD)
    assert f"Content-Length: {len(GOOD) + 16}\r\n".encode() in received
    assert not is_reset
    assert opened(wechat, "short_1") == 1


def test_a_cut_idle_connection_takes_the_next_call_and_resets(
    wechat: running.SimulatorThread,
) -> None:
    with dial(wechat) as raw:
        raw.sendall(asked("cut_idle_2"))
        assert raw.recv(65536).endswith(GOOD)
        assert not select.select([raw], [], [], 0.05)[0], "nothing tells before the next call"
        raw.sendall(asked("innocent"))
        assert until_the_end(raw) == (b"", True)

    assert opened(wechat, "cut_idle_2") == 1
    assert wechat.book(openid="innocent")["calls"] == []


def test_a_head_drips_a_byte_at_a_time(wechat: running.SimulatorThread) -> None:
    pieces = []
    with dial(wechat) as raw:
        raw.sendall(asked("drip_head_2", last=True))
        while piece := raw.recv(65536):
            pieces.append(piece)
    received = b"".join(pieces)

    assert received.endswith(b"\r\n\r\n" + GOOD)
    assert len(pieces) > 20
    assert len(pieces[0]) < 10


def test_a_bomb_is_small_on_the_wire_and_huge_unpacked(wechat: running.SimulatorThread) -> None:
    reply = create(wechat, "bomb_1")

    assert reply.headers["Content-Encoding"] == "gzip"
    assert int(reply.headers["Content-Length"]) < 20_000
    assert len(reply.content) > 10_000_000
    assert opened(wechat, "bomb_1") == 1


def test_a_redirect_that_is_followed_opens_nothing_and_shows(
    wechat: running.SimulatorThread,
) -> None:
    reply = create(wechat, "redirect_1")  # requests follows it
    first = reply.history[0]

    assert (first.status_code, first.headers["Location"]) == (302, "/redirected")
    assert reply.json()["errcode"] == 40066
    assert wechat.summary()["calls_by_path"]["/redirected"] == 1
    assert opened(wechat, "redirect_1") == 0


def test_65414_can_name_the_asked_agent(wechat: running.SimulatorThread) -> None:
    assert create(wechat, "same_65414_1").json()["errcode"] == 65414
    assert opened(wechat, "same_65414_1") == 1


def test_a_good_token_can_be_called_dead(wechat: running.SimulatorThread) -> None:
    codes = [create(wechat, "expired2_token_1").json()["errcode"] for _ in range(3)]

    assert codes == [40001, 42001, 0]


def test_chances_can_be_set_over_a_socket_for_any_path_and_code() -> None:
    path = "/customservice/kfsession/getsession"
    with running.SimulatorThread() as struck:
        said = requests.post(
            f"{struck.url}/_simulator/faults",
            json={"errcode_nan": 0.5, "errcodes": {"48001": 0.5}, "paths": [path]},
            timeout=5,
        ).json()["faults"]
        asked_for = {"access_token": TOKEN, "openid": "fan"}
        heads = {
            requests.get(f"{struck.url}{path}", params=asked_for, timeout=5).text[:16]
            for _ in range(30)
        }

    assert (said["errcode_nan"], said["busy"], said["errcodes"]) == (0.5, 0, {"48001": 0.5})
    assert heads == {'{"createtime":0,', '{"errcode":48001'}


def test_a_connection_is_kept_for_many_calls(wechat: running.SimulatorThread) -> None:
    with socket.create_connection(("127.0.0.1", int(wechat.url.rsplit(":", 1)[1]))) as raw:
        one = b"GET /_simulator/summary HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /_simulator/names HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        raw.sendall(one + one + last)
        received = b"".join(iter(lambda: raw.recv(65536), b""))

    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b"Connection: close") == 1


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no http at all\r\n\r\n", b"400"),
        (CHUNKED, b"411"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_an_odd_request_is_answered_and_the_connection_closed(
    wechat: running.SimulatorThread, sent: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", int(wechat.url.rsplit(":", 1)[1]))) as raw:
        raw.sendall(sent)
        received = b"".join(iter(lambda: raw.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 " + status + b" ")


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(
    wechat: running.SimulatorThread,
) -> None:
    with socket.create_connection(("127.0.0.1", int(wechat.url.rsplit(":", 1)[1]))) as raw:
        head = b"POST /_simulator/waiting HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        raw.sendall(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"{}")
        received = b"".join(iter(lambda: raw.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 200 OK")


def test_latency_is_kept() -> None:
    with running.SimulatorThread(scenario.Scenario(latency_ms=(60, 60))) as slow:
        begun = time.monotonic()
        create(slow, "fan")
        assert time.monotonic() - begun >= 0.06


def test_a_late_deed_is_done_though_its_client_has_left() -> None:
    chosen = scenario.Scenario(latency_ms=(200, 200), acts_late=True)
    with running.SimulatorThread(chosen) as late:
        with pytest.raises(requests.ReadTimeout):
            create(late, "fan", timeout=0.05)
        assert late.summary()["sessions_opened"] == 0
        until = time.monotonic() + 10
        while not late.summary()["sessions_opened"] and time.monotonic() < until:
            time.sleep(0.01)

        assert late.summary()["sessions_opened"] == 1


def test_many_clients_at_once_get_one_session_a_fan() -> None:
    with running.SimulatorThread() as busy, concurrent.futures.ThreadPoolExecutor(16) as pool:
        codes = list(
            pool.map(lambda at: create(busy, f"fan{at % 50}").json()["errcode"], range(200))
        )
        said = busy.summary()

    assert set(codes) == {0}
    assert said["sessions_opened"] == 50
    assert said["fans_given_to_two_agents"] == []


def test_a_test_can_steer_without_a_socket(wechat: running.SimulatorThread) -> None:
    wechat.tell("agents", kf_account="bert@shop", online=False)
    agents = {row["kf_account"]: row["online"] for row in wechat.summary()["agents"]}

    assert agents["bert@shop"] is False
    with pytest.raises(ValueError, match="did you mean busy"):
        wechat.tell("faults", buzy=1)


def test_a_taken_port_is_said(wechat: running.SimulatorThread) -> None:
    port = int(wechat.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match="in use"):
        running.SimulatorThread(port=port).start()


def start(*options: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.simulator", *options], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    return process, process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_even_with_a_hanging_client(
    number: signal.Signals,
) -> None:
    process, line = start("--port", "0", "--seed", "5")
    with process:
        found = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:(\d+))\n", line)
        assert found is not None
        book = requests.get(f"{found[1]}/_simulator/book", timeout=5).json()
        body = b'{"kf_account":"anna@shop","openid":"hang_1"}'
        with socket.create_connection(("127.0.0.1", int(found[2]))) as raw:
            head = f"POST {CREATE}?access_token={TOKEN} HTTP/1.1\r\nHost: x\r\n"
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            deadline = time.monotonic() + 5
            url = f"{found[1]}/_simulator/summary"
            while not requests.get(url, timeout=5).json()["creates_by_errcode"]:
                assert time.monotonic() < deadline
            os.kill(process.pid, number)
            assert process.wait(5) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert book["seed"] == 5


def test_a_wrong_scenario_is_one_line_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("sed = 3")
    process, line = start("--scenario", str(file))
    with process:
        assert process.wait(5) == 2
    assert line == f"simulator: {file}: unknown key sed; did you mean seed?\n"


def test_a_port_that_is_taken_is_one_line_and_status_3(wechat: running.SimulatorThread) -> None:
    port = wechat.url.rsplit(":", 1)[1]
    process, line = start("--port", port)
    with process:
        assert process.wait(5) == 3
    assert line.startswith(f"simulator: port {port}: ")


def test_the_simulator_imports_nothing_of_the_project() -> None:
    probe = (
        "import sys, ops.simulator.__main__\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('worker', 'producers')])"
    )
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert said.stdout == "[]\n"

"""adapter: the bytes of a request."""

import pytest
import requests

from worker.wechat import adapter


@pytest.fixture(scope="module")
def ways() -> adapter.DeadlineAdapter:
    return adapter.DeadlineAdapter(ca_file=requests.utils.DEFAULT_CA_BUNDLE_PATH)


def _request(ways: adapter.DeadlineAdapter, url: str, query: str, data: bytes | None) -> list[str]:
    request = ways.route(url, headers={"A": "b"}, proxies={}).request(query, data)
    return request.decode().split("\r\n")


def test_a_call_with_data_is_a_post(ways: adapter.DeadlineAdapter) -> None:
    assert _request(ways, "http://h/x", "k=v", b"{}") == [
        "POST /x?k=v HTTP/1.1",
        "Host: h",
        "A: b",
        "Content-Type: application/json",
        "Content-Length: 2",
        "",
        "{}",
    ]


def test_a_call_without_data_is_a_get(ways: adapter.DeadlineAdapter) -> None:
    lines = _request(ways, "http://h/x", "", None)
    assert lines == ["GET /x HTTP/1.1", "Host: h", "A: b", "", ""]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.weixin.qq.com/x", "api.weixin.qq.com"),
        ("https://api.weixin.qq.com:443/x", "api.weixin.qq.com"),
        ("https://API.weixin.qq.com:8443/x", "api.weixin.qq.com:8443"),
        ("http://127.0.0.1:80/x", "127.0.0.1"),
        ("http://127.0.0.1:443/x", "127.0.0.1:443"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        ("http://[::1]/x", "[::1]"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        ("https://user:word@h/x", "h"),
    ],
)
def test_the_host_is_named_with_its_port_where_that_is_not_the_usual_one(
    ways: adapter.DeadlineAdapter, url: str, host: str
) -> None:
    assert f"Host: {host}" in _request(ways, url, "", None)


def test_a_name_and_password_in_the_address_become_a_header(ways: adapter.DeadlineAdapter) -> None:
    lines = _request(ways, "https://user:word@h/x", "", None)
    assert lines[0] == "GET /x HTTP/1.1"
    assert "Authorization: Basic dXNlcjp3b3Jk" in lines


def test_nothing_in_an_address_can_add_a_line(ways: adapter.DeadlineAdapter) -> None:
    lines = _request(ways, "https://h/a b\r\nX: y?ü=\r\n\r\n", "k=v", None)
    assert lines == [
        "GET /a%20b%0D%0AX:%20y?%C3%BC=%0D%0A%0D%0A&k=v HTTP/1.1",
        "Host: h",
        "A: b",
        "",
        "",
    ]

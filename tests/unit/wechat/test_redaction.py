import json
import logging
import re
import sys
import time
import urllib.parse
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies as st

from worker.wechat import redaction


@pytest.mark.parametrize(
    "text",
    [
        "GET /cgi-bin/x?access_token=PLANTED&lang=zh",
        "https://h/x?component_access_token=PLANTED",
        "authorizer_refresh_token: PLANTED",
        "/token?grant_type=client_credential&appid=wx1&secret=PLANTED",
        '{"appsecret": "PLANTED", "x": 1}',
        "{'component_appsecret': 'PLANTED'}",
        r"{\"access_token\":\"PLANTED\"}",
        "redirect=%2Fx%3Faccess_token%3DPLANTED",
        "component_verify_ticket=PLANTED",
        "Access_Token = PLANTED",
        "password=PLANTED",
    ],
)
def test_a_value_named_as_a_secret_is_replaced(text: str) -> None:
    redacted = redaction.redact(text)
    assert "PLANTED" not in redacted
    assert "***" in redacted


def test_a_secret_without_a_name_is_replaced_when_it_is_known() -> None:
    assert redaction.redact("bad PLANTED here", "PLANTED", None, "") == "bad *** here"


AWKWARD = """PLANTEDa1b2c3d4 @/#%"'\\\\é\udcff PLANTEDe5f6g7h8"""


@pytest.mark.parametrize(
    "spell",
    [
        str,
        json.dumps,
        repr,
        ascii,
        lambda text: urllib.parse.quote(text, errors="replace"),
        lambda text: json.dumps(repr({"x": text})),
        lambda text: text[20:],
    ],
)
def test_what_was_learned_is_hidden_in_every_spelling(spell: Callable[[str], str]) -> None:
    """Until it is forgotten."""
    text = f"no name before {spell(AWKWARD)}, none behind"
    assert redaction.redact(text) == text
    redaction.learn(AWKWARD, None, "", "short")
    try:
        assert "PLANTED" not in redaction.redact(text)
        assert redaction.redact("a short text") == "a short text"
    finally:
        redaction.forget(AWKWARD)
    assert redaction.redact(text) == text


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("redis://user:PLANTED%40pw@h:1/0", ["PLANTED%40pw", "PLANTED@pw"]),
        ("sentinel://:PLANTEDpw@h1,h2/main/0", ["PLANTEDpw"]),
        ("https://u:PLANTEDpw@h/t?key=PLANTED%2Fquery", ["PLANTED/query", "PLANTED%2Fquery"]),
        ("redis://h/0?ssl_cert_reqs=required", []),
    ],
)
def test_of_a_url_what_proves_who_asks_is_learned(url: str, hidden: list[str]) -> None:
    redaction.learn_password(url)
    if url.startswith("https"):
        redaction.learn_query(url)
    try:
        assert [redaction.redact(f"<{each}>") for each in hidden] == ["<***>"] * len(hidden)
        assert redaction.redact("required of user at h:1") == "required of user at h:1"
    finally:
        redaction.forget(*list(redaction._learned))


def test_a_login_in_a_url_is_hidden() -> None:
    """Of a proxy's, too, which nobody has learned."""
    text = "via http://user:PLANTED@proxy:3128, for anna@shop"
    assert redaction.redact(text) == "via http://***@proxy:3128, for anna@shop"


def test_an_endless_text_is_cleaned_in_no_time() -> None:
    """One reply must not hold up all slots: nothing in it is gone through twice."""
    text = "://" + ":" * 500_000 + " @ " + "a:" * 100_000
    started = time.monotonic()
    assert len(redaction.clean(text)) == redaction.TEXT_LIMIT
    assert time.monotonic() - started < 5, "quadratic it takes most of an hour"


def test_plain_words_about_tokens_stay() -> None:
    text = "invalid credential, access_token is invalid or not latest"
    assert redaction.redact(text) == text


#: The pattern without any haste: each name in full, looked for in every text.
PATIENT = re.compile(
    r"""(?P<name>[\w-]*(?:token|secret|ticket|password))
        (?P<between>\\?["']?\s*(?:[=:]|%3[Dd])\s*\\?["']?)
        (?P<value>[^\s"'&,;<>(){}\[\]\\]+)""",
    re.IGNORECASE | re.VERBOSE,
)
NAMES = ("token", "secret", "ticket", "password")
#: `ſ` is an s, `K` (Kelvin's) a k, `ı` and `İ` are an i to a search that ignores case.
PIECES = [*NAMES, "TOKEN", "tOkEn", "\u017fecret", "to\u212aen", "t\u0131cket", "T\u0130CKET"]
PIECES += ["access_", "-", "_", "app", "=", ":", "%3D", "%3d", "==", "\\", '"', "'", "&", ",", "("]
PIECES += ["x", "1", "key", "秘密", "…", " ", "\n"]


@hypothesis.settings(max_examples=500, deadline=None, database=None)
@hypothesis.given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_haste_lets_no_secret_slip_through(pieces: list[str]) -> None:
    """Names are looked for only where a cheap test says that there may be one."""
    text = "".join(pieces)
    assert redaction.redact(text) == PATIENT.sub(r"\g<name>\g<between>***", text)


def test_every_letter_that_passes_for_one_of_a_name_is_suspected() -> None:
    """All of Unicode is tried."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    for letter in sorted(set("".join(NAMES))):
        for other in re.findall(letter, everything, re.IGNORECASE):
            for name in NAMES:
                assert redaction.may_name_secret(name.replace(letter, other))


def test_a_clean_text_is_one_short_printable_line() -> None:
    text = redaction.clean("a\x00b\r\n\tc\ud800 " + "x" * 1000)
    assert text.startswith("ab c xxx")
    assert len(text) == redaction.TEXT_LIMIT
    assert text.encode()


def test_urllib3_cannot_log_a_token_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    redaction.guard_logs()
    redaction.guard_logs()
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).debug('"%s %s" %s', "GET", "/x?access_token=PLANTED", 200)
    assert caplog.messages == ['"GET /x?***" 200'] * 3

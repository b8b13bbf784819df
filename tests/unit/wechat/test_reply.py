import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import errors
from worker.wechat import reply


def _parse(body: bytes | str, *, status: int = 200, expects: str = "errcode") -> dict[str, Any]:
    data = body.encode() if isinstance(body, str) else body
    return reply.parse(status, data, expects=(expects,), token="PLANTED")


@pytest.mark.parametrize(
    "body",
    [
        '{"errcode":0,"errmsg":"ok"}',
        '{"errcode":"0","errmsg":"ok"}',
        '{"errcode":" 0 "}',
        '{"errcode":0.0}',
        '{"errcode":-0}',
        '\ufeff{"errcode":0}',
        ' \n{"errcode":0}\n',
        '{"errcode":0,"errmsg":"a\x01\tb"}',
        b'{"errcode":0,"errmsg":"\xff\xfe"}',
        '{"errcode":0,"errmsg":null}',
    ],
)
def test_success_is_read_in_every_spelling_seen(body: bytes | str) -> None:
    assert _parse(body)["errcode"] == 0


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "null",
        "0",
        "true",
        '"ok"',
        "[]",
        '[{"errcode":0}]',
        "{}",
        "ok",
        "<html>502 Bad Gateway</html>",
        '{"errcode":ok}',
        '{"errcode":NaN}',
        '{"errcode":Infinity}',
        '{"errcode":-Infinity}',
        '{"errcode":1e999}',
        '{"errcode":0.5}',
        '{"errcode":true}',
        '{"errcode":false}',
        '{"errcode":null}',
        '{"errcode":""}',
        '{"errcode":"ok"}',
        '{"errcode":"0x0"}',
        '{"errcode":"０"}',
        '{"errcode":"0.0"}',
        '{"errcode":[0]}',
        '{"errcode":{}}',
        '{"errcode":12345678901}',
        '{"errcode":' + "9" * 5000 + "}",
        '{"errcode":0',
        '{"errcode":0}}',
        "{'errcode':0}",
        '{"errmsg":"ok"}',
        "[" * 50_000,
        '{"a":' * 5_000 + "0" + "}" * 5_000,
        b"\x1f\x8b\x08\x00",
        b"\xff" * 100,
        '{"errcode":0,"x":"' + "x" * reply.SIZE_LIMIT + '"}',
    ],
)
def test_what_cannot_be_read_for_sure_is_unreadable(body: bytes | str) -> None:
    with pytest.raises(errors.UnreadableReply) as caught:
        _parse(body)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 404, 412, 429, 500, 502, 503])
def test_a_status_other_than_200_is_unreadable_whatever_the_body_says(status: int) -> None:
    with pytest.raises(errors.UnreadableReply, match=str(status)):
        _parse('{"errcode":0}', status=status)


def test_an_errcode_becomes_its_error() -> None:
    with pytest.raises(errors.AgentOffline) as caught:
        _parse('{"errcode":"65415","errmsg":"the worker is not online rid: 6-5"}')
    assert (caught.value.errcode, caught.value.errmsg, caught.value.rid) == (
        65415,
        "the worker is not online",
        "6-5",
    )


def test_an_errcode_counts_even_where_the_answer_is_there() -> None:
    with pytest.raises(errors.TokenRejected):
        _parse('{"errcode":40001,"kf_account":"a@b"}', expects="kf_account")


def test_a_read_may_leave_the_errcode_out() -> None:
    assert _parse('{"kf_account":""}', expects="kf_account") == {"kf_account": ""}


def test_a_read_without_its_answer_is_unreadable() -> None:
    with pytest.raises(errors.UnreadableReply, match="no kf_account"):
        _parse('{"errcode":0}', expects="kf_account")


def test_an_errmsg_that_quotes_the_token_is_redacted() -> None:
    with pytest.raises(errors.TokenRejected) as caught:
        _parse('{"errcode":40001,"errmsg":"bad PLANTED in ?access_token=OTHER rid: 1-2"}')
    assert caught.value.errmsg == "bad *** in ?access_token=***"
    assert caught.value.rid == "1-2"


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("errcode"), inner),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {"errcode": st.integers() | st.text() | st.floats(), "errmsg": st.text()}
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_body_is_read_or_ends_in_the_tree(body: bytes) -> None:
    with contextlib.suppress(errors.WeChatError):
        assert _parse(body)["errcode"] == 0

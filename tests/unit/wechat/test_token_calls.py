import pydantic
import pytest

from tests.unit.wechat.fakes import FakeTransport
from worker import errors
from worker.wechat import token_calls

REPLY = '{"access_token":"T","expires_in":7200}'


def _stable(via: FakeTransport) -> token_calls.StableCall:
    return token_calls.StableCall(
        via,
        appid="wx1",
        secret=pydantic.SecretStr("PLANTED"),
    )


@pytest.mark.parametrize("force", [False, True])
def test_the_stable_call_forces_only_when_told(force: bool) -> None:
    via = FakeTransport(REPLY)
    call = _stable(via)
    grant = (call.force if force else call.fetch)(3.0)
    assert (grant.token, grant.expires_in_seconds) == ("T", 7200)
    assert via.calls == [
        {
            "method": "POST",
            "path": "/cgi-bin/stable_token",
            "token": None,
            "body": {
                "grant_type": "client_credential",
                "appid": "wx1",
                "secret": "PLANTED",
                "force_refresh": force,
            },
            "expects": ("access_token",),
            "timeout_seconds": 3.0,
        }
    ]
    assert "PLANTED" not in repr(call)
    assert "'T'" not in repr(grant)


def test_the_owner_of_a_token_is_asked_at_its_own_address() -> None:
    via = FakeTransport('{"errcode":0,"access_token":"T","expires_in":"60"}')
    grant = token_calls.UrlCall(via).fetch(3.0)
    assert (grant.token, grant.expires_in_seconds) == ("T", 60)
    assert via.calls[0]["path"] == ""


@pytest.mark.parametrize(
    "reply",
    [
        '{"expires_in":7200}',
        '{"access_token":"","expires_in":7200}',
        '{"access_token":7,"expires_in":7200}',
        '{"access_token":"a b","expires_in":7200}',
        '{"access_token":"a\\n","expires_in":7200}',
        '{"access_token":"T"}',
        '{"access_token":"T","expires_in":0}',
        '{"access_token":"T","expires_in":-1}',
        '{"access_token":"T","expires_in":true}',
        '{"access_token":"T","expires_in":1.5}',
        '{"access_token":"T","expires_in":99999999}',
    ],
)
def test_what_is_no_grant_is_unreadable(reply: str) -> None:
    with pytest.raises(errors.UnreadableReply):
        _stable(FakeTransport(reply)).fetch(3.0)


def test_wechats_refusal_comes_through() -> None:
    with pytest.raises(errors.AccountBlocked) as caught:
        _stable(FakeTransport('{"errcode":40125,"errmsg":"invalid appsecret"}')).fetch(3.0)
    assert caught.value.errcode == 40125

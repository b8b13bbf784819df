import pytest

from tests.unit.wechat.fakes import FakeTransport
from worker import errors
from worker.wechat import kfsession

OK = '{"errcode":0,"errmsg":"ok"}'


def test_create_sends_the_pair_and_nothing_else() -> None:
    via = FakeTransport(OK)
    kfsession.create(via, "T", kf_account="a@b", openid="o")
    assert via.calls == [
        {
            "method": "POST",
            "path": "/customservice/kfsession/create",
            "token": "T",
            "body": {"kf_account": "a@b", "openid": "o"},
            "expects": ("errcode",),
        }
    ]


def test_create_that_is_refused_raises_why() -> None:
    via = FakeTransport('{"errcode":65402,"errmsg":"x"}')
    with pytest.raises(errors.AgentOut):
        kfsession.create(via, "T", kf_account="a@b", openid="o")


@pytest.mark.parametrize(
    ("reply", "served_by"),
    [
        ('{"kf_account":"a@b","createtime":1}', "a@b"),
        ('{"errcode":0,"errmsg":"ok","kf_account":"a@b","createtime":1}', "a@b"),
        ('{"kf_account":"","createtime":0}', None),
        ('{"kf_account":null}', None),
        ('{"errcode":0,"errmsg":"ok"}', None),
        ('{"errcode":65413,"errmsg":"no session"}', None),
    ],
)
def test_serving_names_the_agent_or_nobody(reply: str, served_by: str | None) -> None:
    via = FakeTransport(reply)
    assert kfsession.serving(via, "T", openid="o") == served_by
    assert via.calls[0]["path"] == "/customservice/kfsession/getsession"
    assert via.calls[0]["params"] == {"openid": "o"}


@pytest.mark.parametrize("reply", ["{}", '{"kf_account":1}', '{"kf_account":"a\\u0000"}'])
def test_serving_does_not_guess(reply: str) -> None:
    with pytest.raises(errors.UnreadableReply):
        kfsession.serving(FakeTransport(reply), "T", openid="o")


@pytest.mark.parametrize("code", [-1, 7])
def test_serving_raises_what_is_no_answer(code: int) -> None:
    with pytest.raises(errors.Unsure):
        kfsession.serving(FakeTransport(f'{{"errcode":{code}}}'), "T", openid="o")


def test_waiting_reads_rows_of_new_and_old_accounts_and_skips_odd_ones() -> None:
    via = FakeTransport(
        '{"count":150,"waitcaselist":[{"latest_time":5,"openid":"a"},'
        '{"createtime":6,"kf_account":"","openid":"b"},{"openid":""},{"openid":7},7,null,'
        '{"openid":"c"},{"latest_time":"8","openid":"d"},{"latest_time":{},"openid":"e"}]}'
    )
    found = kfsession.waiting(via, "T")
    assert via.calls[0]["path"] == "/customservice/kfsession/getwaitcase"
    assert found.count == 150
    assert [(fan.openid, fan.waiting_since) for fan in found.fans] == [
        ("a", 5),
        ("b", 6),
        ("c", 0),
        ("d", 8),
        ("e", 0),
    ]


@pytest.mark.parametrize(
    ("count", "expected"), [("", 1), ('"count":"7",', 7), ('"count":null,', 1), ('"count":-3,', 1)]
)
def test_waiting_without_a_sane_count_counts_its_rows(count: str, expected: int) -> None:
    via = FakeTransport(f'{{{count}"waitcaselist":[{{"openid":"a"}}]}}')
    assert kfsession.waiting(via, "T").count == expected


def test_nobody_waiting_is_an_answer() -> None:
    found = kfsession.waiting(FakeTransport('{"count":0,"waitcaselist":[]}'), "T")
    assert (found.count, found.fans) == (0, ())


@pytest.mark.parametrize("reply", ['{"errcode":0}', '{"waitcaselist":7}', '{"count":3}'])
def test_a_waiting_list_that_is_missing_is_not_an_empty_list(reply: str) -> None:
    with pytest.raises(errors.UnreadableReply):
        kfsession.waiting(FakeTransport(reply), "T")

import pytest

from tests.unit.wechat.fakes import FakeTransport
from worker import errors
from worker.wechat import agents


def test_online_keeps_whoever_is_online_and_named() -> None:
    via = FakeTransport(
        '{"kf_online_list":['
        '{"kf_account":"a@x","status":1,"kf_id":"1001","accepted_case":3},'
        '{"kf_account":"b@x","status":2,"kf_id":1002,"auto_accept":0,"accepted_case":"4"},'
        '{"kf_account":"c@x","status":"3"},'
        '{"kf_account":"d@x","status":0,"accepted_case":9},'
        '{"kf_account":"","status":1},{"kf_account":7,"status":1},{"status":1},7]}'
    )
    found = agents.online(via, "T")
    assert [(agent.kf_account, agent.status, agent.accepted_case) for agent in found] == [
        ("a@x", 1, 3),
        ("b@x", 2, 4),
        ("c@x", 3, 0),
    ]
    assert via.calls[0]["path"] == "/cgi-bin/customservice/getonlinekflist"


def test_nobody_online_is_an_answer() -> None:
    assert agents.online(FakeTransport('{"kf_online_list":[]}'), "T") == ()


@pytest.mark.parametrize("reply", ['{"errcode":0}', '{"kf_online_list":{}}', "{}"])
def test_a_list_that_is_missing_is_not_an_empty_list(reply: str) -> None:
    with pytest.raises(errors.UnreadableReply):
        agents.online(FakeTransport(reply), "T")

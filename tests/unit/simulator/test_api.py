"""One call: what is checked, how it is refused, what a fault does to it, what the book says."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from ops.simulator import api, bends, control, replies, scenario
from tests.unit.simulator import clock

CREATE = scenario.CREATE_PATH
TOKEN = "access_token=simulator-token"
GETSESSION = "/customservice/kfsession/getsession"
ONLINE = "/cgi-bin/customservice/getonlinekflist"


class Wechat:
    """An Api with words for a test."""

    def __init__(self, text: str = "") -> None:
        self.now = clock.Clock()
        self.api = api.Api(scenario.parse(text), self.now)

    def raw(self, method: str, target: str, body: bytes = b"") -> replies.Reply:
        return self.api.answer(api.Request(method, target, body))

    def get(self, path: str, query: str = "") -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.raw("GET", f"{path}?{TOKEN}&{query}").body)
        return said

    def post(self, path: str, **fields: object) -> dict[str, Any]:
        body = json.dumps(fields).encode()
        said: dict[str, Any] = json.loads(self.raw("POST", f"{path}?{TOKEN}", body).body)
        return said

    def create(self, openid: str, kf_account: str = "anna@shop") -> replies.Reply:
        body = json.dumps({"kf_account": kf_account, "openid": openid}).encode()
        return self.raw("POST", f"{CREATE}?{TOKEN}", body)

    def errcode(self, openid: str, kf_account: str = "anna@shop") -> int:
        code: int = json.loads(self.create(openid, kf_account).body)["errcode"]
        return code

    def control(self, method: str, name: str, **fields: object) -> tuple[int, dict[str, Any]]:
        body = json.dumps(fields).encode() if method == "POST" else b""
        reply = control.answer(self.api, api.Request(method, f"/_simulator/{name}", body))
        return reply.status, json.loads(reply.body)

    def book(self, query: str = "") -> dict[str, Any]:
        return self.control("GET", f"book?{query}")[1]

    def summary(self) -> dict[str, Any]:
        return self.control("GET", "summary")[1]


@pytest.fixture
def wechat() -> Wechat:
    return Wechat()


GOOD = b'{"kf_account":"anna@shop","openid":"fan"}'


@pytest.mark.parametrize(
    ("method", "target", "body", "code"),
    [
        ("POST", CREATE, GOOD, 41001),
        ("POST", f"{CREATE}?access_token=", GOOD, 41001),
        ("POST", f"{CREATE}?access_token=made-up", GOOD, 40001),
        ("GET", f"{CREATE}?{TOKEN}", b"", 43002),
        ("POST", f"{ONLINE}?{TOKEN}", b"{}", 43001),
        ("POST", f"{CREATE}?{TOKEN}", b"", 44002),
        ("POST", f"{CREATE}?{TOKEN}", b"{", 47001),
        ("POST", f"{CREATE}?{TOKEN}", b"\xff\xfe\x00", 47001),
        ("POST", f"{CREATE}?{TOKEN}", b"[]", 47001),
        ("POST", f"{CREATE}?{TOKEN}", b"[" * 100_000, 47001),
        ("POST", f"{CREATE}?{TOKEN}", b'{"kf_account":"a@x","openid":"\\ud800"}', 40003),
        ("POST", f"{CREATE}?{TOKEN}", b'{"kf_account":"anna@shop"}', 40003),
        ("POST", f"{CREATE}?{TOKEN}", b'{"kf_account":"anna@shop","openid":7}', 40003),
        ("POST", f"{CREATE}?{TOKEN}", b'{"openid":"fan"}', 65416),
        ("GET", f"{GETSESSION}?{TOKEN}", b"", 40003),
        ("GET", f"{GETSESSION}?{TOKEN}&openid=a%20b", b"", 40003),
        ("GET", f"/customservice/kfsession/getsessionlist?{TOKEN}&kf_account=wrong@x", b"", 65401),
        ("GET", f"/customservice/kfsession/nothing?{TOKEN}", b"", 40066),
        ("GET", f"/customservice/getonlinekflist?{TOKEN}", b"", 40066),
        ("POST", f"/cgi-bin/openapi/quota/get?{TOKEN}", b'{"cgi_path":"/x"}', 76021),
        ("GET", "/cgi-bin/token?grant_type=x&appid=a&secret=b", b"", 40002),
        ("GET", "/cgi-bin/token?grant_type=client_credential&secret=b", b"", 41002),
        ("GET", "/cgi-bin/token?grant_type=client_credential&appid=b", b"", 41004),
    ],
)
def test_a_wrong_call_is_refused_with_200_a_code_and_a_rid(
    wechat: Wechat, method: str, target: str, body: bytes, code: int
) -> None:
    reply = wechat.raw(method, target, body)
    said = json.loads(reply.body)

    assert reply.status == 200
    assert said["errcode"] == code
    assert re.search(r" rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", said["errmsg"])
    assert wechat.summary()["sessions_opened"] == 0
    assert wechat.book()["calls"][0]["errcode"] == code


def test_an_ok_is_plain(wechat: Wechat) -> None:
    assert wechat.create("fan").body == b'{"errcode":0,"errmsg":"ok"}'


def test_61458_names_the_other_agent() -> None:
    wechat = Wechat("served_elsewhere = '61458'")
    wechat.create("fan")
    said = json.loads(wechat.create("fan", "bert@shop").body)

    assert said["errcode"] == 61458
    assert "customer accepted by anna@shop rid: " in said["errmsg"]


M = replies.Manner
#: How the reply to a create goes out, and what its client is told.
BENT = {
    "busy": (M.WHOLE, 200, -1),
    "html_502": (M.WHOLE, 502, None),
    "cut_before": (M.CUT, 200, None),
    "cut_after": (M.CUT, 200, None),
    "lied": (M.WHOLE, 200, -1),
    "hang": (M.HANG, 200, None),
    "drip": (M.DRIP, 200, 0),
    "garbage": (M.WHOLE, 200, None),
    "huge": (M.WHOLE, 200, None),
    "cut_idle": (M.CUT_IDLE, 200, 0),
    "cut_during": (M.CUT_DURING, 200, None),
    "short": (M.SHORT, 200, None),
    "drip_head": (M.DRIP_HEAD, 200, 0),
    "bomb": (M.WHOLE, 200, None),
    "truncated": (M.WHOLE, 200, None),
    "errcode_text": (M.WHOLE, 200, 0),
    "errcode_missing": (M.WHOLE, 200, None),
    "errcode_float": (M.WHOLE, 200, 0),
    "errcode_nan": (M.WHOLE, 200, None),
    "html_200": (M.WHOLE, 200, None),
    "redirect": (M.WHOLE, 302, None),
    "same_65414": (M.WHOLE, 200, 65414),
    "lied_502": (M.WHOLE, 502, None),
    "expired_token": (M.WHOLE, 200, 40001),
}


@pytest.mark.parametrize("name", bends.TABLE)
def test_a_fault_strikes_once_and_the_book_knows_the_truth(wechat: Wechat, name: str) -> None:
    openid, is_done = f"{name}_1", bends.TABLE[name].is_done
    reply = wechat.create(openid)
    first = wechat.book()["calls"][0]
    held = wechat.get(GETSESSION, f"openid={openid}")

    assert (reply.manner, reply.status, first["errcode"]) == BENT[name]
    assert (first["opened"], first["fault"]) == (is_done, name)
    assert held["kf_account"] == ("anna@shop" if is_done else "")
    assert wechat.errcode(openid) == 0
    assert len(wechat.book()["sessions"]) == 1


@pytest.mark.parametrize("name", bends.TABLE)
@pytest.mark.parametrize(
    ("path", "asked"), [(CREATE, "openid"), (ONLINE, ""), ("/cgi-bin/stable_token", "")]
)
def test_a_fault_can_strike_any_path_by_chance(
    wechat: Wechat, name: str, path: str, asked: str
) -> None:
    status, said = wechat.control("POST", "faults", paths=[path], **{name: 1})
    assert (status, said["faults"][name], said["faults"]["paths"]) == (200, 1, [path])
    fields = {"kf_account": "anna@shop", "openid": "fan"}
    fields |= {"grant_type": "client_credential", "appid": scenario.DEFAULT_APPID}
    body = json.dumps({**fields, "secret": scenario.DEFAULT_SECRET}).encode()
    method = "GET" if path == ONLINE else "POST"
    wechat.raw(method, f"{path}?{TOKEN}", b"" if method == "GET" else body)
    call = wechat.book()["calls"][-1]

    assert (call["fault"], call["path"]) == (name, path)
    assert call["opened"] is (bends.TABLE[name].is_done and path == CREATE)


@pytest.mark.parametrize("path", [CREATE, ONLINE])
def test_an_errcode_can_strike_by_chance_and_nothing_is_done(wechat: Wechat, path: str) -> None:
    _, said = wechat.control("POST", "faults", errcodes={"45011": 1}, paths=[path])
    told = wechat.get(ONLINE) if path == ONLINE else json.loads(wechat.create("fan").body)

    assert said["faults"]["errcodes"] == {"45011": 1}
    assert told["errcode"] == 45011
    assert told["errmsg"].startswith("api minute-quota reach limit")
    call = wechat.book()["calls"][0]
    assert (call["errcode"], call["fault"], call["opened"]) == (45011, "errcode_45011", False)


def said(wechat: Wechat, openid: str, kf_account: str = "anna@shop") -> str:
    return wechat.create(openid, kf_account).body.decode()


def test_errcodes_come_in_all_spellings(wechat: Wechat) -> None:
    assert said(wechat, "errcode_text_1") == '{"errcode":"0","errmsg":"ok"}'
    assert said(wechat, "errcode_missing_1") == '{"errmsg":"ok"}'
    assert said(wechat, "errcode_float_1") == '{"errcode":0.0,"errmsg":"ok"}'
    assert said(wechat, "errcode_nan_1") == '{"errcode":NaN,"errmsg":"ok"}'
    assert said(wechat, "truncated_1") == '{"errcode":0,'


def test_a_refusal_is_bent_but_never_into_a_success(wechat: Wechat) -> None:
    assert '"errcode":"65415"' in said(wechat, "errcode_text_1", "offline@shop")
    assert '"errcode":65415.0' in said(wechat, "errcode_float_1", "offline@shop")
    assert '"errcode":65415,' in said(wechat, "same_65414_1", "offline@shop")
    assert wechat.book()["sessions"] == []


def test_the_switch_for_texts_bends_faults_too() -> None:
    wechat = Wechat("errcode_as_text = true")

    assert '"errcode":"-1"' in said(wechat, "lied_1")
    assert said(wechat, "errcode_text_1") == '{"errcode":"0","errmsg":"ok"}'
    assert said(wechat, "errcode_float_1") == '{"errcode":0.0,"errmsg":"ok"}'


def test_an_expired_token_is_dead_for_all_until_a_new_one_is_fetched(wechat: Wechat) -> None:
    def fetch() -> str:
        fields = {"grant_type": "client_credential", "appid": scenario.DEFAULT_APPID}
        token = wechat.post("/cgi-bin/stable_token", secret=scenario.DEFAULT_SECRET, **fields)
        return str(token["access_token"])

    def create(token: str, openid: str) -> int:
        body = json.dumps({"kf_account": "anna@shop", "openid": openid}).encode()
        reply = wechat.raw("POST", f"{CREATE}?access_token={token}", body)
        return int(json.loads(reply.body)["errcode"])

    first = fetch()
    assert [create(first, openid) for openid in ("expired2_token_1", "fan")] == [40001, 40001]
    second = fetch()
    assert [create(second, openid) for openid in ("expired2_token_1", "fan")] == [42001, 42001]
    assert create(fetch(), "expired2_token_1") == 0


def test_a_redirect_leads_to_nothing_and_the_book_shows_who_followed(wechat: Wechat) -> None:
    reply = wechat.create("redirect_1")
    path = reply.headers.removeprefix("Location: ").strip()
    followed = wechat.raw("POST", f"{path}?{TOKEN}", GOOD)

    assert json.loads(followed.body)["errcode"] == 40066
    assert wechat.summary()["calls_by_path"] == {CREATE: 1, "/redirected": 1}
    assert wechat.summary()["sessions_opened"] == 0


def test_large_bodies_are_made_once(wechat: Wechat) -> None:
    for name in ("huge", "bomb"):
        first, second = (wechat.create(f"{name}2_1").body for _ in range(2))
        assert first is second
    assert len(first) < 20_000
    assert len(gzip.decompress(first)) > 10_000_000


def test_a_number_in_the_name_repeats_the_fault(wechat: Wechat) -> None:
    assert [wechat.errcode("busy3_1") for _ in range(5)] == [-1, -1, -1, 0, 0]


def test_a_done_fault_on_an_offline_agent_opens_nothing(wechat: Wechat) -> None:
    assert wechat.create("cut_after_1", "offline@shop").manner is replies.Manner.CUT
    assert wechat.book()["sessions"] == []


def test_garbage_is_no_json_and_huge_is_ten_megabytes(wechat: Wechat) -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(wechat.create("garbage_1").body)
    assert len(wechat.create("huge_1").body) > 10_000_000


def test_codes_in_names_are_answered_always(wechat: Wechat) -> None:
    assert [wechat.errcode("unknown_1") for _ in range(2)] == [99999, 99999]
    assert [wechat.errcode("code43004_1") for _ in range(2)] == [43004, 43004]
    assert wechat.errcode("wrong_1") == 40003


def test_chances_strike_create_alone_unless_other_paths_are_named(wechat: Wechat) -> None:
    wechat.control("POST", "faults", busy=1)
    assert wechat.errcode("fan") == -1
    assert "kf_online_list" in wechat.get(ONLINE)
    wechat.control("POST", "faults", busy=1, paths=[ONLINE])
    assert wechat.errcode("fan") == 0
    assert wechat.get(ONLINE)["errcode"] == -1
    wechat.control("POST", "faults")
    assert "kf_online_list" in wechat.get(ONLINE)


def test_the_lists_have_wechats_shapes() -> None:
    wechat = Wechat("[[agents]]\nkf_account='anna@shop'\ncapacity=3\nkf_id='77'")
    wechat.create("fan")
    now = int(wechat.now.now)

    assert wechat.get(ONLINE) == {
        "kf_online_list": [
            {
                "kf_account": "anna@shop",
                "status": 1,
                "kf_id": "77",
                "accepted_case": 1,
                "auto_accept": 3,
            }
        ]
    }
    row = wechat.get("/cgi-bin/customservice/getkflist")["kf_list"][0]
    assert row.keys() == {"kf_account", "kf_headimgurl", "kf_id", "kf_nick", "kf_wx"}
    assert wechat.get(GETSESSION, "openid=fan") == {"createtime": now, "kf_account": "anna@shop"}
    assert wechat.get(GETSESSION, "openid=other") == {"createtime": 0, "kf_account": ""}
    assert wechat.get("/customservice/kfsession/getsessionlist", "kf_account=anna@shop") == {
        "sessionlist": [{"createtime": now, "openid": "fan"}]
    }


@pytest.mark.parametrize(
    ("switch", "older"),
    [
        ("", [False, True]),
        ("waiting_rows = 'mixed'", [False, True]),
        ("waiting_rows = 'latest_time'", [False, False]),
        ("waiting_rows = 'createtime'", [True, True]),
    ],
)
def test_waiting_rows_come_in_the_shape_that_is_chosen(switch: str, older: list[bool]) -> None:
    wechat = Wechat(f"{switch}\nwaiting = {{count = 2}}")
    said = wechat.get("/customservice/kfsession/getwaitcase")
    now = int(wechat.now.now)
    shapes = [
        {"kf_account": "", "createtime": now} if old else {"latest_time": now} for old in older
    ]

    assert said == {
        "count": 2,
        "waitcaselist": [
            {"openid": f"waiting_0000{at}", **shape} for at, shape in enumerate(shapes, 1)
        ],
    }


def test_all_agents_are_listed_and_only_the_online_ones_are_online() -> None:
    wechat = Wechat("[[agents]]\nkf_account='a@x'\n[[agents]]\nkf_account='b@x'\nonline=false")
    wechat.create("fan", "offline@x")
    everybody = wechat.get("/cgi-bin/customservice/getkflist")["kf_list"]

    assert [row["kf_account"] for row in everybody] == ["a@x", "b@x", "offline@x"]
    assert [row["kf_account"] for row in wechat.get(ONLINE)["kf_online_list"]] == ["a@x"]


def test_odd_rows_and_switches_show() -> None:
    wechat = Wechat(
        "odd_rows=true\nreads_carry_errcode=true\nerrcode_as_text=true\nonline_status=3\n"
        "content_type='text/plain'\n[[agents]]\nkf_account='a@x'\n[[agents]]\nkf_account='b@x'"
    )
    said = wechat.get(ONLINE)

    assert said["errcode"] == "0"
    assert [row.get("kf_account") for row in said["kf_online_list"]] == ["", "a@x", "b@x", None]
    assert [row["kf_id"] for row in said["kf_online_list"][1:3]] == [1001, "1002"]
    assert {row["status"] for row in said["kf_online_list"][1:3]} == {3}
    assert wechat.get("/cgi-bin/customservice/getkflist")["kf_list"][0]["kf_account"] == ""
    assert wechat.create("fan").content_type == "text/plain"
    assert json.loads(wechat.create("fan").body)["errcode"] == "0"


def test_tokens_come_from_both_calls_and_are_counted(wechat: Wechat) -> None:
    query = "grant_type=client_credential&appid=wx0000000000000000&secret=simulator-secret"
    first = json.loads(wechat.raw("GET", f"/cgi-bin/token?{query}").body)
    fields = dict(part.split("=") for part in query.split("&"))
    second = wechat.post("/cgi-bin/stable_token", **fields)

    assert first["expires_in"] == second["expires_in"] == 7200
    for said in (first, second):
        reply = wechat.raw("GET", f"{ONLINE}?access_token={said['access_token']}")
        assert "kf_online_list" in json.loads(reply.body)
    assert wechat.control("POST", "tokens/expire")[1] == {"expired": 2}
    reply = wechat.raw("GET", f"{ONLINE}?access_token={first['access_token']}")
    assert json.loads(reply.body)["errcode"] == 42001
    assert wechat.summary()["token_fetches"] == 2


def test_limits_answer_their_codes_and_quota_tells() -> None:
    wechat = Wechat("[limits]\nper_minute = 2\nper_day = 3")
    codes = [wechat.errcode(f"fan{at}") for at in range(3)]
    wechat.now.now += 60
    codes += [wechat.errcode(f"fan{at}") for at in range(2)]

    assert codes == [0, 0, 45011, 0, 45009]
    said = wechat.post("/cgi-bin/openapi/quota/get", cgi_path=CREATE)
    assert said["quota"] == {"daily_limit": 3, "used": 3, "remain": 0}


def test_an_account_can_be_blocked_and_released(wechat: Wechat) -> None:
    wechat.control("POST", "accounts", errcode=48001, token_errcode=40164)
    fields = {"grant_type": "client_credential", "appid": scenario.DEFAULT_APPID}

    assert wechat.errcode("fan") == 48001
    assert wechat.post("/cgi-bin/stable_token", secret="x", **fields)["errcode"] == 40164
    wechat.control("POST", "accounts", errcode=0)
    assert wechat.errcode("fan") == 0


def test_one_account_can_be_made_to_hang_while_others_are_served() -> None:
    wechat = Wechat("[[accounts]]\nappid='a'\n[[accounts]]\nappid='b'")
    wechat.control("POST", "accounts", appid="b", fault="hang")
    asked = f"{GETSESSION}?access_token=simulator-token"

    assert wechat.raw("GET", f"{asked}-2&openid=fan").manner is replies.Manner.HANG
    assert wechat.raw("GET", f"{asked}&openid=fan").manner is replies.Manner.WHOLE
    wechat.control("POST", "accounts", appid="b", fault="none")
    assert wechat.raw("GET", f"{asked}-2&openid=fan").manner is replies.Manner.WHOLE


def test_two_accounts_share_nothing() -> None:
    wechat = Wechat("[[accounts]]\nappid='a'\n[[accounts]]\nappid='b'")
    wechat.create("fan")
    other = wechat.raw("GET", f"{GETSESSION}?access_token=simulator-token-2&openid=fan")

    assert json.loads(other.body)["kf_account"] == ""


def test_the_book_holds_calls_and_sessions_and_can_be_narrowed(wechat: Wechat) -> None:
    wechat.create("fan")
    wechat.create("other")
    wechat.get(GETSESSION, "openid=fan")
    at = round(wechat.now.now * 1000)

    assert wechat.book(f"path={CREATE}&openid=fan") == {
        "seed": 0,
        "started_at": at,
        "calls": [
            {
                "at": at,
                "method": "POST",
                "path": CREATE,
                "appid": scenario.DEFAULT_APPID,
                "openid": "fan",
                "kf_account": "anna@shop",
                "errcode": 0,
                "fault": None,
                "opened": True,
            }
        ],
        "sessions": [
            {
                "appid": scenario.DEFAULT_APPID,
                "openid": "fan",
                "kf_account": "anna@shop",
                "opened_at": at,
                "closed_at": None,
                "opened_by": "create",
            }
        ],
    }
    assert len(wechat.book()["calls"]) == 3


def test_the_book_holds_no_token_and_no_secret(wechat: Wechat) -> None:
    wechat.create("fan")
    wechat.raw("GET", "/cgi-bin/token?grant_type=client_credential&appid=x&secret=hidden-secret")
    told = json.dumps([wechat.book(), wechat.summary()])

    assert "hidden-secret" not in told
    assert "simulator-token" not in told
    assert "hidden" not in repr(api.Request("GET", "/x?secret=hidden", b"hidden"))


def test_the_summary_finds_a_fan_with_two_agents() -> None:
    wechat = Wechat("served_elsewhere = 'ok'")
    for openid, kf_account in (
        ("one", "a@x"),
        ("two", "a@x"),
        ("two", "b@x"),
        ("cut_after_1", "a@x"),
    ):
        wechat.create(openid, kf_account)
    said = wechat.summary()

    assert said["fans_given_to_two_agents"] == ["two"]
    assert (said["sessions_opened"], said["fans_with_session"]) == (4, 3)
    assert said["creates_by_errcode"] == {"0": 3, "cut_after": 1}
    assert said["calls_by_path"] == {CREATE: 4}
    assert [(row["kf_account"], row["serving"], row["max_serving"]) for row in said["agents"]] == [
        ("a@x", 2, 2),
        ("b@x", 1, 1),
    ]


def test_the_summary_knows_of_ends_that_no_call_has_seen() -> None:
    wechat = Wechat("session_seconds = 5")
    wechat.create("fan")
    ends_at = round((wechat.now.now + 5) * 1000)
    wechat.now.now += 60
    said = wechat.summary()

    assert (said["sessions_opened"], said["fans_with_session"]) == (1, 0)
    assert [(row["serving"], row["max_serving"]) for row in said["agents"]] == [(0, 1)]
    assert wechat.book()["sessions"][0]["closed_at"] == ends_at


def test_the_summary_finds_a_session_opened_twice(wechat: Wechat) -> None:
    wechat.create("fan")
    assert wechat.control("POST", "close", openid="fan")[1]["closed"] is True
    wechat.create("fan")

    assert wechat.summary()["fans_given_to_two_agents"] == ["fan"]


def test_a_close_ends_the_session_of_its_pair(wechat: Wechat) -> None:
    path = "/customservice/kfsession/close"
    wechat.create("fan")

    assert wechat.post(path, kf_account="bert@shop", openid="fan")["errcode"] == 65414
    assert wechat.post(path, kf_account="anna@shop", openid="fan") == {"errcode": 0, "errmsg": "ok"}
    assert wechat.post(path, kf_account="anna@shop", openid="fan")["errcode"] == 65413
    assert wechat.book()["sessions"][0]["closed_at"] == round(wechat.now.now * 1000)


def test_a_reset_is_a_new_start() -> None:
    wechat = Wechat("waiting = {count = 1}")
    wechat.create("fan")
    wechat.create("waiting_00001")
    wechat.control("POST", "faults", busy=1)
    wechat.now.now += 9
    wechat.control("POST", "reset")

    assert wechat.book()["calls"] == []
    assert wechat.book()["started_at"] == round(wechat.now.now * 1000)
    assert wechat.get("/customservice/kfsession/getwaitcase")["count"] == 1
    assert wechat.errcode("busy_1") == -1
    assert wechat.errcode("fan") == 0


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda w: w.control("POST", "agents", kf_acount="a@x"), "body.kf_account is missing"),
        (lambda w: w.control("POST", "agents", kf_account="a@x"), "body.online is missing"),
        (
            lambda w: w.control("POST", "agents", kf_account="a@x", capacity=-1),
            "body.capacity must be a whole number of at least 0, not -1",
        ),
        (lambda w: w.control("POST", "agents", kf_account="a", online=True), "invalid custom"),
        (lambda w: w.control("POST", "faults", buzy=1), "did you mean busy?"),
        (lambda w: w.control("POST", "faults", errcodes={"x": 1}), "body.errcodes.x: must be an"),
        (lambda w: w.control("POST", "waiting", openids="x"), "must be a list of texts"),
        (lambda w: w.control("GET", "book?opnid=x"), "did you mean openid?"),
    ],
)
def test_a_wrong_control_call_says_what_is_wrong(
    wechat: Wechat, ask: Callable[[Wechat], tuple[int, dict[str, Any]]], complaint: str
) -> None:
    status, said = ask(wechat)

    assert status == 400
    assert complaint in said["error"]


def test_control_steers_agents_and_waiting_fans(wechat: Wechat) -> None:
    wechat.control("POST", "agents", kf_account="anna@shop", online=False)
    assert wechat.errcode("fan") == 65415
    wechat.control("POST", "agents", kf_account="anna@shop", online=True)
    assert wechat.errcode("fan") == 0
    assert wechat.control("POST", "waiting", openids=["x", "y"])[1] == {"count": 2}


def test_control_sets_the_capacity_and_leaves_the_rest() -> None:
    wechat = Wechat("agent_full = '65415'\n[[agents]]\nkf_account='anna@shop'\ncapacity=5")

    def told(**fields: object) -> tuple[object, object]:
        said = wechat.control("POST", "agents", kf_account="anna@shop", **fields)[1]
        return said["online"], said["capacity"]

    assert told(capacity=1) == (True, 1)
    assert [wechat.errcode(openid) for openid in ("f1", "f2")] == [0, 65415]
    assert told(capacity=2) == (True, 2)
    assert wechat.errcode("f2") == 0
    assert told(online=False) == (False, 2)
    assert told(online=True, capacity=0) == (True, 0)
    assert wechat.errcode("f3") == 0
    assert [(row["max_serving"], row["capacity"]) for row in wechat.summary()["agents"]] == [(3, 0)]


def test_an_unknown_control_call_names_the_list(wechat: Wechat) -> None:
    status, said = wechat.control("GET", "buk")

    assert status == 404
    assert "GET /_simulator lists" in said["error"]
    assert "GET /_simulator/book" in wechat.control("GET", "")[1]["calls"]
    assert {row["name"] for row in wechat.control("GET", "names")[1]["agents"]} >= {"offline…"}

"""Every fault of the simulator, and every code of the table, ends where it belongs in the tree.

What WeChat has done is in its book; what the worker makes of the reply must never deny it.
"""

import concurrent.futures
from collections.abc import Iterator

import pydantic
import pytest

from ops.simulator import bends, running, scenario
from worker import errors
from worker.contract import errcodes
from worker.wechat import kfsession, token_calls, transport

AGENT = "anna@shop"
TOKEN = scenario.FIXED_TOKEN
GETSESSION = "/customservice/kfsession/getsession"
STABLE_TOKEN = "/cgi-bin/stable_token"
#: The deadline of a call: some faults run into it.
SHORT = 0.3

#: What a create that is struck raises; None: it succeeds.
CREATE: dict[str, type[errors.WeChatError] | None] = {
    "busy": errors.SystemBusy,
    "html_502": errors.UnreadableReply,
    "cut_before": errors.LostReply,
    "cut_after": errors.LostReply,
    "lied": errors.SystemBusy,
    "hang": errors.LostReply,
    "drip": errors.LostReply,
    "garbage": errors.UnreadableReply,
    "huge": errors.UnreadableReply,
    "cut_idle": None,
    "cut_during": errors.LostReply,
    "short": errors.LostReply,
    "drip_head": errors.LostReply,
    "bomb": errors.UnreadableReply,
    "truncated": errors.UnreadableReply,
    "errcode_text": None,
    "errcode_missing": errors.UnreadableReply,
    "errcode_float": None,
    "errcode_nan": errors.UnreadableReply,
    "html_200": errors.UnreadableReply,
    "redirect": errors.UnreadableReply,
    "same_65414": errors.ServedElsewhere,
    "lied_502": errors.UnreadableReply,
    "expired_token": errors.TokenRejected,
}
#: A read may do without its errcode, so that these give the true answer there.
READ = CREATE | {"errcode_missing": None}
#: The one refusal that may hide a session: it is told from a true one by reading back.
READ_BACK = errors.ServedElsewhere
#: Every row of the code table that is an error, and one that is no row.
CODES = [*(errcode for errcode in errcodes.TABLE if errcode), 99999]
#: To a read, this one is an answer.
NO_SESSION = 65413


@pytest.fixture
def wechat() -> Iterator[running.SimulatorThread]:
    with running.SimulatorThread() as started:
        yield started


@pytest.fixture
def via(wechat: running.SimulatorThread) -> Iterator[transport.Transport]:
    opened = transport.Transport(wechat.url, timeout_seconds=5)
    yield opened
    opened.close()


def _create(via: transport.Transport, openid: str = "fan", kf_account: str = AGENT) -> None:
    kfsession.create(via, TOKEN, kf_account=kf_account, openid=openid)


def _struck(
    wechat: running.SimulatorThread, path: str, name: str, via: transport.Transport
) -> None:
    """From now on this fault strikes this path, and calls that cannot end end soon."""
    via.timeout_seconds = SHORT if name in ("hang", "drip", "drip_head") else 5
    wechat.tell("faults", paths=[path], **{name: 1})


def _expect(kind: type[errors.WeChatError] | None, raised: BaseException | None) -> None:
    assert type(raised) is (kind or type(None)), repr(raised)


@pytest.mark.parametrize("name", bends.TABLE)
def test_a_create_that_is_struck_ends_in_its_class_and_is_never_denied(
    wechat: running.SimulatorThread, via: transport.Transport, name: str
) -> None:
    _create(via, "somebody")  # the connection is a kept one, as most are
    _struck(wechat, scenario.CREATE_PATH, name, via)
    raised = None
    try:
        _create(via)
    except errors.WeChatError as error:
        raised = error

    _expect(CREATE[name], raised)
    is_done = bool(wechat.book(openid="fan")["sessions"])
    assert is_done is bends.TABLE[name].is_done
    if raised is None:
        assert is_done
    elif is_done:
        assert raised.ended is errors.Ended.UNSURE or type(raised) is READ_BACK


@pytest.mark.parametrize("name", bends.TABLE)
def test_a_read_that_is_struck_tells_the_truth_or_nothing(
    wechat: running.SimulatorThread, via: transport.Transport, name: str
) -> None:
    _create(via)
    _struck(wechat, GETSESSION, name, via)
    served_by, raised = AGENT, None
    try:
        served_by = kfsession.serving(via, TOKEN, openid="fan") or "nobody"
    except errors.WeChatError as error:
        raised = error

    _expect(READ[name], raised)
    assert served_by == AGENT


@pytest.mark.parametrize("name", bends.TABLE)
def test_a_token_call_that_is_struck_gives_the_token_or_nothing(
    wechat: running.SimulatorThread, via: transport.Transport, name: str
) -> None:
    _struck(wechat, STABLE_TOKEN, name, via)
    secret = pydantic.SecretStr(scenario.DEFAULT_SECRET)
    call = token_calls.StableCall(via, appid=scenario.DEFAULT_APPID, secret=secret)
    raised = None
    try:
        token = call.fetch(via.timeout_seconds).token
    except errors.WeChatError as error:
        raised = error

    _expect(READ[name], raised)
    if raised is None and name != "cut_idle":  # which breaks the connection for the next call
        kfsession.create(via, token, kf_account=AGENT, openid="fan")


@pytest.mark.parametrize("name", bends.TABLE)
def test_a_refusal_that_is_struck_is_never_a_success(
    wechat: running.SimulatorThread, via: transport.Transport, name: str
) -> None:
    _struck(wechat, scenario.CREATE_PATH, name, via)

    with pytest.raises(errors.WeChatError):
        _create(via, kf_account="offline@shop")
    assert wechat.book()["sessions"] == []


@pytest.mark.parametrize("errcode", CODES)
def test_every_code_that_strikes_a_create_ends_in_the_class_of_its_row(
    wechat: running.SimulatorThread, via: transport.Transport, errcode: int
) -> None:
    wechat.tell("faults", errcodes={str(errcode): 1})
    with pytest.raises(errors.WeChatError) as caught:
        _create(via)

    _expect(type(errors.from_errcode(errcode, None)), caught.value)
    assert caught.value.errcode == errcode
    assert wechat.book()["sessions"] == []


@pytest.mark.parametrize("errcode", CODES)
def test_every_code_that_strikes_a_read_ends_in_the_class_of_its_row(
    wechat: running.SimulatorThread, via: transport.Transport, errcode: int
) -> None:
    wechat.tell("faults", paths=[GETSESSION], errcodes={str(errcode): 1})
    if errcode == NO_SESSION:
        assert kfsession.serving(via, TOKEN, openid="fan") is None
        return
    with pytest.raises(errors.WeChatError) as caught:
        kfsession.serving(via, TOKEN, openid="fan")

    _expect(type(errors.from_errcode(errcode, None)), caught.value)


def test_a_connection_that_is_reset_under_the_next_call_makes_it_unsure(
    wechat: running.SimulatorThread, via: transport.Transport
) -> None:
    _create(via, "cut_idle_1")
    with pytest.raises(errors.LostReply, match="reset by peer"):
        _create(via)
    _create(via)

    assert [call["openid"] for call in wechat.book()["calls"]] == ["cut_idle_1", "fan"]


def test_a_redirect_is_never_followed(
    wechat: running.SimulatorThread, via: transport.Transport
) -> None:
    with pytest.raises(errors.UnreadableReply, match="302"):
        _create(via, "redirect_1")

    assert wechat.summary()["calls_by_path"] == {scenario.CREATE_PATH: 1}


def test_many_struck_calls_at_once_never_deny_a_session(
    wechat: running.SimulatorThread, via: transport.Transport
) -> None:
    """Each fault over connections that earlier ones have broken, in whatever order."""
    slow = ("hang", "drip", "drip_head", "huge")
    chances = {name: 0.04 for name in bends.TABLE if name not in slow}
    wechat.tell("faults", **chances)

    def ask(number: int) -> errors.WeChatError | None:
        try:
            _create(via, f"fan{number}")
        except errors.WeChatError as error:
            return error
        return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(400)))
    book = wechat.book()
    done = {session["openid"] for session in book["sessions"]}
    assert {call["fault"] for call in book["calls"]} >= chances.keys()
    for number, answer in enumerate(answers):
        is_denied = answer is not None and answer.ended is not errors.Ended.UNSURE
        if answer is None:
            assert f"fan{number}" in done
        elif is_denied and type(answer) is not READ_BACK:
            assert f"fan{number}" not in done

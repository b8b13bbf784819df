import inspect
import pickle
import re

import pytest

from worker import errors
from worker.contract import errcodes, record


def _below(root: type[Exception]) -> set[type[Exception]]:
    found = set(root.__subclasses__())
    return found.union(*(_below(child) for child in found)) if found else found


def _classes_of(verdict: errcodes.Verdict) -> set[type[Exception]]:
    rows = [row for row in errcodes.TABLE.values() if row.verdict is verdict]
    return {type(errors.from_errcode(row.errcode, None)) for row in rows}


def test_the_map_from_verdicts_to_errors_is_total() -> None:
    """Each verdict but OK has exactly one class, no two share one, and no leaf is left out."""
    verdicts = set(errcodes.Verdict) - {errcodes.Verdict.OK}
    reached: set[type[Exception]] = set()
    for verdict in verdicts:
        classes = _classes_of(verdict)
        assert len(classes) == 1, verdict
        assert reached.isdisjoint(classes), verdict
        reached |= classes
    without_code = {errors.NeverLeft, errors.LostReply, errors.UnreadableReply}
    leaves = {cls for cls in _below(errors.WeChatError) if not cls.__subclasses__()}
    assert reached == leaves - without_code


def test_success_is_no_error() -> None:
    with pytest.raises(KeyError):
        errors.from_errcode(0, "ok")


def test_the_three_branches_are_apart_and_cover_the_tree() -> None:
    for cls in _below(errors.WeChatError):
        branches = [
            branch
            for branch in (errors.NeverLeft, errors.Unsure, errors.Refused)
            if issubclass(cls, branch)
        ]
        assert len(branches) == 1, cls
        assert issubclass(cls, errors.WeChatError)
        assert cls.ended is branches[0].ended
    assert len({errors.NeverLeft.ended, errors.Unsure.ended, errors.Refused.ended}) == 3


@pytest.mark.parametrize("code", [-1, 1, 65413, 65499])
def test_a_code_that_may_have_taken_effect_is_unsure(code: int) -> None:
    assert isinstance(errors.from_errcode(code, None), errors.Unsure)


def test_names_are_short_stable_and_not_shared() -> None:
    assert {cls.__name__: cls.name for cls in _below(errors.WeChatError)} == {
        "NeverLeft": "never_left",
        "Unsure": "unsure",
        "SystemBusy": "busy",
        "LostReply": "lost_reply",
        "UnreadableReply": "unreadable",
        "UnknownErrcode": "unknown_code",
        "Refused": "refused",
        "TokenRejected": "token",
        "AccountBlocked": "blocked",
        "MachineRefused": "machine",
        "RateLimited": "rate_limited",
        "QuotaExhausted": "quota",
        "FanInvalid": "bad_openid",
        "AgentOut": "bad_agent",
        "AgentOffline": "offline",
        "ServedElsewhere": "served",
        "BadRequest": "bad_request",
    }
    names = [cls.name for cls in _below(errors.WeChatError)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]{1,14}", name) for name in names)


def test_the_docstring_draws_every_class() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or ""))
    ours = (cls for cls in _below(errors.KfsessionError) if cls.__module__ == errors.__name__)
    assert drawn == {cls.__name__ for cls in ours}


def test_every_class_says_what_its_catcher_can_do() -> None:
    assert all(cls.__doc__ for cls in _below(errors.KfsessionError))


@pytest.mark.parametrize(
    ("errmsg", "text", "rid"),
    [
        ("invalid openid rid: 65f1-0a2b-3c4d", "invalid openid", "65f1-0a2b-3c4d"),
        ("invalid openid rid:65f1-0a2b", "invalid openid", "65f1-0a2b"),
        ("invalid openid, RID : 65f1-0a2b ", "invalid openid", "65f1-0a2b"),
        ("invalid openid rid: 65f1", "invalid openid", "65f1"),
        ("could not, rid: 6-f, hint: [x]", "could not, hint: [x]", "6-f"),
        ("rid: 65f1-0a2b", None, "65f1-0a2b"),
        ("the grid: 5 fields", "the grid: 5 fields", None),
        ("system busy", "system busy", None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_the_rid_is_kept_apart_from_the_text(
    errmsg: str | None, text: str | None, rid: str | None
) -> None:
    error = errors.from_errcode(40003, errmsg)
    assert (error.errmsg, error.rid, error.errcode) == (text, rid, 40003)


def test_the_message_names_the_code_and_its_meaning() -> None:
    assert str(errors.from_errcode(65402, "x")) == (
        "errcode 65402: the agent is not bound to a WeChat user"
    )


def test_an_error_survives_a_trip_between_processes() -> None:
    error = errors.from_errcode(65402, "no rid: 1-2")
    error.elapsed_ms = 7
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.AgentOut
    assert vars(copy) == vars(error)


def test_missing_credentials_are_a_missing_token_that_only_this_worker_lacks() -> None:
    """Who catches the one catches the other; the mend goes with it."""
    error = errors.CredentialsMissing("no credentials for wx1", hint="give it some")
    assert isinstance(error, errors.TokenUnavailable)
    assert (error.hint, error.cause_error) == ("give it some", None)


def test_nobody_free_says_for_what_to_wait() -> None:
    """It is no answer of WeChat."""
    error = errors.NobodyFree(record.Reason.AGENT_FULL)
    assert error.reason is record.Reason.AGENT_FULL
    assert "agent_full" in str(error)
    assert not isinstance(error, errors.WeChatError)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@10.0.0.1:6379/0",
        "rediss://user:hunter2@10.0.0.1:6379/0",
        "sentinel://:hunter2@10.0.0.1:26379,h2:26379/main/0",
        "redis://user:hun/ter@hunter2@10.0.0.1/0",
        "redis://10.0.0.1/0?password=hunter2",
    ],
)
def test_the_ledgers_password_is_left_out(url: str) -> None:
    error = errors.LedgerUnavailable(url, f"cannot connect to {url}", maybe_written=True)
    assert "10.0.0.1" in str(error)
    assert "hunter2" not in str(error) + error.url + repr(error)
    assert error.maybe_written is True

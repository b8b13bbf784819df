import dataclasses

import pytest

from worker.contract import errcodes

Verdict = errcodes.Verdict


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ([0], Verdict.OK),
        ([-1], Verdict.TRANSIENT),
        ([40001, 40014, 42001, 41001], Verdict.TOKEN),
        ([42007, 61003, 61007, 61023, 48001, 48004, 50001, 50002], Verdict.ACCOUNT_BLOCKED),
        ([40013, 40125, 40243, 41002, 41004], Verdict.ACCOUNT_BLOCKED),
        ([40164, 61004, *range(89501, 89508)], Verdict.MACHINE_REFUSED),
        ([61005, 61006, 65400], Verdict.ACCOUNT_BLOCKED),
        ([45011], Verdict.RATE_LIMITED),
        ([45009], Verdict.QUOTA),
        ([40003, 43004], Verdict.FAN_INVALID),
        ([65401, 65402], Verdict.AGENT_OUT),
        ([65415, 61459], Verdict.AGENT_OFFLINE),
        ([65414, 61458], Verdict.SERVED_ELSEWHERE),
        ([40002, 43002, 44002, 47001, 65416], Verdict.BAD_REQUEST),
        ([65413, *range(65403, 65413), 65417], Verdict.UNKNOWN),
        ([1, -2, 99999, 2**31], Verdict.UNKNOWN),
    ],
)
def test_each_code_has_the_verdict_of_the_facts(codes: list[int], verdict: Verdict) -> None:
    assert {errcodes.lookup(code).verdict for code in codes} == {verdict}


def test_every_verdict_has_a_code() -> None:
    assert {row.verdict for row in errcodes.TABLE.values()} == set(Verdict)


def test_a_row_stands_under_its_own_code_and_says_what_to_do() -> None:
    for code, row in errcodes.TABLE.items():
        assert row.errcode == code
        assert row.meaning
        assert row.hint
        assert not row.hint.endswith(".")


@pytest.mark.parametrize(
    ("code", "seconds"),
    [(65400, 60), (40125, 60), (45011, 60), (45009, 3600), (89507, 3600), (89506, 86400), (7, 60)],
)
def test_an_account_is_probed_as_often_as_its_code_allows(code: int, seconds: int) -> None:
    assert errcodes.lookup(code).probe_seconds == seconds


def test_an_unknown_code_tells_a_person_where_to_look() -> None:
    row = errcodes.lookup(12345)
    assert row.errcode == 12345
    assert "12345" in row.hint


def test_rows_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        errcodes.lookup(0).hint = "other"

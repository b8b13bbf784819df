import os
import pathlib

import pydantic
import pytest

from worker import errors
from worker.wechat import tokens


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_fixed_token_is_handed_out_until_it_is_rejected() -> None:
    source = tokens.FixedToken(pydantic.SecretStr("PLANTED"))
    assert source.get() == "PLANTED"
    assert source.renew("an older one") == "PLANTED"
    with pytest.raises(errors.TokenUnavailable, match="KF_ACCESS_TOKEN") as caught:
        source.renew("PLANTED")
    assert "PLANTED" not in str(caught.value) + caught.value.hint + repr(source)


def test_a_file_is_read_again_when_it_changes_and_looked_at_once_a_second(
    tmp_path: pathlib.Path,
) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text(" ONE\n")
    source = tokens.FileToken(path, clock=clock)
    assert source.get() == "ONE"
    path.write_text("THREE")
    assert source.get() == "ONE"
    clock.now += tokens.CHECK_SECONDS
    assert source.get() == "THREE"


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_read_again(
    tmp_path: pathlib.Path,
) -> None:
    path, other, clock = tmp_path / "token", tmp_path / "new", Clock()
    path.write_text("ONE")
    other.write_text("TWO")
    for file in (path, other):
        os.utime(file, ns=(1, 1))
    source = tokens.FileToken(path, clock=clock)
    assert source.get() == "ONE"
    other.replace(path)
    clock.now += tokens.CHECK_SECONDS
    assert source.get() == "TWO"


def test_renewing_looks_at_the_file_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text("ONE")
    source = tokens.FileToken(path, clock=Clock())
    assert source.get() == "ONE"
    path.write_text("OTHER")
    assert source.renew("ONE") == "OTHER"
    with pytest.raises(errors.TokenUnavailable, match="rejects") as caught:
        source.renew("OTHER")
    assert "OTHER" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("content", [None, "", "\n", "two words", "x" * 3000, "é", "a\nb"])
def test_a_file_without_one_token_is_named(tmp_path: pathlib.Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.TokenUnavailable, match=str(path)):
        tokens.FileToken(path).get()


def test_a_file_that_is_being_rewritten_changes_nothing(tmp_path: pathlib.Path) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text("ONE")
    source = tokens.FileToken(path, clock=clock)
    assert source.get() == "ONE"
    path.write_text("")
    clock.now += tokens.CHECK_SECONDS
    assert source.get() == "ONE"
    path.unlink()
    clock.now += tokens.CHECK_SECONDS
    assert source.get() == "ONE"
    path.write_text("TWO")
    clock.now += tokens.CHECK_SECONDS
    assert source.get() == "TWO"

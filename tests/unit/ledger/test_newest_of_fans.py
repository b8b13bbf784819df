"""reader.newest_of_fans: what `route` asks of a hundred fans at a time."""

from __future__ import annotations

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import APPID


def test_each_fan_comes_with_its_newest_request_and_others_not_at_all(
    stage: stages.Stage,
) -> None:
    """In the account asked for."""
    stage.finish(stage.submit("oA").id, "cancelled")
    newest = stage.submit("oA").id
    other = stage.submit("oB").id
    stage.submit("oC", appid="wx2")
    found = stage.reader.newest_of_fans(APPID, ["oA", "oB", "oC", "oD"])
    assert {openid: one.id for openid, one in found.items()} == {"oA": newest, "oB": other}
    assert found["oA"].openid == "oA"


def test_no_fans_are_no_round_trip(stage: stages.Stage) -> None:
    """MGET would refuse."""
    assert stage.reader.newest_of_fans(APPID, []) == {}

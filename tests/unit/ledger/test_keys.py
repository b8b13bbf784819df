"""keys: one table names every structure, and every field of the hashes everybody may read."""

from __future__ import annotations

import re

from tests.unit.ledger import stage as stages
from tests.unit.ledger.stage import AGENT, APPID, OTHER
from worker.ledger import claims, dead_list, keys


def live_a_full_life(stage: stages.Stage) -> None:
    """Requests in every kind of place, readings, gates, doubts and oddities, all at once."""
    stage.ledger.accounts.announce("w1", {}, {APPID: {"": 9, AGENT: 4}, "wx2": {}})
    stage.observe_nobody(AGENT)
    held = stage.submit("oHELD", key="k1", metadata={"a": 1}).id
    assert stage.take(held).claim is None
    stage.submit("oHELD", id="joined")
    stage.observe({AGENT: 0, OTHER: 3})
    assert stage.let_out() == [held]
    claim = stage.find_next(stage.claim(held), offline=AGENT)  # against the list
    stage.announce({"": 9, AGENT: 4}, worker="w2", marks=[f"{APPID} 0 60000 1 token - no token"])
    stage.settle(claim, "waiting", reason="agent_offline", wait_seconds=9, strikes=1)
    doubted = stage.claim(stage.submit("oDOUBT", kf_account=OTHER).id)
    unsure = claims.Doubt.about(OTHER)
    stage.settle(doubted, "waiting", reason="transient", doubt=unsure, wait_seconds=9)
    stage.ledger.cancel(stage.submit("oGONE", lane="batch").id)
    failed = stage.claim(stage.submit("oFAILED", kf_account=OTHER).id)
    told = {"attempts": [stages.attempt()], "attempt_count": 1, "out": frozenset({OTHER})}
    stage.settle(failed, "failed", reason="invalid_agent", because="65401 no", crashes=2, **told)
    stage.ledger.retry(failed.id)
    crashed = stage.claim(failed.id)
    again = {"crashes": 1, "out": frozenset({AGENT}), "wait_seconds": 9}
    stage.settle(crashed, "waiting", reason="transient", **again)
    served = stage.claim(stage.submit("oSERVED", kf_account=OTHER).id)
    stage.settle(served, "created", served_by=OTHER, doubt=claims.Doubt.cleared())
    refused = stage.claim(stage.submit("oREFUSED", kf_account="kf9@acct", appid="wx2").id)
    stage.settle(refused, "waiting", reason="quota", because="45009 no", wait_seconds=9)
    hung = stage.claim(stage.submit("oHUNG", kf_account=OTHER).id)
    stage.pass_seconds(1)  # since the last answer
    stage.settle(hung, "waiting", reason="transient", hanging_seconds=15, wait_seconds=9)
    shared = claims.Taker(worker="w1", slots=8)
    stage.submit("oANOTHER", appid="wx2")
    asked = stage.submit("oASKED", kf_account=OTHER).id
    assert stage.claim(holder=shared.holder("t1"), taker=shared).id == asked
    stage.ledger.cancel(asked)
    stage.ledger.accounts.pause(APPID)
    stage.ledger.accounts.pause(APPID, OTHER)
    stage.ledger.accounts.want_reading([APPID])
    stage.observe({}, appid="wx2")
    stage.ledger.accounts.want_reading(["wx2"])
    stage.lose_sight()
    stage.ledger.dead_list.bury([dead_list.Refused(1, "q", "no", "x")])
    stage.take("nobody")
    stage.wake()
    stage.submit("oOLDER")
    stage.client.delete(stage.keys.lane(APPID), stage.keys.turns)  # an older release has none
    assert stage.ledger.waiting.adopt(1), "those of the other lane are looked for later"


#: Rows of the table that the ledger's own scripts do not write, or not for so few rooms.
_OF_OTHERS = {
    "replicated",
    "stirring",
    "token:<appid>",
    "token:<appid>:lock",
    "token:<appid>:forced",
    "token:<appid>:forces",
}


def test_the_table_names_every_structure(stage: stages.Stage) -> None:
    """And nothing that is not there: whoever reads it knows what Redis holds."""
    live_a_full_life(stage)
    rows = [line.split("|")[1:3] for line in (keys.__doc__ or "").splitlines() if "|" in line]
    types = {name.strip(): kind.strip() for name, kind in rows[2:] if name.strip()}
    named = {name: re.compile(re.sub(r"<\w+>", ".+", name)) for name in types}
    seen = set()
    for key in stage.all_keys():
        short = key.removeprefix(stage.keys.base)
        fitting = [
            name
            for name, pattern in named.items()
            if pattern.fullmatch(short) and types[name] in (stage.client.type(key), "stream")
        ]
        assert fitting, short
        seen.update(fitting)
    assert seen == set(types) - _OF_OTHERS
    stage.check()


def fields_of(stage: stages.Stage, prefix: str) -> set[str]:
    return {
        field
        for key in stage.all_keys()
        if key.startswith(prefix)
        for field in stage.client.hkeys(key)
    }


def test_every_field_of_a_record_is_listed(stage: stages.Stage) -> None:
    """Whatever a request has been through."""
    live_a_full_life(stage)
    known = {*keys.RECORD_FIELDS, *(f"{letter}{n}" for letter in "am" for n in range(5))}
    used = fields_of(stage, stage.keys.request(""))
    assert used <= known
    assert {"out", "crashes", "cancel", "because", "generation", "kept_until", "a0"} <= used


def test_every_field_of_an_account_is_listed(stage: stages.Stage) -> None:
    """Those of an agent by the name before the colon; none is listed for nothing."""
    live_a_full_life(stage)
    used = {re.sub(":.*", ":<agent>", each) for each in fields_of(stage, stage.keys.account(""))}
    assert used | {"on:<agent>"} == set(keys.ACCOUNT_FIELDS)

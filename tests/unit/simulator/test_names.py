"""Names of fans and agents steer."""

from __future__ import annotations

import pytest

from ops.simulator import names
from ops.simulator.faults import Fault


@pytest.mark.parametrize(
    ("openid", "fault", "times"),
    [
        ("busy_1", Fault.BUSY, 1),
        ("busy3_1", Fault.BUSY, 3),
        ("e502_1", Fault.HTML_502, 1),
        ("e502x4_1", Fault.HTML_502, 4),
        ("cut_before_1", Fault.CUT_BEFORE, 1),
        ("cut2_before_1", Fault.CUT_BEFORE, 2),
        ("cut_after_1", Fault.CUT_AFTER, 1),
        ("cut5_after_1", Fault.CUT_AFTER, 5),
        ("lied_1", Fault.LIED, 1),
        ("hang_1", Fault.HANG, 1),
        ("hang2_1", Fault.HANG, 2),
        ("drip_1", Fault.DRIP, 1),
        ("garbage_1", Fault.GARBAGE, 1),
        ("huge_1", Fault.HUGE, 1),
    ],
)
def test_a_fan_can_be_named_after_a_fault(openid: str, fault: Fault, times: int) -> None:
    assert names.fan(openid) == names.FanPlan(fault=fault, times=times)


@pytest.mark.parametrize(
    ("openid", "errcode"), [("wrong_1", 40003), ("unknown_1", 99999), ("code43004_1", 43004)]
)
def test_a_fan_can_be_named_after_an_errcode(openid: str, errcode: int) -> None:
    assert names.fan(openid) == names.FanPlan(errcode=errcode)


def test_a_fan_can_be_served_from_the_start() -> None:
    assert names.fan("served_bob_1") == names.FanPlan(served_by="bob")


@pytest.mark.parametrize(
    "openid",
    ["oABC123", "busybody", "busy", "xbusy_1", "wrongful_1", "served__1", "cutting_1", "huge"],
)
def test_any_other_fan_is_ordinary(openid: str) -> None:
    assert names.fan(openid) == names.FanPlan()


@pytest.mark.parametrize(
    ("kf_account", "plan"),
    [
        ("offline7@shop", names.AgentPlan(presence=names.Presence.NEVER)),
        ("late30@shop", names.AgentPlan(presence=names.Presence.LATE, seconds=30)),
        ("flip5x@shop", names.AgentPlan(presence=names.Presence.FLIP, seconds=5)),
        ("wrong@shop", names.AgentPlan(presence=names.Presence.NEVER, errcode=65401)),
        ("unbound@shop", names.AgentPlan(presence=names.Presence.NEVER, errcode=65402)),
        ("cap12@shop", names.AgentPlan(capacity=12)),
        ("anna@late30", names.AgentPlan()),
        ("lateral@shop", names.AgentPlan()),
    ],
)
def test_an_agent_can_be_named_after_its_ways(kf_account: str, plan: names.AgentPlan) -> None:
    assert names.agent(kf_account) == plan


def test_each_example_of_the_table_does_steer() -> None:
    for row in names.FANS:
        assert row.pattern.match(row.example)
        assert names.fan(row.example) != names.FanPlan()
        assert names.OPENID.fullmatch(row.example)
    for row in names.AGENTS:
        assert names.agent(row.example) != names.AgentPlan()
        assert names.KF_ACCOUNT.fullmatch(row.example)

"""Names of fans and agents steer."""

from __future__ import annotations

import pytest

from ops.simulator import bends, names


@pytest.mark.parametrize(
    ("openid", "fault", "times"),
    [
        ("busy_1", "busy", 1),
        ("busy3_1", "busy", 3),
        ("e502_1", "html_502", 1),
        ("e502x4_1", "html_502", 4),
        ("cut2_before_1", "cut_before", 2),
        ("cut5_after_1", "cut_after", 5),
        ("drip2_1", "drip", 2),
        ("drip2_head_1", "drip_head", 2),
        ("lied_5021", "lied", 1),
        ("lied3_502_1", "lied_502", 3),
        ("errcode2_nan_1", "errcode_nan", 2),
        *((f"{name}_1", name, 1) for name in bends.TABLE),
    ],
)
def test_a_fan_can_be_named_after_a_fault(openid: str, fault: str, times: int) -> None:
    assert names.fan(openid) == names.FanPlan(fault=bends.TABLE[fault], times=times)


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

import pytest

from ops.demonstration import plan
from ops.simulator import faults, names, scenario
from worker.contract import record

SEEDS = range(20)


@pytest.mark.parametrize("fans", [plan.LEAST_FANS, 60, 333])
def test_a_plan_has_exactly_the_fans_asked_for_and_every_kind_of_them(fans: int) -> None:
    """--fans N means N, and no kind is missing from the table however few there are."""
    made = plan.make(fans, seed=1)
    assert len(made.fans) == fans
    assert {fan.kind for fan in made.fans} == set(plan.Kind)
    assert len({fan.openid for fan in made.fans}) == fans


def test_a_seed_gives_the_same_plan_again_and_another_seed_another() -> None:
    """The seed alone repeats a demo."""
    assert plan.make(60, seed=5) == plan.make(60, seed=5)
    assert plan.make(60, seed=5).fans != plan.make(60, seed=6).fans


def test_fans_arrive_in_order_within_the_time_for_it() -> None:
    """The course lets them in from the front."""
    arrivals = [fan.arrives_at for fan in plan.make(60, seed=2).fans]
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] <= arrivals[-1] <= plan.ARRIVAL_SECONDS


@pytest.mark.parametrize("seed", SEEDS)
def test_no_fault_can_change_an_outcome(seed: int) -> None:
    """Rows of faults stay short, and none strikes those whose reason at the end is looked at."""
    made = plan.make(60, seed)
    chances = faults.chances(scenario.parse(made.scenario).faults)
    rows = {fan: plan.faults_in_a_row(fan.openid, seed, chances) for fan in made.fans}
    assert max(rows.values()) <= plan.MOST_FAULTS_IN_A_ROW
    assert not any(row for fan, row in rows.items() if fan.kind is plan.Kind.NEVER)


def test_faults_do_strike() -> None:
    """A demo without faults would show nothing of retries."""
    made = plan.make(60, seed=0)
    chances = faults.chances(scenario.parse(made.scenario).faults)
    assert sum(plan.faults_in_a_row(fan.openid, 0, chances) > 0 for fan in made.fans) > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_who_a_fan_asks_for_is_what_the_outcome_of_their_kind_needs(seed: int) -> None:
    """The expected outcome follows from names and schedules that the simulator goes by."""
    made = plan.make(60, seed)
    agents = {each.kf_account: each for each in scenario.parse(made.scenario).agents}
    comes_online = {switch.kf_account for switch in made.switches if switch.online}
    assert len(agents) == 6
    for fan in made.fans:
        targets = [fan.kf_account, *fan.fallbacks]
        can_serve = [
            each
            for each in targets
            if each == "any" or (each in agents and (agents[each].online or each in comes_online))
        ]
        steered = names.fan(fan.openid)
        match plan.EXPECTED[fan.kind].status:
            case record.Status.CREATED:
                assert can_serve
                assert not steered.errcode
                assert not steered.served_by
            case record.Status.EXPIRED:
                assert not can_serve
                assert fan.ttl_seconds
            case record.Status.ALREADY_SERVED:
                assert f"{steered.served_by}@demo" in agents
                assert f"{steered.served_by}@demo" not in targets
            case record.Status.FAILED:
                assert steered.errcode == 40003 or targets == ["wrong@demo"]


def test_both_lanes_are_used() -> None:
    """A person and a batch meet in the demo."""
    assert {fan.lane.value for fan in plan.make(60, seed=4).fans} == {"escalation", "batch"}


def test_wishes_are_requests_that_the_contract_admits() -> None:
    """Building them checks them."""
    assert all(fan.wish().openid == fan.openid for fan in plan.make(60, seed=9).fans)

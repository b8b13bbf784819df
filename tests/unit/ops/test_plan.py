from pathlib import Path

import pytest

from ops.demonstration import cast, kinds, plan
from ops.simulator import faults, names, scenario
from worker.contract import record, settings

SEEDS = range(20)


@pytest.mark.parametrize("fans", [plan.LEAST_FANS, 60, 333])
def test_a_plan_has_exactly_the_fans_asked_for_and_every_kind_of_them(fans: int) -> None:
    """--fans N means N, and no kind is missing from the table however few there are."""
    made = plan.make(fans, seed=1)
    assert len(made.fans) == fans
    everybody = (*made.fans, *made.queue)
    assert {fan.kind for fan in everybody} == set(kinds.Kind)
    assert len({fan.openid for fan in everybody}) == len(everybody)


def test_a_seed_gives_the_same_plan_again_and_another_seed_another() -> None:
    """The seed alone repeats a demo."""
    assert plan.make(60, seed=5) == plan.make(60, seed=5)
    assert plan.make(60, seed=5).fans != plan.make(60, seed=6).fans


def test_fans_arrive_in_order_within_the_time_for_it() -> None:
    """The course lets them in from the front."""
    arrivals = [fan.arrives_at for fan in plan.make(60, seed=2).fans]
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] <= arrivals[-1] <= plan.ARRIVAL_SECONDS


def test_the_queue_waits_at_wechat_from_the_start_and_is_a_third_as_long() -> None:
    """Nobody submits requests for these: `kfsession route` has to find them."""
    made = plan.make(60, seed=2)
    (waiting,) = scenario.parse(made.scenario).waiting
    assert waiting.openids == tuple(fan.openid for fan in made.queue)
    assert len(made.queue) == 20
    assert {fan.kind for fan in made.queue} == {kinds.Kind.QUEUE}
    assert kinds.Kind.QUEUE not in {fan.kind for fan in made.fans}


@pytest.mark.parametrize("fans", [plan.LEAST_FANS, 60, 333])
def test_more_come_for_the_agent_who_takes_two_than_fit_but_not_too_many(fans: int) -> None:
    """One who takes few at a time needs seconds for each two of them."""
    made = plan.make(fans, seed=3)
    full = [fan for fan in made.fans if fan.kind is kinds.Kind.FULL]
    assert {fan.kf_account for fan in full} == {cast.GINA}
    assert cast.CAPACITIES[cast.GINA] < len(full) <= 6


def test_whoever_is_paused_is_so_before_the_first_fan_and_resumed_after_the_last() -> None:
    """Each of these fans waits for the operator."""
    turns = {s.turn: s.at for s in plan.SWITCHES if s.kf_account == cast.HUGO}
    arrivals = [f.arrives_at for f in plan.make(60, 4).fans if f.kind is kinds.Kind.PAUSED]
    assert turns[plan.Turn.PAUSED] == 0
    assert max(arrivals) < turns[plan.Turn.RESUMED]


def test_switches_stand_in_their_order() -> None:
    """The course takes them from the front."""
    moments = [switch.at for switch in plan.SWITCHES]
    assert moments == sorted(moments)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_fault_can_change_an_outcome(seed: int) -> None:
    """Rows of faults stay short, and none strikes those whose reason at the end is looked at."""
    made = plan.make(60, seed)
    chances = faults.chances(scenario.parse(made.scenario).faults)
    everybody = (*made.fans, *made.queue)
    rows = {fan: plan.faults_in_a_row(fan.openid, seed, chances) for fan in everybody}
    assert max(rows.values()) <= plan.MOST_FAULTS_IN_A_ROW
    assert not any(row for fan, row in rows.items() if fan.kind is kinds.Kind.NEVER)


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
    comes_online = {each.kf_account for each in plan.SWITCHES if each.turn is plan.Turn.COMES}
    assert len(agents) == 8
    for fan in (*made.fans, *made.queue):
        targets = [fan.kf_account, *fan.fallbacks]
        can_serve = [
            each
            for each in targets
            if each == "any" or (each in agents and (agents[each].online or each in comes_online))
        ]
        steered = names.fan(fan.openid)
        match kinds.EXPECTED[fan.kind].status:
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


def test_the_ladder_has_a_wrong_agent_then_an_absent_one_then_one_who_is_there() -> None:
    """Only the last of three can serve, and the request has to get that far."""
    ladders = [fan for fan in plan.make(60, seed=5).fans if fan.kind is kinds.Kind.LADDER]
    for fan in ladders:
        assert (fan.kf_account, fan.fallbacks[0]) == (cast.WRONG, cast.FRED)
        assert fan.fallbacks[1] in cast.ALWAYS
    assert ladders


def test_the_worker_knows_the_capacities_and_the_simulator_tells_them(tmp_path: Path) -> None:
    """Both files speak of the same account and the same agents."""
    file = tmp_path / "accounts.toml"
    file.write_text(cast.accounts_toml())
    (account,) = settings.load(_env_file=None, accounts_file=file).accounts()
    told = scenario.parse(plan.make(60, seed=6).scenario)
    assert account.appid == told.accounts[0].appid
    assert account.capacities == {
        each.kf_account: each.capacity for each in told.agents if each.capacity
    }


def test_both_lanes_are_used() -> None:
    """A person and a batch meet in the demo."""
    assert {fan.lane.value for fan in plan.make(60, seed=4).fans} == {"escalation", "batch"}


def test_wishes_are_requests_that_the_contract_admits() -> None:
    """Building them checks them."""
    assert all(fan.wish().openid == fan.openid for fan in plan.make(60, seed=9).fans)

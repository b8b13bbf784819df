"""One account's agents, sessions and waiting fans."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ops.simulator import replies, scenario, world
from tests.unit.simulator import clock

Make = Callable[[str], world.World]


@pytest.fixture
def now() -> clock.Clock:
    return clock.Clock()


@pytest.fixture
def make(now: clock.Clock) -> Make:
    def made(text: str = "") -> world.World:
        chosen = scenario.parse(text)
        return world.World(chosen.accounts[0], chosen, now)

    return made


def create(of: world.World, kf_account: str, openid: str) -> int:
    try:
        of.create(kf_account, openid)
    except replies.Refused as refused:
        return refused.errcode
    return 0


def served_by(of: world.World, openid: str) -> str:
    held = of.session_of(openid)
    return held.kf_account if held else ""


def online(of: world.World) -> list[str]:
    return [agent.kf_account for agent, _ in of.online()]


def test_a_pair_that_has_its_session_is_answered_ok_and_opens_nothing(make: Make) -> None:
    of = make("")

    assert of.create("anna@shop", "fan") is True
    assert of.create("anna@shop", "fan") is False
    assert len(of.history) == 1


@pytest.mark.parametrize(("switch", "code"), [("65414", 65414), ("61458", 61458)])
def test_a_fan_served_by_another_agent_is_refused(make: Make, switch: str, code: int) -> None:
    of = make(f"served_elsewhere = '{switch}'")
    of.create("anna@shop", "fan")

    assert create(of, "bert@shop", "fan") == code
    assert served_by(of, "fan") == "anna@shop"


def test_or_is_handed_over_where_the_scenario_says_so(make: Make) -> None:
    of = make("served_elsewhere = 'ok'")
    of.create("anna@shop", "fan")

    assert create(of, "bert@shop", "fan") == 0
    assert served_by(of, "fan") == "bert@shop"
    assert of.history[0].closed_at is not None
    assert [len(agent.fans) for agent in of.agents.values()] == [0, 1]


@pytest.mark.parametrize(
    ("kf_account", "openid", "code"),
    [
        ("offline@shop", "fan", 65415),
        ("wrong@shop", "fan", 65401),
        ("unbound@shop", "fan", 65402),
        ("anna", "fan", 65401),
        ("a b@shop", "fan", 65401),
        ("anna@shop", "fan!", 40003),
        ("anna@shop", "粉丝", 40003),
        ("anna@shop", "f" * 129, 40003),
    ],
)
def test_who_cannot_be_joined_is_refused(
    make: Make, kf_account: str, openid: str, code: int
) -> None:
    of = make("")

    assert create(of, kf_account, openid) == code
    assert of.history == []


def test_a_late_agent_is_online_after_its_time(make: Make, now: clock.Clock) -> None:
    of = make("")
    answers = []
    for _ in range(3):
        answers.append(create(of, "late20@shop", "fan"))
        now.now += 10

    assert answers == [65415, 65415, 0]


def test_a_flipping_agent_comes_and_goes(make: Make, now: clock.Clock) -> None:
    of = make("")
    answers = []
    for fan in range(6):
        answers.append(create(of, "flip10@shop", f"fan{fan}"))
        now.now += 5

    assert answers == [0, 0, 65415, 65415, 0, 0]


def test_a_scheduled_agent_keeps_the_schedule_and_a_switch_ends_it(
    make: Make, now: clock.Clock
) -> None:
    of = make("[[agents]]\nkf_account = 'late99@shop'\nschedule = [[0, 5], [10, 20]]")
    seen = []
    for _ in range(5):
        seen.append(online(of) == ["late99@shop"])
        now.now += 5
    of.switch("late99@shop", True)

    assert seen == [True, False, True, True, False]
    assert online(of) == ["late99@shop"]


def test_the_online_list_lags_behind_the_truth(make: Make, now: clock.Clock) -> None:
    of = make("presence_lag_seconds = 5\n[[agents]]\nkf_account = 'anna@shop'")
    now.now += 60
    of.switch("anna@shop", False)

    assert online(of) == ["anna@shop"]
    assert create(of, "anna@shop", "fan") == 65415
    now.now += 5
    assert online(of) == []


def accepted(of: world.World) -> int:
    ((_, serving),) = of.online()
    return serving


def test_what_each_serves_lags_as_well(make: Make, now: clock.Clock) -> None:
    of = make("presence_lag_seconds = 5\nsession_seconds = 20\n[[agents]]\nkf_account='anna@shop'")
    of.create("anna@shop", "first")
    seen = [accepted(of)]
    now.now += 4
    of.create("anna@shop", "second")
    seen.append(accepted(of))
    for _ in range(4):
        now.now += 1
        seen.append(accepted(of))
    of.hang_up("second")
    now.now += 4
    seen.append(accepted(of))
    now.now += 1
    seen.append(accepted(of))

    # Opened at 0 and 4, closed by hand at 8: shown from 5, 9 and 13 on.
    assert seen == [0, 0, 1, 1, 1, 1, 2, 1]


def test_an_end_that_nobody_looked_at_is_in_the_past_of_the_list(
    make: Make, now: clock.Clock
) -> None:
    of = make("presence_lag_seconds = 5\nsession_seconds = 20\n[[agents]]\nkf_account='anna@shop'")
    of.create("anna@shop", "fan")
    now.now += 24
    before = accepted(of)
    now.now += 1

    assert (before, accepted(of)) == (1, 0)


def test_without_a_lag_the_list_is_true(make: Make) -> None:
    of = make("[[agents]]\nkf_account='anna@shop'")
    of.create("anna@shop", "fan")
    seen = [accepted(of)]
    of.close("anna@shop", "fan")

    assert [*seen, accepted(of)] == [1, 0]


def test_a_full_agent_takes_more_unless_the_scenario_says_otherwise(make: Make) -> None:
    generous, strict = make(""), make("agent_full = '65415'")

    assert [create(generous, "cap1@shop", fan) for fan in ("f1", "f2")] == [0, 0]
    assert [create(strict, "cap1@shop", fan) for fan in ("f1", "f2")] == [0, 65415]
    assert generous.agents["cap1@shop"].max_serving == 2


def test_closing_asks_for_the_right_agent(make: Make) -> None:
    of = make("")
    of.create("anna@shop", "fan")

    with pytest.raises(replies.Refused, match="65414"):
        of.close("bert@shop", "fan")
    of.close("anna@shop", "fan")
    with pytest.raises(replies.Refused, match="65413"):
        of.close("anna@shop", "fan")
    assert of.sessions_of("anna@shop") == []


def test_sessions_close_by_themselves(make: Make, now: clock.Clock) -> None:
    of = make("session_seconds = 30")
    of.create("anna@shop", "first")
    now.now += 20
    of.create("anna@shop", "second")
    now.now += 10

    assert [held.openid for held in of.sessions_of("anna@shop")] == ["second"]
    assert of.history[0].closed_at == now.now
    assert create(of, "anna@shop", "first") == 0


def test_sessions_end_by_and_by_and_the_same_for_the_same_seed(
    make: Make, now: clock.Clock
) -> None:
    fans = [f"fan{at}" for at in range(20)]
    lasted = []
    for seed, order in ((1, fans), (1, fans[::-1]), (2, fans)):
        of = make(f"seed = {seed}\nsession_seconds = [10, 30]")
        for openid in order:
            of.create("anna@shop", openid)
        now.now += 60
        of.catch_up()
        lasted.append(
            {held.openid: (held.closed_at or 0.0) - held.opened_at for held in of.history}
        )

    assert lasted[0] == lasted[1] != lasted[2]
    assert all(10 <= seconds <= 30 for seconds in lasted[0].values())
    assert len(set(lasted[0].values())) == 20


def test_a_session_frees_its_agent_at_its_own_end(make: Make, now: clock.Clock) -> None:
    of = make("session_seconds = [10, 30]\nagent_full = '65415'")
    of.create("cap1@shop", "first")
    seen = []
    for _ in range(31):
        seen.append(len(of.agents["cap1@shop"].fans))
        seen.append(create(of, "cap1@shop", "second"))
        now.now += 1
        if not seen[-1]:
            break

    assert seen == [1, 65415] * (len(seen) // 2 - 1) + [1, 0]
    assert of.history[0].closed_at == pytest.approx(now.now - 1, abs=1)
    assert of.agents["cap1@shop"].max_serving == 1


def test_a_fan_can_be_served_from_the_start_and_has_the_suffix_of_who_is_asked(make: Make) -> None:
    of = make("")

    assert create(of, "anna@shop", "served_bob_1") == 65414
    assert served_by(of, "served_bob_1") == "bob@shop"
    assert served_by(of, "served_bob_2") == "bob@simulator"
    of.close("bob@shop", "served_bob_1")
    assert create(of, "anna@shop", "served_bob_1") == 0


def test_fans_wait_oldest_first_a_hundred_rows_at_most(make: Make, now: clock.Clock) -> None:
    of = make("[waiting]\ncount = 120\nopenids = ['first']")
    now.now += 1
    of.wait(["last", "first"])
    count, rows = of.waiting()

    assert count == 122
    assert [openid for openid, _ in rows] == [
        "first",
        *(f"waiting_{at:05d}" for at in range(1, 100)),
    ]


def test_who_gets_a_session_waits_no_longer(make: Make) -> None:
    of = make("waiting = {count = 2}")
    of.create("anna@shop", "waiting_00001")
    of.wait(["waiting_00001"])

    assert [openid for openid, _ in of.waiting()[1]] == ["waiting_00002"]


def test_who_is_served_from_the_start_does_not_wait(make: Make) -> None:
    of = make("waiting = {openids = ['served_bob_1', 'fan']}")

    assert [openid for openid, _ in of.waiting()[1]] == ["fan"]


@pytest.mark.parametrize("openid", ["waiting_00001", "arrived_000002", "fan"])
@pytest.mark.parametrize("opened_after", [0, 3])
def test_who_had_a_session_does_not_come_back_by_himself(
    make: Make, now: clock.Clock, openid: str, opened_after: float
) -> None:
    of = make(
        "session_seconds = 5\n"
        "waiting = {count = 1, openids = ['fan'], arrivals_per_second = 1, arrivals_limit = 3}"
    )
    now.now += opened_after
    of.create("anna@shop", openid)
    now.now += 60

    assert openid not in dict(of.waiting()[1])
    assert served_by(of, openid) == ""
    of.wait([openid])
    assert openid in dict(of.waiting()[1])


def test_the_next_hundred_show_when_the_first_are_served(make: Make) -> None:
    of = make("waiting = {count = 250}")
    counts = []
    while (read := of.waiting())[0]:
        counts.append(read[0])
        for openid, _ in read[1]:
            of.create("anna@shop", openid)

    assert counts == [250, 150, 50]
    assert len(of.history) == 250


def test_who_arrived_before_is_shown_before(make: Make, now: clock.Clock) -> None:
    of = make("waiting = {count = 1, arrivals_per_second = 1, arrivals_limit = 2}")
    now.now += 1.5
    of.wait(["told"])
    now.now += 10

    assert [openid for openid, _ in of.waiting()[1]] == [
        "waiting_00001",
        "arrived_000001",
        "told",
        "arrived_000002",
    ]


def test_fans_arrive_until_the_limit(make: Make, now: clock.Clock) -> None:
    of = make("waiting = {arrivals_per_second = 2, arrivals_limit = 5}")
    counts = []
    for _ in range(4):
        counts.append(of.waiting()[0])
        now.now += 1

    assert counts == [0, 2, 4, 5]


def test_an_agent_of_another_account_is_none_here(make: Make) -> None:
    of = make("[[accounts]]\nappid='a'\nsuffix='one'\n[[accounts]]\nappid='b'\nsuffix='two'")

    assert create(of, "anna@two", "fan") == 65401
    assert create(of, "anna@one", "fan") == 0

from collections.abc import Sequence

import pytest

from ops.bench import judging, latency, race, submitting


def turn(*, sessions_a_second: float = 1000, cpu_ms: float = 1, rss_mib: float = 80) -> race.Turn:
    return race.Turn(
        sessions=1000,
        seconds=1000 / sessions_a_second,
        worker_cpu_seconds=cpu_ms,
        valkey_cpu_seconds=0.4,
        server_cpu_seconds=0.1,
        rss_bytes=int(rss_mib * 2**20),
    )


def reached(measured: judging.Measured) -> dict[str, bool]:
    return {each.name: each.is_reached for each in judging.judge(measured)}


def speeds(*sessions_a_second: float) -> list[race.Turn]:
    return [turn(sessions_a_second=each) for each in sessions_a_second]


def test_only_what_was_measured_is_judged() -> None:
    """A figure that was left out is neither reached nor missed."""
    assert judging.judge(judging.Measured(turns={})) == []
    assert judging.judge(judging.Measured(turns={"bare": speeds(1000)})) == []


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [
        ("batch", "bare", 1.0),
        ("batch", "celery-threads", 4.0),
        ("batch", "dramatiq", 1.0),
        ("escalation", "celery-threads", 2.0),
        ("batch-2", "batch", 1.6),
    ],
)
def test_a_speed_is_reached_by_the_median_of_the_ratios(one: str, other: str, least: float) -> None:
    """Two good rounds of three are enough; two bad ones are not."""
    name = f"sessions/s, {one} : {other}"
    good, bad = 100 * least + 1, 100 * least - 1
    turns = {one: speeds(good, bad, good), other: speeds(100, 100, 100)}
    assert reached(judging.Measured(turns=turns))[name]
    turns[one] = speeds(bad, good, bad)
    assert not reached(judging.Measured(turns=turns))[name]


@pytest.mark.parametrize(("cpu_ms", "is_reached"), [(1.1, True), (1.12, False)])
def test_a_batch_session_may_cost_a_tenth_more_cpu_than_a_bare_call(
    cpu_ms: float, is_reached: bool
) -> None:
    """Only workers count: the bare loop has no Valkey."""
    turns = {"batch": [turn(cpu_ms=cpu_ms)], "bare": [turn(cpu_ms=1)]}
    name = "CPU of the workers a session, batch : bare"
    assert reached(judging.Measured(turns=turns))[name] is is_reached


@pytest.mark.parametrize(
    ("idle", "under_load", "missed"),
    [
        ([5.0] * 100, [200.0] * 100, []),
        ([11.0] * 51 + [5.0] * 49, [200.0], ["idle, p50"]),
        ([5.0] * 98 + [51.0] * 2, [200.0], ["idle, p99"]),
        ([5.0] * 99 + [999.0], [200.0] * 98 + [251.0] * 2, ["beside a batch on all slots, p99"]),
    ],
)
def test_latency_is_judged_by_its_percentiles(
    idle: list[float], under_load: list[float], missed: Sequence[str]
) -> None:
    """One in a hundred may be late, two may not."""
    found = latency.Latencies(idle=idle, under_load=under_load)
    judged = reached(judging.Measured(turns={}, latencies=found))
    assert len(judged) == 3
    assert [name for name, is_reached in judged.items() if not is_reached] == [
        f"ms from submit to call, {each}" for each in missed
    ]


@pytest.mark.parametrize(
    ("submit_many", "delay", "missed"),
    [(10_000, 1000, 0), (9_999, 1000, 1), (12_000, 1600, 1), (5_000, 1000, 2)],
)
def test_submit_many_is_judged_alone_and_against_delay(
    submit_many: float, delay: float, missed: int
) -> None:
    """It has to be quick, and much quicker than a message a fan."""
    rates = submitting.Rates(submit_many=[submit_many], delay=[delay])
    judged = reached(judging.Measured(turns={}, rates=rates))
    assert list(judged.values()).count(False) == missed


@pytest.mark.parametrize(
    ("mib", "missed"),
    [
        ([80, 81, 82, 82], []),
        ([80, 90, 100, 82], []),
        ([80, 121, 80], ["MiB of a batch worker, after each round"]),
        ([80, 82, 84, 86], ["its growth after the first round, in %"]),
    ],
)
def test_memory_has_a_ceiling_and_must_not_grow(mib: list[float], missed: list[str]) -> None:
    """The ceiling holds in every round; growth is seen from the first to the last."""
    turns = {"batch": [turn(rss_mib=each) for each in mib]}
    judged = reached(judging.Measured(turns=turns))
    assert [name for name, is_reached in judged.items() if not is_reached] == missed

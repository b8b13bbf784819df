"""election: a write counts once the sentinels confirm whose replicas have it."""

from __future__ import annotations

import types

import pytest
import redis
import redis.sentinel

from worker.ledger import election

HERE, ELSEWHERE = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


class Sentinel:
    """Says what it is told to say about the master, or fails."""

    def __init__(self, master: tuple[str, int] = HERE, flags: str = "master") -> None:
        self.master, self.flags = master, flags
        self.failure: Exception | None = None
        self.asked = 0

    def sentinel_master(self, name: str) -> dict[str, object]:
        assert name == "kf"
        self.asked += 1
        if self.failure:
            raise self.failure
        return {"ip": self.master[0], "port": self.master[1], "flags": self.flags}


def confirm(sentinels: list[Sentinel], asks: election.Election | None = None) -> None:
    one = types.SimpleNamespace(host=HERE[0], port=HERE[1])
    (asks or elected(sentinels)).confirm(one)


def elected(sentinels: list[Sentinel]) -> election.Election:
    manager = redis.sentinel.Sentinel([])
    manager.sentinels = sentinels
    return election.Election(manager.master_for("kf"))


def test_without_sentinels_there_is_nothing_to_confirm() -> None:
    """One server is always its own master."""
    election.Election(redis.Redis()).confirm(types.SimpleNamespace())


def test_a_master_that_all_name_is_confirmed() -> None:
    """Each is asked once, and again for the next write."""
    sentinels = [Sentinel(), Sentinel(), Sentinel()]
    asks = elected(sentinels)
    for _ in range(2):
        confirm(sentinels, asks)
    assert [each.asked for each in sentinels] == [2, 2, 2]


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Sentinel(ELSEWHERE), "another master"),
        (Sentinel(flags="master,failover_in_progress"), "failover"),
        (Sentinel(flags="s_down,o_down,master"), "failover"),
    ],
    ids=["another", "under way", "down"],
)
def test_one_that_knows_better_is_believed(place: int, odd: Sentinel, why: str) -> None:
    """The others hear of a failover a little later than its leader."""
    sentinels = [Sentinel(), Sentinel(), Sentinel()]
    sentinels[place] = odd
    with pytest.raises(election.NotConfirmed, match=why):
        confirm(sentinels)


def test_one_that_cannot_reach_the_master_itself_is_no_voice_for_it() -> None:
    """Nor against it, as long as most others can."""
    confirm([Sentinel(), Sentinel(flags="s_down,master"), Sentinel()])
    with pytest.raises(election.NotConfirmed, match="1 of 3"):
        confirm([Sentinel(), *(Sentinel(flags="s_down,master") for _ in range(2))])


@pytest.mark.parametrize(
    "failure",
    [
        redis.exceptions.ConnectionError("Error 111 connecting to 10.0.0.9:26379"),
        redis.exceptions.TimeoutError("slow"),
        redis.exceptions.ResponseError("No such master with that name"),
        OSError("unreachable"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_one_that_is_away_is_left_out_for_a_while(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three are enough; not every write waits for the third."""
    sentinels = [Sentinel(), Sentinel(), Sentinel()]
    sentinels[1].failure = failure
    asks = elected(sentinels)
    for _ in range(3):
        confirm(sentinels, asks)
    assert [each.asked for each in sentinels] == [3, 1, 3]
    sentinels[0].failure = failure
    with pytest.raises(election.NotConfirmed, match="1 of 3"):
        confirm(sentinels, asks)
    sentinels[0].failure = sentinels[1].failure = None
    monkeypatch.setattr(asks, "_ask_at", [0.0] * 3)
    confirm(sentinels, asks)
    assert [each.asked for each in sentinels] == [5, 2, 5]

import threading
from collections.abc import Callable

import fakeredis
import pytest
import redis

from worker import errors
from worker.wechat import shared_token, token_cache, token_calls


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """Plays answers in turn: a token, a (token, expires_in) pair or an error; then repeats."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, seconds: float) -> token_calls.Grant:
        assert 0 < seconds <= 10
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        token, expires_in = answer if isinstance(answer, tuple) else (answer, 7200)
        return token_calls.Grant(token=token, expires_in_seconds=expires_in)


class CountingRedis(fakeredis.FakeRedis):
    commands = 0
    is_down = False

    def execute_command(self, *args: object, **options: object) -> object:
        self.commands += 1
        if self.is_down:
            raise redis.ConnectionError("redis://:PLANTED@h is down")
        return super().execute_command(*args, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> CountingRedis:
    return CountingRedis(decode_responses=True)


Make = Callable[..., shared_token.SharedToken]


@pytest.fixture
def make(clock: Clock, client: CountingRedis) -> Make:
    """Builds one process's view of the account's token."""

    def build(fetch: Source, force: Source | None = None) -> shared_token.SharedToken:
        return shared_token.SharedToken(
            fetch,
            token_cache.TokenCache(client, prefix="kf", appid="wx1"),
            wait_seconds=10,
            force=force,
            clock=clock,
            sleep=clock.sleep,
            chance=lambda: 0.0,
        )

    return build


def test_a_remembered_token_costs_no_round_trip(make: Make, client: CountingRedis) -> None:
    source = Source("T1")
    mine = make(source)
    assert mine.get() == "T1"
    client.commands = 0
    assert [mine.get() for _ in range(100)] == ["T1"] * 100
    assert (client.commands, source.calls) == (0, 1)


def test_processes_share_what_one_of_them_fetched(make: Make) -> None:
    source = Source("T1", "T2")
    assert make(source).get() == "T1"
    assert make(source).get() == "T1"
    assert source.calls == 1


def test_a_rejected_token_is_compared_before_anything_is_fetched(make: Make) -> None:
    source = Source("T1", "T2", "T3")
    mine, other = make(source), make(source)
    assert (mine.get(), other.get()) == ("T1", "T1")
    assert mine.renew("T1") == "T2"
    assert other.renew("T1") == "T2", "another process has renewed it: no new fetch"
    assert mine.renew("T1") == "T2", "an old failure must not end the new token"
    assert source.calls == 2


def test_a_token_near_its_end_is_replaced_while_the_others_use_it(make: Make, clock: Clock) -> None:
    source = Source("T1", "T2")
    mine = make(source)
    assert mine.get() == "T1"
    clock.now += 7200 - shared_token.REFRESH_SECONDS - 1
    assert mine.get() == "T1"
    clock.now += 2
    assert mine.get() == "T2"
    assert source.calls == 2


def test_a_refresh_by_another_process_is_not_waited_for(
    make: Make, clock: Clock, client: CountingRedis
) -> None:
    source = Source("T1")
    mine = make(source)
    assert mine.get() == "T1"
    clock.now += 7000
    client.set("{kf}:token:wx1:lock", "another process")
    before = clock.now
    assert mine.get() == "T1"
    assert (clock.now, source.calls) == (before, 1)
    client.commands = 0
    assert mine.get() == "T1"
    assert client.commands == 0, "it looks again after a second, not each time"


def test_a_failed_early_refresh_leaves_the_token_in_use(make: Make, clock: Clock) -> None:
    source = Source("T1", errors.SystemBusy("busy"), errors.SystemBusy("busy"), "T2")
    mine = make(source)
    assert mine.get() == "T1"
    clock.now += 7000
    assert mine.get() == "T1"
    assert mine.get() == "T1"
    assert source.calls == 2, "one try, then a pause"
    clock.now += 1
    assert mine.get() == "T1"
    clock.now += 2
    assert mine.get() == "T2"


def test_a_thread_that_comes_late_to_a_refresh_takes_its_result(make: Make, clock: Clock) -> None:
    mine = make(Source("T1", "T2"))
    assert mine.get() == "T1"
    clock.now += 7000
    seen_by_the_late_one = mine._held
    assert mine.get() == "T2"
    assert seen_by_the_late_one is not None
    assert mine._refresh_early(seen_by_the_late_one) == "T2"


def test_a_short_lived_token_is_replaced_at_half_its_life(make: Make, clock: Clock) -> None:
    source = Source(("T1", 100), "T2")
    mine = make(source)
    assert mine.get() == "T1"
    clock.now += 49
    assert mine.get() == "T1"
    clock.now += 2
    assert mine.get() == "T2"


def test_an_expired_token_is_not_handed_out(
    make: Make, clock: Clock, client: CountingRedis
) -> None:
    source = Source("T1", errors.NeverLeft("no route"))
    mine = make(source)
    assert mine.get() == "T1"
    clock.now += 7200
    client.delete("{kf}:token:wx1")  # Redis lets it go at the same time
    with pytest.raises(errors.TokenUnavailable):
        mine.get()


def test_waiting_for_another_process_is_bounded(
    make: Make, clock: Clock, client: CountingRedis
) -> None:
    client.set("{kf}:token:wx1:lock", "another process")
    source, before = Source("T1"), clock.now
    with pytest.raises(errors.TokenUnavailable, match="another process"):
        make(source).get()
    assert 10 <= clock.now - before < 10.2
    assert source.calls == 0


def test_the_token_another_process_fetches_is_taken_when_it_is_there(
    make: Make, clock: Clock, client: CountingRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = token_cache.TokenCache(client, prefix="kf", appid="wx1")
    fence = cache.lock("another process", seconds=60)
    assert fence is not None
    mine = make(Source("MINE"))

    def sleep(seconds: float) -> None:
        clock.now += seconds
        cache.store("another process", fence=fence, token="THEIRS", seconds=7200)

    monkeypatch.setattr(mine, "_sleep", sleep)
    assert mine.get() == "THEIRS"


@pytest.mark.parametrize("code", [40125, 40164, 89503, -1, 45009])
def test_wechats_answer_to_the_token_call_is_kept(make: Make, code: int) -> None:
    cause = errors.from_errcode(code, "x rid: 1-2")
    with pytest.raises(errors.TokenUnavailable, match="wx1") as caught:
        make(Source(cause)).get()
    assert caught.value.cause_error is cause
    assert caught.value.hint


def test_failures_are_remembered_longer_and_longer(make: Make, clock: Clock) -> None:
    source = Source(errors.NeverLeft("no route"))
    mine, gaps, last_try = make(source), [], clock.now
    while len(gaps) < 8:
        calls = source.calls
        with pytest.raises(errors.TokenUnavailable, match="no route"):
            mine.get()
        if source.calls > calls:
            gaps.append(clock.now - last_try)
            last_try = clock.now
        clock.now += 0.5
    assert gaps == [0, 1, 2, 4, 8, 16, 30, 30]


def test_success_ends_the_pause(make: Make, clock: Clock) -> None:
    source = Source(errors.NeverLeft("no route"), "T1")
    mine = make(source)
    with pytest.raises(errors.TokenUnavailable):
        mine.get()
    clock.now += 1
    assert mine.get() == "T1"


def test_many_threads_make_one_fetch(make: Make) -> None:
    source, found = Source("T1", "T2"), []
    mine = make(source)
    threads = [threading.Thread(target=lambda: found.append(mine.get())) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["T1"] * 32
    assert source.calls == 1


def test_forcing_is_the_last_resort(make: Make) -> None:
    source, force = Source("T1", "T1", "T2"), Source("F1")
    mine = make(source, force)
    assert mine.get() == "T1"
    assert mine.renew("T1") == "F1"
    assert (source.calls, force.calls) == (2, 1)


def test_forcing_is_not_needed_where_a_plain_call_helps(make: Make) -> None:
    source, force = Source("T1", "T2"), Source("F1")
    mine = make(source, force)
    assert mine.get() == "T1"
    assert mine.renew("T1") == "T2"
    assert force.calls == 0


def test_forcing_happens_at_most_once_a_minute_over_all_processes(make: Make, clock: Clock) -> None:
    force = Source("F1")
    mine, other = make(Source("F1"), force), make(Source("F1"), force)
    assert mine.get() == "F1"
    with pytest.raises(errors.TokenUnavailable, match="rejects"):
        mine.renew("F1")
    assert force.calls == 1
    assert other.get() == "F1"
    with pytest.raises(errors.TokenUnavailable):
        other.renew("F1")
    clock.now += 40
    with pytest.raises(errors.TokenUnavailable):
        mine.renew("F1")
    assert force.calls == 1


def test_a_token_that_stays_rejected_is_tried_more_and_more_rarely(
    make: Make, clock: Clock
) -> None:
    mine, tries = make(Source("T1")), []
    while clock.now < 1120:
        try:
            token = mine.get()
        except errors.TokenUnavailable:
            clock.now += 0.5
            continue
        tries.append(clock.now)
        with pytest.raises(errors.TokenUnavailable):
            mine.renew(token)
    assert len(tries) <= 9


@pytest.mark.parametrize("rejected", [None, "T1"])
def test_without_redis_there_is_no_token_and_no_storm(
    make: Make, client: CountingRedis, rejected: str | None
) -> None:
    source = Source("T1", "T2")
    mine = make(source)
    if rejected:
        assert mine.get() == rejected
    calls, client.is_down = source.calls, True
    with pytest.raises(errors.TokenUnavailable, match="Redis") as caught:
        mine.renew(rejected) if rejected else mine.get()
    assert "PLANTED" not in f"{caught.value}{caught.value.hint}"
    assert caught.value.__context__ is None
    assert source.calls == calls


def test_a_token_in_use_outlives_a_pause_of_redis(make: Make, client: CountingRedis) -> None:
    mine = make(Source("T1"))
    assert mine.get() == "T1"
    client.is_down = True
    assert mine.get() == "T1"


def test_no_repr_shows_the_token(make: Make) -> None:
    mine = make(Source("PLANTED"))
    mine.get()
    assert "PLANTED" not in f"{mine!r}{mine._held!r}"

"""scripts: Lua by its hash, and Redis's failures as one error that says what may have been."""

from __future__ import annotations

import pytest
import redis

from tests.unit.ledger import stage as stages
from worker import errors
from worker.ledger import ledger, receipts, scripts

URL = "redis://:p@ss/w0rd@ledger.example:6379/0"

E = redis.exceptions


def test_many_scripts_survive_a_server_that_forgot_them(stage: stages.Stage) -> None:
    """A restarted server knows no script; they are loaded and sent again."""
    stage.client.script_flush()
    written = stage.ledger.submit_many([(stage.wish(f"o{n}"), f"i{n}") for n in range(3)])
    assert all(isinstance(each, receipts.Receipt) for each in written)
    stage.check()


def test_what_was_done_before_a_script_was_missed_is_not_done_again(
    stage: stages.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client brought the script in the middle: only what was missed is sent again."""
    send, sent = scripts.Scripts._pipeline, []

    def missing_the_first(self: scripts.Scripts, name: str, calls: list[object]) -> list[object]:
        sent.append(len(calls))
        answers = send(self, name, calls[1:] if len(sent) == 1 else calls)  # type: ignore[arg-type]
        return [E.NoScriptError("no script"), *answers] if len(sent) == 1 else answers

    stage.submit("oWARM")
    monkeypatch.setattr(scripts.Scripts, "_pipeline", missing_the_first)
    monkeypatch.setattr(ledger, "WISHES_A_SCRIPT", 1)
    written = stage.ledger.submit_many([(stage.wish(f"o{n}"), f"i{n}") for n in range(3)])
    assert [each.how for each in written] == ["new"] * 3  # type: ignore[union-attr]
    assert sent == [3, 1]


@pytest.mark.parametrize(
    ("failure", "maybe_written"),
    [
        (E.ConnectionError("Error 111 connecting to h:6379. Connection refused."), False),
        (E.ConnectionError("Error -2 connecting to h:6379. Name or service not known."), False),
        (E.TimeoutError("Timeout connecting to server"), False),
        (E.MaxConnectionsError("Too many connections"), False),
        (E.AuthenticationError("invalid username-password pair"), False),
        (E.BusyLoadingError("Redis is loading the dataset in memory"), False),
        (E.ReadOnlyError("You can't write against a read only replica."), False),
        (E.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (E.ResponseError("MISCONF Redis is configured to save RDB snapshots"), False),
        (E.TimeoutError("Timeout reading from socket"), True),
        (E.ConnectionError("Connection closed by server."), True),
        (E.ConnectionError("Error while reading from h:6379 : (104, 'reset by peer')"), True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
    ],
)
def test_an_error_says_whether_the_write_may_have_been_done(
    stage: stages.Stage, failure: Exception, maybe_written: bool
) -> None:
    """Refused and never sent is not written; a lost reply may be."""
    desk = scripts.Scripts(stage.client, "{t}:", retention_ms=1, url=URL)
    with pytest.raises(errors.LedgerUnavailable) as caught, desk.reaching():
        raise failure
    assert caught.value.maybe_written is maybe_written
    assert "ledger.example:6379" in str(caught.value)
    assert "w0rd" not in str(caught.value)
    assert "p@ss" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_refusal_amid_many_says_that_others_may_be_written(
    stage: stages.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ran full at the second of three has the first."""
    desk = scripts.Scripts(stage.client, "{t}:", retention_ms=1, url=URL)
    answers: list[object] = [
        ["new", "a", "queued"],
        E.OutOfMemoryError("full"),
        E.ReadOnlyError("ro"),
    ]
    monkeypatch.setattr(desk, "_pipeline", lambda name, calls: answers)
    with pytest.raises(errors.LedgerUnavailable, match="full") as caught:
        desk.run_many("submit", [(), (), ()])
    assert caught.value.maybe_written is True
    answers[0] = E.OutOfMemoryError("full")
    with pytest.raises(errors.LedgerUnavailable) as caught:
        desk.run_many("submit", [(), (), ()])
    assert caught.value.maybe_written is False


@pytest.mark.parametrize(
    "password", ["PLANTED", "p@PLANTED", "p/PLANTED", "p?PLANTED", "p?x@PLANTED"]
)
@pytest.mark.parametrize(
    "form", ["redis://:{}@h/0", "redis://h/0?password={}", "sentinel://:{}@h/N"]
)
def test_no_spelling_of_a_password_is_shown(form: str, password: str) -> None:
    """Whatever characters it holds."""
    url = form.format(password)
    error = errors.LedgerUnavailable(url, f"gone: {url}", maybe_written=False)
    assert "PLANTED" not in f"{error} {error!r} {error.url}"


def test_a_bug_in_a_script_is_not_taken_for_a_redis_that_is_away(stage: stages.Stage) -> None:
    """Trying again would not mend it: it surfaces, with its traceback."""
    desk = scripts.Scripts(stage.client, "{t}:", retention_ms=1, url=URL)
    with pytest.raises(E.ResponseError), desk.reaching():
        raise E.ResponseError("user_script:12: attempt to index a nil value")

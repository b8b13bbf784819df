"""`kfsession show`: one record, by id, fan or key."""

from __future__ import annotations

from typing import Annotated

import typer

from producers import terminal
from producers.commands import options
from worker.contract import record


def show(
    id: Annotated[str | None, typer.Argument(help="The request.")] = None,
    openid: Annotated[str | None, typer.Option(help="The fan's newest request.")] = None,
    key: Annotated[str | None, typer.Option(help="The request of this idempotency key.")] = None,
    appid: Annotated[str | None, typer.Option(help="Look in this account only.")] = None,
    json: terminal.JsonOption = False,
) -> None:
    """Show one request."""
    given = [each for each in (id, openid, key) if each is not None]
    if len(given) != 1 or not given[0]:
        raise options.WrongInput("give an ID, --openid or --key, one of them")
    with options.opened() as producing:
        one = producing.get(id) if id else producing.find(openid=openid, key=key, appid=appid)
    if one is None:
        raise options.WrongInput(f"{given[0]}: no such request")
    print_record(one, json)


def print_record(one: record.Record, json: bool) -> None:
    """One record, as one JSON object or as tables."""
    if terminal.is_json(json):
        terminal.emit(one.as_json())
        return
    terminal.show(terminal.table("", "", rows=_lines(one)))
    if one.attempts:
        terminal.show(
            terminal.table(
                "at",
                "agent",
                "errcode",
                "errmsg",
                "error",
                "ms",
                rows=_attempts(one),
                title=f"newest {len(one.attempts)} of {one.api_calls} calls",
            )
        )


def _lines(one: record.Record) -> list[tuple[str, object]]:
    state = f"{one.status}: {one.reason}" if one.reason else one.status
    code = one.errcode if not one.errmsg else f"{one.errcode} {one.errmsg}"
    rows: list[tuple[str, object]] = [
        ("id", one.id),
        ("status", state),
        ("hint", one.hint),
        ("served by", one.served_by),
        ("fan", f"{one.openid} ({one.appid})"),
        ("targets", ", ".join(one.targets)),
        ("lane", one.lane),
        ("errcode", code),
        ("attempts", one.attempt_count or None),
        ("generation", one.generation if one.generation > 1 else None),
        ("ahead", one.ahead),
        ("submitted", one.submitted_at),
        ("updated", one.updated_at),
        ("next attempt", one.next_attempt_at),
        ("deadline", one.deadline_at if not one.final else None),
        ("finished", one.finished_at),
        ("key", one.key),
        ("metadata", one.metadata),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _attempts(one: record.Record) -> list[tuple[object, ...]]:
    return [
        (
            each.at.astimezone().strftime("%H:%M:%S"),
            each.kf_account,
            each.errcode,
            each.errmsg,
            each.error,
            each.elapsed_ms,
        )
        for each in one.attempts
    ]

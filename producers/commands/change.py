"""`kfsession cancel` and `retry`: by ids, or by the filters of `list` once a count is confirmed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from producers import producer, terminal
from producers.commands import options
from worker.contract import record
from worker.ledger import reader

#: What each command takes by filters when no --status says otherwise.
_LIVE = (record.Status.QUEUED, record.Status.CALLING, record.Status.WAITING)
_ENDED = (record.Status.FAILED, record.Status.EXPIRED)
#: Exit status when some could not be changed.
_PART_FAILED = 1

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Requests; or filters.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a change by filters.")]
Limit = Annotated[int, typer.Option(min=1, help="Most requests to change by filters.")]


def cancel(
    ids: Ids = None,
    status: options.Status = None,
    reason: options.Reason = None,
    lane: options.Lane = None,
    appid: options.Appid = None,
    openid: options.Openid = None,
    kf_account: options.KfAccount = None,
    errcode: options.Errcode = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: Limit = 10_000,
    yes: Yes = False,
    json: terminal.JsonOption = False,
) -> None:
    """Take requests back: by id, or all live ones that the filters admit."""
    wanted = _filter(status, reason, lane, appid, openid, kf_account, errcode, since, until)
    with options.opened() as producing:
        chosen = _chosen(producing, ids, wanted, _LIVE, limit, "Cancel" if not yes else None)
        _change(producing.cancel, chosen, json)


def retry(
    ids: Ids = None,
    status: options.Status = None,
    reason: options.Reason = None,
    lane: options.Lane = None,
    appid: options.Appid = None,
    openid: options.Openid = None,
    kf_account: options.KfAccount = None,
    errcode: options.Errcode = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: Limit = 10_000,
    yes: Yes = False,
    json: terminal.JsonOption = False,
) -> None:
    """Run ended requests again: by id, or all failed and expired ones that the filters admit.

    Cancelled ones only by id or with --status cancelled.
    """
    wanted = _filter(status, reason, lane, appid, openid, kf_account, errcode, since, until)
    with options.opened() as producing:
        chosen = _chosen(producing, ids, wanted, _ENDED, limit, "Retry" if not yes else None)
        _change(producing.retry, chosen, json)


def _filter(*given: Any) -> reader.Filter | None:
    """The filter of the options, in the order of Filter's fields; None when there is none."""
    if all(each is None for each in given):
        return None
    names = (field.name for field in dataclasses.fields(reader.Filter))
    return reader.Filter(**dict(zip(names, given, strict=True)))


def _chosen(
    producing: producer.SessionProducer,
    ids: Sequence[str] | None,
    wanted: reader.Filter | None,
    states: Sequence[record.Status],
    limit: int,
    verb: str | None,
) -> Sequence[str]:
    """The ids given, or those the filters admit, once a person agreed (`verb`: what to ask)."""
    if (wanted is None) == (not ids):
        raise options.WrongInput("give ids, or filters such as --reason; one of the two")
    if ids:
        return ids
    assert wanted is not None  # noqa: S101 - just seen
    found = _matching(producing, wanted, states, limit)
    if verb is not None and found:
        _confirm(f"{verb} {len(found)} request{'s' if len(found) > 1 else ''}?")
    return found


def _matching(
    producing: producer.SessionProducer,
    wanted: reader.Filter,
    states: Sequence[record.Status],
    limit: int,
) -> list[str]:
    found: list[str] = []
    for status in (wanted.status,) if wanted.status else states:
        with producing.reading() as reads:
            records, has_more = reads.select(
                dataclasses.replace(wanted, status=status), limit - len(found)
            )
        found.extend(one.id for one in records)
        if has_more:
            terminal.say(f"only {limit} are taken this time; run it again, or raise --limit")
            break
    return found


def _confirm(question: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise options.WrongInput(f"{question} Nobody can answer here: give --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(_PART_FAILED)


def _change(change: Callable[[str], producer.Change], ids: Sequence[str], json: bool) -> None:
    unknown = refused = 0
    for each in ids:
        one = change(each)
        _print(one, json)
        unknown += one.result == "unknown"
        refused += not one.is_done
    if not ids:
        terminal.say("no such request")
    if unknown and unknown == len(ids):
        raise options.WrongInput(f"{', '.join(ids)}: no such request")
    if refused:
        raise typer.Exit(_PART_FAILED)


def _print(one: producer.Change, json: bool) -> None:
    if terminal.is_json(json):
        terminal.emit(dataclasses.asdict(one))
    else:
        terminal.line(f"{one.id}  {one.result}{f' ({one.detail})' if one.detail else ''}")

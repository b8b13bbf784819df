"""`kfsession list`: records, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from producers import terminal
from producers.commands import options
from worker.contract import record
from worker.ledger import reader


def list_(
    status: options.Status = None,
    reason: options.Reason = None,
    lane: options.Lane = None,
    appid: options.Appid = None,
    openid: options.Openid = None,
    kf_account: options.KfAccount = None,
    errcode: options.Errcode = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Most records to list.")] = 100,
    json: terminal.JsonOption = False,
) -> None:
    """List requests, newest first."""
    wanted = reader.Filter(
        status=status,
        reason=reason,
        lane=lane,
        appid=appid,
        openid=openid,
        kf_account=kf_account,
        errcode=errcode,
        since=since,
        until=until,
    )
    with options.opened() as producing, producing.reading() as reads:
        found, has_more = reads.select(wanted, limit)
    if terminal.is_json(json):
        for one in found:
            terminal.emit(one.as_json())
    else:
        _print_table(found)
    if has_more:
        terminal.say(f"only the newest {limit} are listed; --limit N lists more")


def _print_table(found: Sequence[record.Record]) -> None:
    if not found:
        terminal.say("no such request")
        return
    rows = [
        (
            one.id,
            f"{one.status}\n{one.reason}" if one.reason else one.status,
            f"{one.openid}\n{', '.join(one.targets)}",
            terminal.ago(one.submitted_at),
        )
        for one in found
    ]
    terminal.show(terminal.table("id", "status", "fan, agents", "submitted", rows=rows))

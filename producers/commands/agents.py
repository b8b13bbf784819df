"""`kfsession agents`: who is online, how much room each has, and who waits for whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from producers import producer, terminal
from producers.commands import options
from worker.contract import request
from worker.ledger import agents as known
from worker.ledger import reader

#: A worker takes the wish within a tick; WeChat's answer takes the rest.
READING_SECONDS = 3.0
_LOOK_SECONDS = 0.1


def agents(
    appid: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    json: terminal.JsonOption = False,
) -> None:
    """Show each agent: online, serving, capacity, room, and how many wait for it.

    A worker asks WeChat for it. The room of an agent is what it can take now; how many wait counts
    every request that would go to it, also as a fallback.
    """
    with options.opened() as producing:
        appids = _chosen(producing, appid)
        accounts = _read(producing, appids)
        with producing.reading() as reads:
            rows = [row for one in accounts for row in _rows(one, reads.rooms(one.appid))]
    for one in accounts:
        _say(one)
    if terminal.is_json(json):
        for row in rows:
            terminal.emit(row)
    elif rows:
        _print(rows, is_many=len(accounts) > 1)
    else:
        terminal.say("no agent has been met yet")


def _chosen(producing: producer.SessionProducer, appid: str | None) -> list[str]:
    with producing.reading() as reads:
        announced = reads.accounts()
    if appid is None:
        return announced
    if announced and appid not in announced:
        raise options.WrongInput(
            f"--appid: {appid!r}: no worker serves it; known are {', '.join(announced)}"
        )
    return [appid]


def _read(producing: producer.SessionProducer, appids: Sequence[str]) -> list[known.Account]:
    """Every account, read after now where a worker answers in time."""
    with producing.reading() as reads:
        asked_at = reads.now()
    producing.want_reading(appids)
    ends = time.monotonic() + READING_SECONDS
    while True:
        with producing.reading() as reads:
            accounts = reads.known(appids)
        if time.monotonic() >= ends or all(
            one.blind or (one.read_at and one.read_at >= asked_at) for one in accounts
        ):
            return accounts
        time.sleep(_LOOK_SECONDS)


def _rows(one: known.Account, rooms: reader.Rooms) -> Iterable[dict[str, Any]]:
    for each in one.agents:
        yield {
            "appid": one.appid,
            "kf_account": each.kf_account,
            "online": each.is_online,
            "paused": each.is_paused or one.is_paused,
            "serving": each.serving,
            "capacity": each.capacity,
            "room": 0 if one.is_paused else each.spare,
            "waiting": _waiting(rooms, each.kf_account),
        }
    met = {each.kf_account for each in one.agents}
    for name in sorted({name for targets in rooms for name in targets} - met):
        nothing = dict.fromkeys(("online", "serving", "capacity", "room"))
        waiting = _waiting(rooms, name)
        yield {
            "appid": one.appid,
            "kf_account": name,
            **nothing,
            "paused": one.is_paused,
            "waiting": waiting,
        }


def _waiting(rooms: reader.Rooms, kf_account: str) -> int:
    return sum(size for targets, size in rooms.items() if kf_account in targets)


def _say(one: known.Account) -> None:
    if one.is_paused:
        terminal.say(f"{one.appid} is paused (kfsession resume --appid {one.appid})")
    if one.held_for:
        terminal.say(f"{one.appid} is held: {one.held_for}, until {one.held_until:%H:%M:%S} UTC")
    if one.blind:
        terminal.say(f"{one.appid}: nobody can tell who is online: {one.blind}")
    elif one.read_at is None:
        terminal.say(f"{one.appid}: no worker has read who is online")


def _print(rows: Sequence[dict[str, Any]], *, is_many: bool) -> None:
    columns = ("kf_account", "online", "serving", "capacity", "room", "waiting")
    named = ("appid", *columns) if is_many else columns
    terminal.show(
        terminal.table(*named, rows=[[_cell(row, column) for column in named] for row in rows])
    )


def _cell(row: dict[str, Any], column: str) -> object:
    value = row[column]
    if column == "online":
        if row["paused"]:
            return "paused"
        return {True: "yes", False: "no", None: "unknown"}[value]
    if column in ("capacity", "room") and value is None:
        return "no limit" if row["online"] and row["kf_account"] != request.ANY else None
    return value

"""`kfsession status`: the ledger's counts as a picture of the deployment; never calls WeChat."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from producers import moments, terminal
from producers.commands import options
from worker.contract import record
from worker.ledger import agents, marks, reader

#: Exit status of --check when something needs a person.
_NEEDS_PERSON = 1

#: States that need a person, and what to say of them.
_TROUBLE = {
    (record.Status.WAITING, record.Reason.ACCOUNT_BLOCKED): "wait for a blocked account",
    (record.Status.WAITING, record.Reason.TOKEN): "wait for a usable access token",
    (record.Status.FAILED, record.Reason.INTERNAL_ERROR): "failed by a bug of ours",
    (
        record.Status.FAILED,
        record.Reason.BAD_REQUEST,
    ): "failed because WeChat cannot read our calls",
    (record.Status.FAILED, record.Reason.UNKNOWN_ERRCODE): "failed with a code we do not know",
}


#: How often in a row a machine must have found no way to WeChat before a person has to look.
_STRIKES_OF_TROUBLE = 3


def status(
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 when something needs a person.")
    ] = False,
    json: terminal.JsonOption = False,
) -> None:
    """Show how many requests are in each state, and who works on them."""
    with options.opened() as producing, producing.reading() as reads:
        seen = look(reads, reads.now())
    if terminal.is_json(json):
        terminal.emit(seen)
    else:
        _print(seen)
    if check and seen["needs_person"]:
        for each in seen["needs_person"]:
            terminal.say(f"kfsession: {each}")
        raise typer.Exit(_NEEDS_PERSON)


def look(reads: reader.Reader, now: datetime.datetime) -> dict[str, Any]:
    """The deployment as plain JSON values."""
    counts = reads.counts()
    seen: dict[str, Any] = {
        "states": {each.value: _state(reads, each, counts[each], now) for each in record.Status},
        "workers": _workers(reads, now),
        "accounts": reads.accounts(),
        "gates": [_gate(each) for each in reads.known(reads.accounts())],
        "dead": reads.dead(),
        "oddities": reads.oddities(),
    }
    return {**seen, "needs_person": _needs_person(seen)}


def _state(
    reads: reader.Reader,
    status: record.Status,
    counts: Mapping[str, int],
    now: datetime.datetime,
) -> dict[str, Any]:
    oldest = reads.oldest(status) if counts and not status.is_final else None
    return {
        "count": sum(counts.values()),
        "by": {str(detail): size for detail, size in counts.items() if detail},
        "oldest_age_seconds": round((now - oldest).total_seconds(), 1) if oldest else None,
    }


def _workers(reads: reader.Reader, now: datetime.datetime) -> list[dict[str, Any]]:
    back = reads.stepped_back()
    return [
        _worker(name, about, back.get(name, []), now) for name, about in reads.workers().items()
    ]


def _worker(
    name: str, about: Mapping[str, Any], back: Sequence[marks.Mark], now: datetime.datetime
) -> dict[str, Any]:
    age = now.timestamp() - about["at"] / 1000
    return {
        "name": name,
        "is_alive": abs(age) <= reader.ALIVE_SECONDS,
        "version": about.get("version"),
        "slots": about.get("slots"),
        "seen_seconds_ago": round(max(0.0, age), 1),
        "stepped_back": [each.as_json() for each in back],
    }


def _gate(account: agents.Account) -> dict[str, Any]:
    """What keeps an account's requests from going, and whether anybody can tell who is online."""
    until = account.held_until
    return {
        "appid": account.appid,
        "paused": account.is_paused,
        "paused_agents": sorted(account.paused),
        "held_for": account.held_for,
        "held_until": until and until.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "presence_blind": account.blind,
    }


def _needs_person(seen: Mapping[str, Any]) -> list[str]:
    states = seen["states"]
    found = [
        f"{size} requests {what} (kfsession list --status {status} --reason {reason})"
        for (status, reason), what in _TROUBLE.items()
        if (size := states[status]["by"].get(reason))
    ]
    for each in record.Status:
        if size := states[each]["by"].get(record.Reason.UNCONFIRMED):
            found.append(
                f"{size} requests {each} without anybody knowing whether a session was opened"
                f" (kfsession list --status {each} --reason unconfirmed)"
            )
    found += [
        f"nobody can tell who is online in {each['appid']} ({each['presence_blind']}): its rooms"
        " wake by growing waits"
        for each in seen["gates"]
        if each["presence_blind"]
    ]
    for each in seen["workers"]:
        found += [_said_of_mark(each["name"], mark) for mark in _lasting(each)]
    live = sum(states[each]["count"] for each in record.Status if not each.is_final)
    if live and not any(each["is_alive"] for each in seen["workers"]):
        found.append(f"no worker is alive, and {live} requests need one")
    if seen["dead"]:
        found.append(f"{seen['dead']} broker entries were refused and lie on the dead list")
    return found


def _lasting(worker: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a living worker stepped back for, but for a line that broke a moment ago."""
    return [
        mark
        for mark in worker["stepped_back"]
        if worker["is_alive"]
        and (mark["reason"] != record.Reason.TRANSIENT or mark["strikes"] >= _STRIKES_OF_TROUBLE)
    ]


def _said_of_mark(name: str, mark: Mapping[str, Any]) -> str:
    code = "" if mark["errcode"] is None else f"{mark['errcode']} "
    return (
        f"machine {name} stepped back from {mark['appid'] or 'all accounts'} since {mark['since']}:"
        f" {code}{mark['errmsg']}; {mark['hint']}"
    )


def _print(seen: Mapping[str, Any]) -> None:
    terminal.show(
        terminal.table(
            "state",
            "count",
            "of these",
            "oldest",
            rows=[_state_row(*each) for each in seen["states"].items()],
        )
    )
    if seen["workers"]:
        terminal.show(
            terminal.table(
                "worker",
                "alive",
                "version",
                "slots",
                rows=[
                    (
                        each["name"],
                        "yes"
                        if each["is_alive"]
                        else f"silent for {moments.spoken(each['seen_seconds_ago'])}",
                        each["version"],
                        each["slots"],
                    )
                    for each in seen["workers"]
                ],
            )
        )
    said: dict[str, Any] = {
        "workers": None if seen["workers"] else "none",
        "accounts": ", ".join(seen["accounts"]) or "none announced by a worker yet",
        "held": "\n".join(filter(None, map(_said_of_gate, seen["gates"]))) or None,
        "stepped back": "\n".join(
            _said_of_mark(each["name"], mark)
            for each in seen["workers"]
            for mark in each["stepped_back"]
            if each["is_alive"] and mark not in _lasting(each)
        )
        or None,
        "dead entries": seen["dead"],
        **seen["oddities"],
        "needs a person": "\n".join(seen["needs_person"]) or None,
    }
    terminal.show(
        terminal.table("", "", rows=[each for each in said.items() if each[1] is not None])
    )


def _said_of_gate(gate: Mapping[str, Any]) -> str:
    said = [f"paused: {name}" for name in gate["paused_agents"]]
    if gate["paused"]:
        said.insert(0, "paused")
    if gate["held_for"]:
        said.append(f"{gate['held_for']} until {gate['held_until']}")
    if gate["presence_blind"]:
        said.append(f"presence is blind ({gate['presence_blind']})")
    return f"{gate['appid']} {', '.join(said)}" if said else ""


def _state_row(name: str, state: Mapping[str, Any]) -> tuple[object, ...]:
    age = state["oldest_age_seconds"]
    return (
        name,
        state["count"],
        ", ".join(f"{size} {detail}" for detail, size in state["by"].items()),
        "" if age is None else moments.spoken(age),
    )

"""`kfsession pause` and `resume`: hold an agent's or an account's requests, and let them go."""

from __future__ import annotations

from typing import Annotated

import typer

from producers import producer, terminal
from producers.commands import options

Held = Annotated[
    str | None, typer.Argument(metavar="[KF_ACCOUNT]", help="One agent; else the account.")
]
Appid = Annotated[str | None, typer.Option(help="The account, where there are several.")]


def pause(kf_account: Held = None, appid: Appid = None, json: terminal.JsonOption = False) -> None:
    """Hold an agent's or an account's requests. Nothing is dropped; deadlines run."""
    with options.opened() as producing:
        gate = producing.pause(kf_account, appid=appid)
        with producing.reading() as reads:
            met = {each.kf_account for each in reads.account(gate.appid).agents if each.is_met}
    if kf_account is not None and met and kf_account not in met:
        terminal.say(
            f"{kf_account} has never been met in {gate.appid}, which knows {', '.join(sorted(met))}"
        )
    _print(gate, json)


def resume(kf_account: Held = None, appid: Appid = None, json: terminal.JsonOption = False) -> None:
    """Let go what pause holds."""
    with options.opened() as producing:
        _print(producing.resume(kf_account, appid=appid), json)


def _print(gate: producer.Gate, json: bool) -> None:
    if terminal.is_json(json):
        terminal.emit(
            {
                "appid": gate.appid,
                "kf_account": gate.kf_account,
                "paused": gate.is_paused,
                "changed": gate.has_changed,
            }
        )
        return
    already = "" if gate.has_changed else "already "
    stands = "paused" if gate.is_paused else "running"
    terminal.line(f"{gate.kf_account or 'all agents'} of {gate.appid}: {already}{stands}")

"""`kfsession enqueue`: one request from the command line, waited for if asked."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from producers import producer, terminal
from producers.commands import options, show
from worker.contract import request
from worker.ledger import receipts

#: Exit status of `--wait`: over without a session, and not over yet.
ENDED_OTHERWISE, NOT_OVER = 4, 5


def enqueue(
    kf_account: Annotated[
        str, typer.Argument(metavar="KF_ACCOUNT", help="prefix@account, or `any`.")
    ],
    openid: Annotated[str, typer.Argument(metavar="OPENID", help="The fan.")],
    fallback: Annotated[
        list[str] | None, typer.Option(help="The next agent to try; repeatable, may end in `any`.")
    ] = None,
    appid: Annotated[
        str | None, typer.Option(help="The account; needed where there are several.")
    ] = None,
    lane: Annotated[request.Lane, typer.Option()] = request.Lane.ESCALATION,
    ttl: Annotated[
        float | None,
        typer.Option(parser=options.duration, metavar="DURATION", help="Its life, such as 10m."),
    ] = None,
    deadline_at: Annotated[str | None, typer.Option(help="Its end, ISO 8601 with a zone.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object, handed back.")] = None,
    id: Annotated[
        str | None, typer.Option(help="Send a request again whose submit had no answer.")
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            parser=options.duration,
            metavar="DURATION",
            help="Wait so long for the end and print the record: exit 4 if it ended otherwise than "
            "created or already_served, 5 if it is not over yet.",
        ),
    ] = None,
    json: terminal.JsonOption = False,
) -> None:
    """Ask for a session between an agent and a fan."""
    fields: dict[str, Any] = {
        "kf_account": kf_account,
        "openid": openid,
        "fallbacks": fallback,
        "appid": appid,
        "lane": lane,
        "ttl_seconds": ttl,
        "deadline_at": deadline_at,
        "key": key,
        "metadata": metadata,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    with options.opened() as producing:
        receipt = producing.submit(given, id=id)
        if wait is None:
            _print_receipt(receipt, json)
            return
        _wait(producing, receipt.id, wait, json)


def _print_receipt(receipt: receipts.Receipt, json: bool) -> None:
    if terminal.is_json(json):
        terminal.emit(dataclasses.asdict(receipt))
    else:
        terminal.line(f"{receipt.id}  {receipt.status}  ({receipt.how})")


def _wait(producing: producer.SessionProducer, request_id: str, seconds: float, json: bool) -> None:
    one = producing.wait(request_id, seconds)
    if one is None:
        raise options.WrongInput(f"{request_id}: its retention was over before it could be read")
    show.print_record(one, json)
    if not one.final:
        raise typer.Exit(NOT_OVER)
    if not one.is_success:
        raise typer.Exit(ENDED_OTHERWISE)

"""What several commands take: durations, moments, and the filters of `list`, as typer options."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Annotated

import typer
from typer.exceptions import TyperException

from producers import moments, producer, terminal
from worker.contract import record, request, settings, urls


class WrongInput(TyperException):
    """What was asked for cannot be done as it was asked; the text is one line that says why."""

    exit_code = 2


def duration(text: str) -> float:
    """Seconds, for typer."""
    try:
        return moments.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> datetime.datetime:
    """A time, for typer."""
    try:
        return moments.moment(text, datetime.datetime.now(datetime.UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Status = Annotated[record.Status | None, typer.Option(help="Only in this state.")]
Reason = Annotated[record.Reason | None, typer.Option(help="Only with this reason.")]
Lane = Annotated[request.Lane | None, typer.Option(help="Only in this lane.")]
Appid = Annotated[str | None, typer.Option(help="Only of this account.")]
Openid = Annotated[str | None, typer.Option(help="Only of this fan.")]
KfAccount = Annotated[str | None, typer.Option(help="Only those that name this agent.")]
Errcode = Annotated[int | None, typer.Option(help="Only where this was WeChat's last code.")]
Since = Annotated[
    datetime.datetime | None,
    typer.Option(parser=moment, metavar="WHEN", help="Submitted since: 2h (ago), or ISO 8601."),
]
Until = Annotated[
    datetime.datetime | None,
    typer.Option(parser=moment, metavar="WHEN", help="Submitted until: 10m (ago), or ISO 8601."),
]


@contextlib.contextmanager
def opened() -> Iterator[producer.SessionProducer]:
    """The producer of the environment's settings; says which ledger it is when nobody chose one."""
    config = settings.load()
    if config.redis_url is None:
        url = urls.redact(config.ledger_url)
        terminal.say(f"ledger: {url} (KF_REDIS_URL is not set)")
    with producer.SessionProducer(config) as opened_producer:
        yield opened_producer

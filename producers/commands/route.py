"""`kfsession route`: give the fans who wait in WeChat's own queue to agents who have room."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

import structlog
import typer
from typer.exceptions import TyperException

from producers import failures, interrupts, terminal
from producers.commands import options, routed
from producers.route import plan, run, spread
from worker import errors
from worker.contract import errcodes, settings

#: Exit status when part of it failed or WeChat refuses, and when WeChat is out of reach.
_BROKE, _OUT_OF_REACH = 1, 3


class Ended(TyperException):
    """WeChat does not let us go on; the text is one line that says why, and what to do."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def route(
    capacity: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many fans an agent may serve at the same time. By default the settings say;"
            " where both do, the smaller counts.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show who would go to whom, and why others stay.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on as sessions close and fans arrive, until Ctrl-C.")
    ] = False,
    appid: Annotated[
        str | None, typer.Option(help="The account; needed where there are several.")
    ] = None,
    json: terminal.JsonOption = False,
) -> None:
    """Give waiting fans to agents who have room, until nobody waits or nobody has room.

    Reads WeChat's queue of waiting fans with this deployment's credentials; workers open the
    sessions. It can be ended at any moment and started again: nobody is given away twice.
    """
    if dry_run and watch:
        raise options.WrongInput("--dry-run takes one look: leave --watch out")
    config = settings.load()
    account = _account(config, appid)
    capacities = _capacities(account, capacity)
    from producers.route import view  # requests takes a tenth of a second to import

    _log_to_stderr()
    signals, talk = interrupts.Signals(), routed.Talk(is_watching=watch)
    with (
        options.opened() as producing,
        view.WeChat(config, account) as seeing,
        _in_one_line(account.appid),
    ):
        with producing.reading() as reads:
            if not reads.is_served():
                terminal.say("no worker is alive: nobody gets a session until one is started")
        router = run.Router(
            seeing,
            producing,
            account.appid,
            capacities,
            interval_seconds=config.presence_seconds,
            signals=signals,
            on_change=talk.show,
            on_rest=talk.tell,
        )
        if dry_run:
            routed.print_plan(account.appid, router.look(), json)
            return
        summary, ended = _run(router, signals, talk, account.appid, json, watch=watch)
    if summary.failed or summary.expired or ended == plan.Rest.NOT_MOVING:
        raise typer.Exit(_BROKE)


def _run(
    router: run.Router,
    signals: interrupts.Signals,
    talk: routed.Talk,
    appid: str,
    json: bool,
    *,
    watch: bool,
) -> tuple[run.Summary, str]:
    """Route; whatever ends it, the summary is printed once there is something to sum up."""
    ended = "error"
    try:
        with talk, signals.raised():
            ended = router.run(forever=watch)
    except interrupts.Interrupted as stop:
        ended = "interrupted"
        raise typer.Exit(stop.exit_status) from None
    finally:
        summary = router.finish()
        if summary.seen or ended != "error":
            routed.print_summary(appid, summary, ended, json)
    return summary, ended


def _account(config: settings.Settings, appid: str | None) -> settings.Account:
    accounts = config.accounts()
    chosen = [each for each in accounts if appid in (None, each.appid)]
    known = ", ".join(each.appid for each in accounts)
    if not chosen:
        raise options.WrongInput(
            f"--appid: no credentials for {appid!r}; there are some for {known}"
        )
    if len(chosen) > 1:
        raise options.WrongInput(f"--appid: missing, and there are several accounts: {known}")
    return chosen[0]


def _capacities(account: settings.Account, asked: int | None) -> spread.Capacities:
    capacities = spread.Capacities.of_account(account, asked)
    if not capacities.are_known:
        raise options.WrongInput(
            "how many fans may an agent serve at the same time? Give --capacity N, or set"
            " KF_AGENT_CAPACITY: nobody wants 200 chats at once"
        )
    return capacities


def _log_to_stderr() -> None:
    """structlog prints to stdout where nobody says otherwise, and that is for data."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("WARNING"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@contextlib.contextmanager
def _in_one_line(appid: str) -> Iterator[None]:
    """What ends a run for good, as one line with its exit status."""
    try:
        yield
    except failures.SubmitFailed as error:
        advice = "run it again: a live request is joined, and nobody is given away twice"
        raise failures.SubmitFailed(error.cause, ids=error.ids, advice=advice) from None
    except errors.TokenUnavailable as error:
        is_refused = isinstance(error.cause_error, errors.Refused)
        raise Ended(f"{error}; {error.hint}", _BROKE if is_refused else _OUT_OF_REACH) from None
    except errors.WeChatError as error:
        raise Ended(f"WeChat, account {appid}: {_said(error)}", _status(error)) from None


def _said(error: errors.WeChatError) -> str:
    hint = f"; {errcodes.lookup(error.errcode).hint}" if error.errcode else ""
    return f"{error}{f' (rid {error.rid})' if error.rid else ''}{hint}"


def _status(error: errors.WeChatError) -> int:
    """Whoever answered with a code is in reach; busy for that long is not."""
    is_away = isinstance(error, errors.NeverLeft | errors.Unsure)
    return _OUT_OF_REACH if is_away and error.errcode in (None, -1) else _BROKE

"""The root of `kfsession`: takes a command line, runs the command, and ends with its status.

Every command raises what went wrong; here, and only here, an error becomes one line and a status.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ops import status
from ops.commands import demo, up
from producers import cli as producer_commands
from producers import files, terminal
from producers.commands import options
from worker import errors
from worker.contract import request, settings

DONE, BROKE, WRONG_INPUT, OUT_OF_REACH = 0, 1, 2, 3
#: Longest line about what went wrong, in characters: part of it may be the user's own input.
MAX_TALK = 1000
INTERRUPTED = 128 + signal.SIGINT

app = typer.Typer(
    name="kfsession",
    help="Opens WeChat customer-service sessions for fans who need a human.",
    epilog="Data goes to stdout (JSON unless it is a terminal), talk to stderr. Exit status:"
    " 0 done; 1 part failed; 2 wrong input; 3 out of reach; with --wait 4 ended otherwise,"
    " 5 not over yet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
producer_commands.add_commands(app)
app.command("status")(status.status)
app.command("demo")(demo.demo)
app.command("up")(up.up)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8080,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    scenario_file: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="TOML.")
    ] = None,
) -> None:
    """Run a WeChat on this machine, and nothing else."""
    from ops.simulator import running, scenario, tables

    try:
        chosen = scenario.load(scenario_file) if scenario_file else scenario.Scenario()
    except tables.ScenarioError as error:
        raise options.WrongInput(str(error)) from None
    try:
        running.run(chosen, host, port, lambda listening: _say_where(host, listening))
    except OSError as error:
        terminal.say(f"kfsession: port {port} of {host}: {error.strerror}")
        raise typer.Exit(OUT_OF_REACH) from None


def _say_where(host: str, port: int) -> None:
    terminal.say(f"simulator listening on http://{host}:{port}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    logging.basicConfig(stream=sys.stderr, format="kfsession: %(message)s")
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    for place, argument in enumerate(arguments, start=1):
        if not argument.isascii() and any("\ud800" <= each <= "\udfff" for each in argument):
            return _fail(f"argument {place} is not UTF-8: give it in UTF-8", WRONG_INPUT)
    try:
        ended = app(list(arguments), prog_name="kfsession", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        terminal.forget_stdout()
        return terminal.PIPE_CLOSED
    except errors.LedgerUnavailable as error:
        return _fail(error, OUT_OF_REACH)
    except (request.InvalidRequest, settings.InvalidSettings, files.UnreadableFile) as error:
        return _fail(error, WRONG_INPUT)
    except errors.KfsessionError as error:
        return _fail(error, BROKE)
    except OSError as error:  # a file that can be opened but not read, a full disk
        return _fail(f"{error.filename or 'reading or writing'}: {error.strerror}", BROKE)
    except TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return ended if isinstance(ended, int) else DONE


def _fail(why: object, exit_status: int) -> int:
    text = str(why)
    terminal.say(f"kfsession: {text if len(text) <= MAX_TALK else text[:MAX_TALK] + ' …'}")
    return exit_status

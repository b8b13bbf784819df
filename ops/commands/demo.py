"""`kfsession demo`: the whole system on this machine, against a simulated WeChat."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.demonstration import plan


def demo(
    fans: Annotated[int, typer.Option(min=plan.LEAST_FANS, max=plan.MOST_FANS)] = 60,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the demo of this seed.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
) -> None:
    """Show the whole system at work on this machine: fans, agents who come and go, faults."""
    from ops.demonstration import performance  # which loads far more than other commands need

    raise typer.Exit(performance.perform(fans, seed, keep=keep))

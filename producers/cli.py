"""Puts the producers' commands on the root of `kfsession`; `ops.cli` is that root."""

from __future__ import annotations

import typer

from producers.commands import agents, batch, change, enqueue, events, gates, listing, route, show


def add_commands(root: typer.Typer) -> None:
    """Add them in the order in which a newcomer meets them."""
    root.command("enqueue")(enqueue.enqueue)
    root.command("batch")(batch.batch)
    root.command("route")(route.route)
    root.command("show")(show.show)
    root.command("list")(listing.list_)
    root.command("cancel")(change.cancel)
    root.command("retry")(change.retry)
    root.command("pause")(gates.pause)
    root.command("resume")(gates.resume)
    root.command("agents")(agents.agents)
    root.command("events")(events.events)

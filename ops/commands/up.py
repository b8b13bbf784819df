"""`kfsession up`: the whole system on this machine for real, until Ctrl-C or until a part ends."""

from __future__ import annotations

import typer

from worker.contract import settings

#: Exit status when a part ended by itself, or the directory is somebody else's.
_BROKE = 1


def up() -> None:
    """Run the whole system here: a worker, and an embedded Valkey unless KF_REDIS_URL is set."""
    config = settings.load()
    config.accounts()  # raises what is wrong with them before anything is started
    from ops.stack import lock, parts, real
    from producers import terminal

    try:
        real.run(config)
    except (lock.Taken, parts.PartFailed, OSError) as error:
        terminal.say(f"kfsession: {error}")
        raise typer.Exit(_BROKE) from None

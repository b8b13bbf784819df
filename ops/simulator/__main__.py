"""Receives a command line and hands it to `running.run`: `python -m ops.simulator --port 8080`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ops.simulator import running, scenario, tables


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator; exit status 2 is a wrong scenario, 3 a port that is taken."""
    given = _parser().parse_args(arguments)
    try:
        chosen = scenario.load(given.scenario) if given.scenario else scenario.Scenario()
    except tables.ScenarioError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    if given.seed is not None:
        chosen = replace(chosen, seed=given.seed)
    if given.latency_ms is not None:
        chosen = replace(chosen, latency_ms=(given.latency_ms, given.latency_ms))

    def ready(port: int) -> None:
        print(f"simulator listening on http://{given.host}:{port}", file=sys.stderr, flush=True)

    try:
        running.run(chosen, given.host, given.port, ready)
    except OSError as error:
        print(f"simulator: port {given.port}: {error.strerror}", file=sys.stderr)
        return 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.simulator", description="A WeChat that runs on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8080, help="0 is any free one (%(default)s)")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="TOML, see example.toml")
    parser.add_argument("--seed", type=int, help="in place of the scenario's")
    parser.add_argument("--latency-ms", type=float, help="in place of the scenario's")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Tries faults and audits both books after each: `python -m ops.chaos [FAULT …]`.

Exit status 1 when a request was lost, a fan given away twice, or anything left behind, and the
row has no excuse.
"""

from __future__ import annotations

import argparse
import sys

from ops.chaos import report, run, trial
from ops.chaos.faults import table


def main(arguments: list[str] | None = None) -> int:
    """Run the faults named, or all of them one after the other."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.list:
        for each in table.FAULTS.values():
            print(f"{each.name:<28} {each.what}")
        return 0
    if unknown := set(given.faults) - table.FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; --list shows all")
    trial.show_settings(given)
    with trial.ended_by_signals():
        were_right = [_try(name, given) for name in given.faults or table.FAULTS]
    return 0 if all(were_right) else 1


def _try(name: str, given: argparse.Namespace) -> bool:
    """Whether all went right; what did not is told, and the next fault has its turn."""
    plan = run.Plan(
        requests=given.requests,
        strikes=given.strikes,
        scale=given.scale,
        seed=given.seed,
        patience_seconds=given.patience,
        knobs={
            "concurrency": given.slots,
            "call_timeout_seconds": given.call_timeout,
            "presence_seconds": 1.0,
            "latency_ms": given.latency_ms,
        },
    )
    try:
        row = run.run(table.FAULTS[name], plan)
    except (trial.TooLate, trial.Missing) as error:
        print(f"WRONG {name}: {error}", flush=True)
        return False
    for line in report.lines(row):
        print(line, flush=True)
    if given.write:
        report.write(row)
    return row.is_clean


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.chaos", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="all, where none is named")
    parser.add_argument("--list", action="store_true", help="what faults there are")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--strikes", type=int, help="in place of each fault's own number")
    parser.add_argument("--scale", type=float, default=1.0, help="of long absences")
    parser.add_argument("--slots", type=int, default=16, help="calls a worker makes at once")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--call-timeout", type=float, default=1.0, help="leases derive from it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=900.0, help="seconds")
    parser.add_argument("--write", action="store_true", help="put the rows into README.md's table")
    return parser


if __name__ == "__main__":
    sys.exit(main())

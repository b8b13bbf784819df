from pathlib import Path

from ops.stack import parts

ROOT = Path(__file__).parents[3]


def test_the_procfile_starts_the_worker_as_up_does() -> None:
    """One command line for the worker, wherever it runs."""
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert lines["worker"].split() == list(parts.WORKER)

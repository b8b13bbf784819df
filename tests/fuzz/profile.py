"""How long the fuzz tests try: short and always the same in the suite, long and by chance by hand.

`KFSESSION_EXAMPLES=50 pytest tests/fuzz --timeout=0` tries fifty times as many examples.
"""

from __future__ import annotations

import os

import hypothesis

#: Times the usual number of examples; more than 1 also means: not the same ones as last time.
TIMES = int(os.environ.get("KFSESSION_EXAMPLES") or 1)


def examples(number: int) -> hypothesis.settings:
    """So many examples of a test, or TIMES as many."""
    return hypothesis.settings(
        max_examples=number * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
            hypothesis.HealthCheck.function_scoped_fixture,
        ],
    )

"""The ledger against its model on a real Valkey, in longer runs than on the fake one.

`KFSESSION_EXAMPLES=2000 pytest tests/integration/test_model.py` runs so many random examples.
"""

from __future__ import annotations

import uuid

import pytest

from tests.unit.ledger import test_model as models
from worker.ledger import connection


@pytest.mark.timeout(models.TIMEOUT_SECONDS)
@pytest.mark.no_cover  # see tests/conftest.py
def test_the_ledger_does_what_the_model_says_on_a_real_server(valkey_url: str) -> None:
    """Each example in a deployment of its own."""

    def machine() -> models.Everybody:
        client = connection.connect(valkey_url, timeout_seconds=5, max_connections=8)
        return models.Everybody(client, f"t{uuid.uuid4().hex[:12]}")

    models.run(machine, examples=20, steps=40)

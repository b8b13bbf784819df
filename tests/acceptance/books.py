"""Compares what happened, by WeChat's book, with what we recorded, by our ledger."""

from __future__ import annotations

from ops.chaos import audit, ledger_book, trial
from tests.acceptance import processes
from worker.contract import record, request

_SOON_SECONDS = 15.0


def check_books(of: processes.Deployment, *, requests: int) -> list[record.Record]:
    """Every request has one outcome, every fan one session, and nothing is left lying about.

    `requests` is how many there have to be; returns their records.
    """
    names = [of.queue(lane) for lane in request.Lane]
    names += [f"{of.prefix}.unacked", f"{of.prefix}.unacked_index"]
    trial.poll(
        lambda: of.client.exists(*names) == 0,
        seconds=_SOON_SECONDS,
        what="queues and unacked are empty",
    )
    ledger = ledger_book.read(of.client, of.prefix, broker=of.client)
    findings = audit.examine(ledger, of.wechat.book("none")["sessions"], accepted=())
    assert not findings, str(findings)
    assert len(ledger.records) == requests
    assert of.logged("delivery_crashed", "waiting_room_crashed") == []
    records = [of.reader.get(each) for each in ledger.records]
    return [one for one in records if one is not None]

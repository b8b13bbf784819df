"""Compares what happened, by WeChat's book, with what we recorded, by our ledger."""

from __future__ import annotations

import collections

from ops.chaos import trial
from tests.acceptance import processes
from worker.contract import record, request

#: Kinds of keys that empty or expire by themselves.
_KINDS = ("index:", "token:", "joined:", "door:", "given:", "account:", "wanted:")
#: Structures that stand alone; everything else has to belong to a record.
_LASTING = ("events", "retention", "accounts", "workers", "counters", "dead", "schema", "watch")
_SOON_SECONDS = 15.0


def check_books(of: processes.Deployment, *, requests: int) -> list[record.Record]:
    """Every request has one outcome, every fan one session, and nothing is left lying about.

    `requests` is how many there have to be; returns their records.
    """
    records = _records(of)
    assert len(records) == requests
    assert not [one.id for one in records if not one.final]
    assert of.logged("delivery_crashed", "waiting_room_crashed") == []
    _check_sessions(of, records)
    _check_indexes(of, records)
    _check_broker(of)
    _check_keys(of, records)
    return records


def _records(of: processes.Deployment) -> list[record.Record]:
    found = [of.reader.get(each) for each in of.request_ids()]
    return [one for one in found if one is not None]


def _check_sessions(of: processes.Deployment, records: list[record.Record]) -> None:
    """What is recorded as created is in WeChat's book, with the agent we name, and once."""
    assert of.wechat.summary()["fans_given_to_two_agents"] == []
    sessions = of.wechat.book()["sessions"]
    opened = {
        (each["openid"], each["kf_account"]) for each in sessions if each["opened_by"] == "create"
    }
    recorded = {
        (one.openid, one.served_by) for one in records if one.status is record.Status.CREATED
    }
    unconfirmed = {one.openid for one in records if one.reason is record.Reason.UNCONFIRMED}
    assert recorded <= opened
    assert {openid for openid, _ in opened - recorded} <= unconfirmed


def _check_indexes(of: processes.Deployment, records: list[record.Record]) -> None:
    """Each index holds the ids in its state, and no other: counts cannot disagree with records."""
    expected: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
    for one in records:
        has_reason = not one.status.is_success
        expected[of.keys.index(one.status, (one.reason or "") if has_reason else "")].add(one.id)
    names = of.client.scan_iter(f"{of.keys.base}index:*", 5000)
    found = {name: set(of.client.zrange(name, 0, -1)) for name in names}
    assert found == dict(expected)
    assert set(of.client.zrange(of.keys.retention, 0, -1)) == {one.id for one in records}
    assert of.client.zcard(of.keys.due) == 0


def _check_broker(of: processes.Deployment) -> None:
    """No message waits, and none is held back: a doubled doorbell is rung off in no time."""
    names = [of.queue(lane) for lane in request.Lane]
    names += [f"{of.prefix}.unacked", f"{of.prefix}.unacked_index"]
    trial.poll(
        lambda: of.client.exists(*names) == 0,
        seconds=_SOON_SECONDS,
        what="queues and unacked are empty",
    )


def _check_keys(of: processes.Deployment, records: list[record.Record]) -> None:
    """Every key of the deployment belongs to a record, or is one of the lasting structures."""
    known = {of.keys.base + name for name in _LASTING}
    for one in records:
        known |= {of.keys.request(one.id), of.keys.fan(one.appid, one.openid)}
        if one.key:
            known.add(of.keys.key(one.appid, one.key))
        if one.reason is record.Reason.UNCONFIRMED:
            known.add(of.keys.doubt(one.appid, one.openid))
    ours = set(of.client.scan_iter(f"{of.keys.base}*", 5000))
    ours |= set(of.client.scan_iter(f"{of.prefix}.*", 5000)) - {f"{of.prefix}.unacked_mutex"}
    left = {
        key
        for key in ours - known
        if not key.startswith(tuple(of.keys.base + kind for kind in _KINDS))
    }
    assert left == set()

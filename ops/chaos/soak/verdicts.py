"""Takes what a soak accepted, saw and left behind, and judges it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent import futures

from ops.bench import figures
from ops.chaos import stack, trial
from ops.chaos.soak import sampling, sending
from worker.contract import broker, record
from worker.ledger import keys

#: Kinds of keys that need not go: one each, one for each account, agent or room, and Celery's own.
LASTING = frozenset(
    {"account", "accounts", "counters", "dead", "door", "events", "given", "schema", "token"}
    | {"serving", "slots", "watch", "workers", "broker"}
)
#: Outcomes of fans who may have a session.
_SERVED = frozenset({record.Status.CREATED, record.Status.ALREADY_SERVED})
_LOOK_SECONDS = 0.2
#: How many ids a complaint names.
_NAMED = 5


def wait_until_all_ended(
    running: stack.Stack,
    outcomes: sampling.Outcomes,
    following: list[futures.Future[None]],
    patience: float,
) -> None:
    """Until no request is live, and the events were read to their end."""

    def is_still() -> bool:
        if following[0].done():
            following[0].result()
        return not sampling.ask_again(running.count_live)

    trial.poll(is_still, seconds=patience, what="all requests end", every=_LOOK_SECONDS)
    last = running.reader.newest_position()
    trial.poll(
        lambda: outcomes.position == last,
        seconds=patience,
        what="all events are read",
        every=_LOOK_SECONDS,
    )


def judge_outcomes(
    running: stack.Stack,
    load: sending.Load,
    outcomes: sampling.Outcomes,
    judged: figures.Figures,
) -> None:
    """Each accepted request ended once, and who has a session has an outcome that says so."""
    accepted = set(load.accepted.values())
    lost, strange = accepted - outcomes.of.keys(), outcomes.of.keys() - accepted
    book, held = running.simulator.summary(), running.simulator.book("none")["sessions"]
    unsaid = {each["openid"] for each in held} - _fans_who_may_be_served(load, outcomes)
    trial.show(
        accepted=len(accepted),
        unanswered_submits=load.unanswered,
        latest_request_s=round(load.most_late_seconds, 1),
        outcomes=dict(sorted(outcomes.counts.items())),
        sessions_opened=book["sessions_opened"],
        creates=book["creates_by_errcode"],
        calls=book["calls_by_path"],
    )
    twice = book["fans_given_to_two_agents"]
    found = {
        "lost": lost,
        "doubled": outcomes.doubled,
        "ended_but_not_accepted": strange,
        "fans_given_away_twice": twice,
        "sessions_without_outcome": unsaid,
    }
    for name, ids in found.items():
        judged.at_most(name, len(ids), 0)
        if ids:
            trial.show(**{f"{name}_such_as": sorted(ids)[:_NAMED]})


def _fans_who_may_be_served(load: sending.Load, outcomes: sampling.Outcomes) -> set[str]:
    return {
        openid
        for openid, request_id in load.accepted.items()
        if (outcome := outcomes.of.get(request_id, "")) in _SERVED
        or outcome.endswith(record.Reason.UNCONFIRMED)
    }


def judge_growth(
    samples: Sequence[sampling.Sample], judged: figures.Figures, *, warm_up: float, most: float
) -> None:
    """Memory after the warm-up, and at the end."""
    first, last = sampling.compared(samples, warm_up)
    for name, data in (
        ("worker", lambda one: one.kept_worker),
        ("valkey_used", lambda one: one.valkey_used),
        ("valkey_rss", lambda one: one.valkey_rss),
    ):
        early, late = (sampling.median(samples, data, span) for span in (first, last))
        peak = max(map(data, samples))
        trial.show(**{f"{name}_mib": f"{early:.1f} early, {late:.1f} late, {peak:.1f} at most"})
        judged.at_most(f"{name}_growth", round(late / early - 1, 4), most)
    ended = samples[-1]
    doorbells = max(one.doorbells for one in samples)
    trial.show(
        keys=ended.keys,
        events=ended.events,
        live=f"{ended.live}, {max(one.live for one in samples)} at most",
        doorbells=f"{ended.doorbells} in the lanes, {doorbells} at most",
    )


def judge_drained(
    running: stack.Stack,
    outcomes: sampling.Outcomes,
    judged: figures.Figures,
    *,
    patience: float,
) -> None:
    """Wait for retention; then only what lasts may be left, and the doubts nobody resolved."""
    names = keys.Keys("kf")
    trial.poll(
        lambda: not running.client.zcard(names.retention),
        seconds=patience,
        what="retention removes all records",
        every=_LOOK_SECONDS,
    )
    with contextlib.suppress(trial.TooLate):  # what is left is told below
        trial.poll(
            lambda: not _left(running).keys() - LASTING - {"doubt"},
            seconds=broker.VISIBILITY_TIMEOUT_SECONDS + 30,
            what="Celery gives back what killed workers had taken",
            every=_LOOK_SECONDS,
        )
    kinds = _left(running)
    unconfirmed = sum(
        size for outcome, size in outcomes.counts.items() if outcome.endswith("unconfirmed")
    )
    trial.show(
        left=dict(sorted(kinds.items())),
        events_left=running.client.xlen(names.events),
        oddities=running.reader.oddities(),
        dead=running.reader.dead(),
    )
    judged.at_most("doubts_left", kinds.pop("doubt", 0), unconfirmed)
    judged.at_most("others_left", sum(kinds[kind] for kind in kinds.keys() - LASTING), 0)


def _left(running: stack.Stack) -> Counter[str]:
    """How many keys of each kind there are."""
    return Counter(map(_kind, running.client.scan_iter(count=1000)))


def _kind(key: str) -> str:
    if key.startswith("_kombu.binding"):
        return "broker"
    return key.removeprefix("{kf}:").partition(":")[0]


def show_errors(running: stack.Stack) -> None:
    """What the workers called an error in their logs, and how often."""
    errors: Counter[str] = Counter()
    for output in running.children.outputs("worker"):
        for line in output.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            errors[f"{said.get('level')} {said.get('event')}"[:100]] += 1
    trial.show(in_logs=dict(errors.most_common(15)))

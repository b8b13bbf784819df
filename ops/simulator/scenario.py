"""Receives a scenario file (TOML) and hands on a Scenario: all that can be chosen of a WeChat.

`example.toml` shows every key with its meaning. Nothing is required: an empty scenario is an
obliging WeChat.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.simulator import bends, tables

#: What a newcomer needs no scenario for.
DEFAULT_APPID = "wx0000000000000000"
DEFAULT_SECRET = "simulator-secret"  # noqa: S105 - public on purpose: it opens nothing
FIXED_TOKEN = "simulator-token"  # noqa: S105 - public on purpose: it opens nothing
DEFAULT_SUFFIX = "simulator"

CREATE_PATH = "/customservice/kfsession/create"

#: What may be written where one fault is chosen.
NO_FAULT = "none"
FAULT_NAMES = (NO_FAULT, *bends.TABLE)

_ERRCODE = re.compile(r"-1|[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One Official Account; `suffix` is what stands behind the @ of its agents."""

    appid: str = DEFAULT_APPID
    secret: str = field(default=DEFAULT_SECRET, repr=False)
    #: A token that is always good for this account; the second account's is simulator-token-2.
    token: str = field(default=FIXED_TOKEN, repr=False)
    suffix: str = DEFAULT_SUFFIX
    #: What every call of this account answers (48001, 65400, …); 0 lets calls pass.
    errcode: int = 0
    #: What every token call of this account answers (40164, 40243, …); 0 lets them pass.
    token_errcode: int = 0
    #: How every other call of this account goes wrong, by the fault's name, or "none".
    fault: str = NO_FAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent known from the start; online as its name says where nothing here says more."""

    kf_account: str
    appid: str = DEFAULT_APPID
    online: bool | None = None
    #: Seconds after the start, [from, to): online within, offline outside.
    schedule: tuple[tuple[float, float], ...] = ()
    capacity: int = 0
    kf_id: str | int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities per call (each 0 to 1, together at most 1), and the calls they strike."""

    #: By the fault's name in `bends.TABLE`.
    chances: Mapping[str, float] = field(default_factory=dict)
    #: By the errcode that is answered with nothing done.
    errcodes: Mapping[int, float] = field(default_factory=dict)
    paths: tuple[str, ...] = (CREATE_PATH,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Calls of one path and account a minute (45011) and a day (45009); 0 is no limit."""

    per_minute: int = 0
    per_day: int = 0
    paths: tuple[str, ...] = (CREATE_PATH,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Fans who wait: `count` made-up ones and `openids` from the start, then arrivals."""

    appid: str = DEFAULT_APPID
    count: int = 0
    openids: tuple[str, ...] = ()
    arrivals_per_second: float = 0.0
    #: After so many arrivals nobody comes any more; 0 is no end.
    arrivals_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A simulated WeChat, as chosen; the first account is the default one."""

    seed: int = 0
    latency_ms: tuple[float, float] = (0.0, 0.0)
    #: A call takes effect at the end of its latency, whether its client still waits or not.
    acts_late: bool = False
    token_seconds: int = 7200
    token_length: int = 136
    #: The online list shows who was online so many seconds ago, and how many each served then.
    presence_lag_seconds: float = 0.0
    #: Sessions close by themselves after so long, drawn from [least, most]; 0 is never.
    session_seconds: tuple[float, float] = (0.0, 0.0)
    #: Between two bytes of a dripping reply.
    drip_seconds: float = 1.0
    #: Lists also hold rows without kf_account; kf_id is a number here and a text there.
    odd_rows: bool = False
    #: How the waiting list says since when: latest_time, the older createtime, or by turns (mixed).
    waiting_rows: str = "mixed"
    #: What create answers for a fan whom another agent serves; "ok" hands the fan over.
    served_elsewhere: str = "65414"
    #: What create answers for an agent who is not online.
    agent_offline: str = "65415"
    #: What create answers for an agent who serves `capacity` fans; WeChat is said to say "ok".
    agent_full: str = "ok"
    #: Reading calls carry errcode 0 and errmsg ok, or leave them out.
    reads_carry_errcode: bool = False
    errcode_as_text: bool = False
    content_type: str = "application/json; encoding=utf-8"
    #: What the online list sends for an online agent: 1 web, 2 phone, 3 both.
    online_status: int = 1
    accounts: tuple[Account, ...] = (Account(),)
    agents: tuple[Agent, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    faults: Faults = Faults()
    limits: Limits = Limits()


def load(path: Path) -> Scenario:
    """Read a TOML file; raises `tables.ScenarioError` with the file, the bad key and the mend."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise tables.ScenarioError(f"{path}: {error.strerror}") from error
    except (tables.ScenarioError, UnicodeDecodeError) as error:
        raise tables.ScenarioError(f"{path}: {error}") from error


def parse(text: str) -> Scenario:
    """Read TOML text."""
    try:
        top = tables.Table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise tables.ScenarioError(f"not TOML: {error}") from error
    accounts = _accounts(top)
    default = accounts[0].appid
    known = {account.appid for account in accounts}
    made = Scenario(
        seed=top.whole("seed", 0),
        latency_ms=top.span("latency_ms", (0.0, 0.0)),
        acts_late=top.boolean("acts_late", False),
        token_seconds=top.whole("token_seconds", 7200, least=1),
        token_length=top.whole("token_length", 136, least=8),
        presence_lag_seconds=top.number("presence_lag_seconds", 0.0),
        session_seconds=top.span("session_seconds", (0.0, 0.0)),
        drip_seconds=top.number("drip_seconds", 1.0),
        odd_rows=top.boolean("odd_rows", False),
        waiting_rows=top.choice("waiting_rows", "mixed", ("latest_time", "createtime", "mixed")),
        served_elsewhere=top.choice("served_elsewhere", "65414", ("65414", "61458", "ok")),
        agent_offline=top.choice("agent_offline", "65415", ("65415", "61459")),
        agent_full=top.choice("agent_full", "ok", ("ok", "65415", "-1")),
        reads_carry_errcode=top.boolean("reads_carry_errcode", False),
        errcode_as_text=top.boolean("errcode_as_text", False),
        content_type=top.text("content_type", "application/json; encoding=utf-8"),
        online_status=int(top.choice("online_status", "1", ("1", "2", "3"))),
        accounts=accounts,
        agents=tuple(_agent(row, default, known) for row in top.tables("agents")),
        waiting=_waiting(top, default, known),
        faults=read_faults(top.table("faults")),
        limits=_limits(top.table("limits")),
    )
    top.done()
    return made


def read_faults(table: tables.Table) -> Faults:
    """Read probabilities: of a scenario, or of a control call."""
    made = Faults(
        chances={
            name: chance for name in bends.TABLE if (chance := table.number(name, 0.0, most=1))
        },
        errcodes=_errcodes(table.table("errcodes")),
        paths=table.texts("paths", (CREATE_PATH,)),
    )
    table.done()
    if sum(made.chances.values()) + sum(made.errcodes.values()) > 1 + 1e-9:
        raise tables.ScenarioError(f"{table.where} add up to more than 1")
    return made


def _errcodes(table: tables.Table) -> dict[int, float]:
    made = {}
    for key in table.given_keys():
        if not _ERRCODE.fullmatch(key):
            raise tables.ScenarioError(f"{table.name(key)}: must be an errcode other than 0")
        if chance := table.number(key, 0.0, most=1):
            made[int(key)] = chance
    return made


def _accounts(top: tables.Table) -> tuple[Account, ...]:
    rows = top.tables("accounts")
    made = []
    for at, row in enumerate(rows):
        made.append(
            Account(
                appid=row.text("appid"),
                secret=row.text("secret", DEFAULT_SECRET),
                token=row.text("token", f"{FIXED_TOKEN}-{at + 1}" if at else FIXED_TOKEN),
                suffix=row.text("suffix", DEFAULT_SUFFIX),
                errcode=row.whole("errcode", 0, least=-1),
                token_errcode=row.whole("token_errcode", 0, least=-1),
                fault=row.choice("fault", NO_FAULT, FAULT_NAMES),
            )
        )
        row.done()
    if len({account.appid for account in made}) < len(made):
        raise tables.ScenarioError("accounts: each appid may stand there once")
    return tuple(made) or (Account(),)


def _agent(row: tables.Table, default: str, known: set[str]) -> Agent:
    made = Agent(
        kf_account=row.text("kf_account"),
        appid=row.choice("appid", default, sorted(known)),
        online=row.maybe_boolean("online"),
        schedule=row.spans("schedule"),
        capacity=row.whole("capacity", 0),
        kf_id=row.text_or_whole("kf_id", 0),
    )
    if "@" not in made.kf_account:
        raise row.wrong("kf_account", "must look like prefix@account")
    row.done()
    return made


def _waiting(top: tables.Table, default: str, known: set[str]) -> tuple[Waiting, ...]:
    try:
        rows = top.tables("waiting")
    except tables.ScenarioError:
        rows = [top.table("waiting")]
    made = []
    for row in rows:
        made.append(
            Waiting(
                appid=row.choice("appid", default, sorted(known)),
                count=row.whole("count", 0),
                openids=row.texts("openids"),
                arrivals_per_second=row.number("arrivals_per_second", 0.0),
                arrivals_limit=row.whole("arrivals_limit", 0),
            )
        )
        row.done()
    return tuple(made)


def _limits(table: tables.Table) -> Limits:
    made = Limits(
        per_minute=table.whole("per_minute", 0),
        per_day=table.whole("per_day", 0),
        paths=table.texts("paths", (CREATE_PATH,)),
    )
    table.done()
    return made

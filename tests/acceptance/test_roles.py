"""The access lists of `ops/deploy/acl`: each role does its work with them, and no more."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import ops
from ops import cli
from ops.chaos import children, quiet, servers, trial
from ops.simulator import scenario
from producers import SessionProducer
from tests import needs
from tests.acceptance import books, processes
from worker.contract import record, request, settings
from worker.ledger import reader

S, R, L = record.Status, record.Reason, request.Lane

ROOT = Path(ops.__file__).parents[1]
ACL, SCRIPTS = ROOT / "ops/deploy/acl", ROOT / "worker/ledger/scripts"
PASSWORD = "Role-password-of-the-tests-0b7d"
ROLES = ("producer", "worker", "reader")
#: What a producer runs; of `rooms`, which stands in front of some, it uses a part.
PRODUCERS_SCRIPTS = ("prelude", "lanes", "moves", "submit", "cancel", "retry", "gate")
PRODUCERS_SCRIPTS += ("known_account",)
ADMIN = f"default:{processes.REDIS_PASSWORD}"
LATE, NEVER = "lena@hbshop", "nora@hbshop"
#: Tokens are of this key alone, which no producer and no reader may look into.
TOKEN = f"{{kf}}:token:{trial.APPID}"
RECORD = "{kf}:request:x"


def login(role: str) -> str:
    """What a role's URL says before the @."""
    return f"kf-{role}:{PASSWORD}"


def rules(role: str) -> str:
    """The role's line as it is shipped."""
    return (ACL / f"{role}.acl").read_text()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server with the shipped roles, and a deployment whose worker and producer have theirs."""

    server: servers.Server
    shop: processes.Deployment

    def refusals(self) -> set[tuple[str, str]]:
        """Who was refused what since the last time; redis-py may not tell its name, and lives."""
        seen = {(each["username"], each["object"]) for each in self.shop.client.acl_log()}
        self.shop.client.acl_log_reset()
        return {(who, what) for who, what in seen if what != "client|setinfo"}


Run = Callable[..., tuple[int, list[dict[str, Any]], list[str]]]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(role, "status")`: the command's exit status, its data, and the lines of its talk."""

    def run_as(role: str, *arguments: str) -> tuple[int, list[dict[str, Any]], list[str]]:
        monkeypatch.setenv("KF_REDIS_URL", site.server.url_as(login(role)))
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        out, talk = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, [json.loads(line) for line in out.splitlines()], talk.splitlines()

    return run_as


@pytest.fixture(
    scope="module",
    params=[servers.valkey_program, pytest.param(needs.redis_server, marks=pytest.mark.debian)],
    ids=lambda make: make.__name__,
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Valkey and Redis 7 read the same files; only the password is put in."""
    directory = tmp_path_factory.mktemp("roles")
    with contextlib.ExitStack() as end:
        some = end.enter_context(children.Children(directory))
        server = servers.Server(
            request.param(),
            directory,
            some,
            login=ADMIN,
            aclfile=_acl_file(directory),
            enable_debug_command="yes",
        )
        shop = processes.Deployment(
            server,
            directory,
            prefix="kf",
            agents=(scenario.Agent(kf_account=each, online=False) for each in (LATE, NEVER)),
            call_timeout_seconds=0.5,
            presence_seconds=0.5,
        )
        end.enter_context(shop)
        shop.environment["KF_REDIS_URL"] = server.url_as(login("worker"))
        config = settings.load(redis_url=server.url_as(login("producer")))
        shop.producer = end.enter_context(SessionProducer(config))
        yield Site(server=server, shop=shop)


def _acl_file(directory: Path) -> Path:
    shipped = [rules(role).replace("@PASSWORD@", f">{PASSWORD}") for role in ROLES]
    admin = f"user default on >{processes.REDIS_PASSWORD} ~* &* +@all\n"
    file = directory / "users.acl"
    file.write_text("".join([*shipped, admin]))
    return file


def test_each_role_does_its_work(site: Site, run: Run) -> None:
    """Through all lives of a request nobody is refused anything, by the server's own log."""
    shop = site.shop
    worker = shop.start_worker()
    shop.client.lpush(shop.queue(L.BATCH), b"poison")
    given = shop.submit(trial.openid(1), key="once", metadata={"ticket": 1})
    shop.outcome(given)  # so that it is not killed while it fetches the token
    held = shop.submit(trial.openid(8, "hang_"))
    shop.wait_status(held, S.CALLING)
    worker.kill()
    worker = shop.start_worker()
    assert shop.submit(trial.openid(1), key="once", metadata={"ticket": 1}) == given
    waiting = shop.submit(trial.openid(2), LATE)
    expiring = shop.submit(trial.openid(3), NEVER, ttl_seconds=1.5)
    unwanted = shop.submit(trial.openid(4), NEVER)
    lost = shop.submit(trial.openid(5, "cut_after_"), trial.AGENT, "any")
    wrong = shop.submit(trial.openid(6, "wrong_"))
    many = shop.submit_many((trial.openid(number) for number in range(10, 30)), lane="batch")
    for each in (waiting, unwanted):
        assert shop.wait_status(each, S.WAITING).reason is R.AGENT_OFFLINE
    assert shop.submit(trial.openid(2), LATE, ttl_seconds=3600) == waiting
    assert shop.producer.cancel(unwanted).is_done
    assert shop.outcome(expiring).status is S.EXPIRED
    assert shop.producer.retry(expiring).result == "queued"
    _check_commands(run)
    shop.wechat.tell("tokens/expire")
    shop.set_online(LATE, online=True)
    for each in (held, given, waiting, lost, *many):
        assert shop.outcome(each).status is S.CREATED
    assert shop.outcome(wrong).reason is R.INVALID_OPENID
    shop.producer.cancel(expiring)
    shop.wait_all_over()
    quiet.wait(shop.client, shop.prefix)  # the dead worker may have had a doorbell in hand
    books.check_books(shop, requests=27)
    assert len(shop.dead_errors()) == 1
    assert worker.stop() == 0
    assert site.refusals() == set()


def _check_commands(run: Run) -> None:
    """What a person does, with the producer's password."""
    for command in (("agents",), ("pause", LATE), ("resume", LATE), ("status",), ("list",)):
        status, shown, talk = run("producer", *command)
        assert (status, bool(shown)) == (0, True), talk
    status, (shown_one,), _ = run("producer", "show", "--key", "once")
    assert (status, shown_one["metadata"]) == (0, {"ticket": 1})


def test_a_reader_sees_everything_public(site: Site, run: Run) -> None:
    """The read model, and the commands that report."""
    one = site.shop.submit(trial.openid(50), NEVER, key="seen")
    with contextlib.closing(site.server.client(login("reader"))) as client:
        reads = reader.Reader(client, "kf")
        found = reads.get(one)
        assert found is not None
        assert reads.newest_of_fan(trial.openid(50), trial.APPID) == found
        assert reads.by_key("seen", trial.APPID) == found
        assert reads.select(reader.Filter(status=S.QUEUED), 5) == ([found], False)
        assert reads.events(block_ms=10)
    _, (seen,), _ = run("reader", "status")
    assert seen["states"]["queued"]["count"] == 1
    assert [each["id"] for each in run("reader", "list", "--status", "queued")[1]] == [one]
    assert run("reader", "show", one)[1][0]["openid"] == trial.openid(50)
    assert one in {each["id"] for each in run("reader", "events")[1]}
    site.shop.producer.cancel(one)
    assert site.refusals() == set()


@pytest.mark.parametrize(
    "command",
    [
        ("enqueue", trial.AGENT, "oFAN", "--appid", trial.APPID),
        ("cancel", "0" * 20),
        ("agents", "--appid", trial.APPID),
    ],
    ids=lambda command: command[0],
)
def test_a_reader_who_wants_to_act_is_told_so_in_a_line(
    site: Site, run: Run, command: tuple[str, ...]
) -> None:
    """Out of reach, as everything is that Redis does not let happen."""
    status, shown, talk = run("reader", *command)
    assert (status, shown, len(talk)) == (3, [], 1), talk
    assert "permission" in talk[0]
    assert PASSWORD not in talk[0]
    assert {who for who, _ in site.refusals()} == {"kf-reader"}


#: What nobody may who only works here.
DANGEROUS = [
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "SHUTDOWN NOSAVE",
    "CONFIG GET requirepass",
    "CONFIG SET dir /tmp",
    "ACL LIST",
    "ACL SETUSER kf-worker +@all",
    "DEBUG SLEEP 0",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "MONITOR",
    "INFO",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "FUNCTION FLUSH",
    "MODULE LIST",
    "REPLICAOF 127.0.0.1 1",
    "SAVE",
    "BGREWRITEAOF",
    "SLOWLOG GET",
    "PUBLISH kf x",
    "SUBSCRIBE kf",
    f"MIGRATE 127.0.0.1 1 {RECORD} 0 10",
    f"DUMP {RECORD}",
    f"OBJECT ENCODING {RECORD}",
    f"RENAME {RECORD} elsewhere",
    f"COPY {RECORD} elsewhere",
    "GET elsewhere",
    "SET elsewhere 1",
    "HGETALL {other}:request:x",
    "LPUSH other.batch x",
]
TOKENS = [
    f"HGETALL {TOKEN}",
    f"HGET {TOKEN} token",
    f"GET {TOKEN}:lock",
    f"DEL {TOKEN}",
    f"COPY {TOKEN} {RECORD}",
]
#: What a producer does through scripts, it may do without them; not more.
NO_PRODUCERS = [
    *TOKENS,
    f"HSET {TOKEN} token mine",
    f"DEL {RECORD}",
    f"UNLINK {RECORD}",
    f"EXPIRE {RECORD} 1",
    f"SET {RECORD} x",
    "DEL {kf}:events",
    "XTRIM {kf}:events MAXLEN 0",
    "XDEL {kf}:events 1-1",
    "DEL {kf}:dead",
    "LPUSH {kf}:dead x",
    "ZREMRANGEBYSCORE {kf}:due -inf +inf",
    "HSET {kf}:accounts wxother 1",
    "HSET {kf}:workers mine x",
    f"HSET {{kf}}:account:{trial.APPID} capacity 0",
    "SET {kf}:schema 99",
    "BRPOP kf.escalation 1",
    "LRANGE kf.batch 0 -1",
    "DEL kf.batch",
    "HGETALL kf.unacked",
    "DEL kf.unacked",
]
NO_READERS = [
    *TOKENS,
    f"HSET {RECORD} status created",
    f"DEL {RECORD}",
    "DEL {kf}:dead",
    "XADD {kf}:events * id x",
    "ZADD {kf}:due 1 x",
    "SET {kf}:wanted:x 1",
    "GET {kf}:doubt:x:y",
    "EVALSHA 0 0",
    "EVAL_RO return 0",
    "SCRIPT LOAD return",
    "FCALL x 0",
    "LPUSH kf.escalation x",
    "LLEN kf.escalation",
    "LRANGE kf.batch 0 -1",
    "WATCH {kf}:due",
    "WAIT 0 1",
]
NO_WORKERS = ["SUNION {kf}:rooms:x", "GETDEL kf.unacked", "LRANGE kf.batch 0 -1", "DEL kf.batch"]
REFUSED = {"producer": NO_PRODUCERS, "worker": NO_WORKERS, "reader": NO_READERS}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_refused_what_is_not_its_work(site: Site, role: str) -> None:
    """NOPERM to every one of these; so nothing is done, whatever the arguments mean."""
    with contextlib.closing(site.server.client(login(role))) as client:
        allowed = [each for each in [*DANGEROUS, *REFUSED[role]] if not _is_refused(client, each)]
    assert allowed == []
    site.refusals()


#: Valkey's words, and those of Redis 7.
REFUSED_INSIDE = "ACL failure in script|The user executing the script can't"


@pytest.mark.parametrize(
    "inner",
    [
        f"'HGETALL', '{TOKEN}'",
        f"'DEL', '{RECORD}'",
        "'HSET', '{kf}:workers', 'mine', 'x'",
        "'KEYS', '*'",
        "'SET', 'elsewhere', 1",
    ],
)
def test_a_script_may_do_no_more_than_the_producer_who_sends_it(site: Site, inner: str) -> None:
    """Scripts are how a producer writes, and no way around its list."""
    with contextlib.closing(site.server.client(login("producer"))) as client:
        with pytest.raises(redis.exceptions.ResponseError, match=REFUSED_INSIDE):
            client.eval(f"return redis.call({inner})", 0)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.eval("return 1", 1, TOKEN)
    site.refusals()


def _is_refused(client: redis.Redis, command: str) -> bool:
    try:
        client.execute_command(*command.split())
    except redis.exceptions.NoPermissionError:
        return True
    except redis.exceptions.RedisError:
        return False
    return False


@pytest.mark.parametrize("role", ROLES)
def test_a_list_without_a_password_put_in_is_no_list(site: Site, role: str) -> None:
    """The server refuses the placeholder: nobody runs with a password that all can read here."""
    line = re.findall(r"\([^)]*\)|\S+", rules(role).replace(f"kf-{role}", "kf-new"))
    with pytest.raises(redis.exceptions.ResponseError, match="Syntax error"):
        site.shop.client.execute_command("ACL", "SETUSER", *line[1:])
    assert "kf-new" not in site.shop.client.acl_users()


@pytest.mark.parametrize(
    ("role", "files"),
    [
        ("worker", [*sorted(SCRIPTS.iterdir()), ROOT / "worker/wechat/token_cache.py"]),
        ("producer", [SCRIPTS / f"{name}.lua" for name in PRODUCERS_SCRIPTS]),
    ],
)
def test_a_command_that_a_script_learns_is_granted(role: str, files: list[Path]) -> None:
    """A path that no test above takes must not be the one that is refused."""
    texts = [file.read_text() for file in files]
    called = {name for text in texts for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    granted = set(re.findall(r"\+([a-z]+)", rules(role)))
    assert {name.lower() for name in called} - granted == set()

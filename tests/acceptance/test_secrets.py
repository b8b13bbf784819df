"""Tokens, secrets and passwords stay in, whatever goes wrong; openids are masked in logs."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydantic
import pytest
import redis

from ops.chaos import children, servers, trial
from producers import SessionProducer
from tests.acceptance import conftest, planted, processes, tattling
from worker import credentials, errors
from worker.contract import record, request, settings
from worker.ledger import connection, reader
from worker.ledger import ledger as ledgers
from worker.wechat import token_calls

#: One fan a kind of trouble, of the simulator's.
FANS = ("", "wrong_", "unknown_", "busy3_", "e502_", "cut_after_", "cut_before_", "garbage_")
FANS += ("huge_", "lied_", "code40001_", "code47001_", "served_carl_", "hang_", "drip_")
#: The same of a WeChat that repeats what it was told; a number is the way in which it does.
SAID_BACK = (*tattling.MANNERS, *(f"say{code}_{way}_" for code in (99999, 47001) for way in "0123"))
#: Accounts of that WeChat: what is refused at the token call, and the ways to a token.
REFUSED = ("wx40125", "wx40164", "wx45009")
TOLD_BY_URL = ("wxurl", "html", "redirect", "status", "header", "words", "seconds", "slow")

#: A worker with bugs in it, all of which know a secret and a fan.
CRASHING = """
import sys
from celery.__main__ import main
from worker import accepting
from worker.wechat import kfsession

def create(via, token, *, kf_account, openid):
    headers = {"Authorization": token}
    try:
        raise ValueError(token.encode(), openid)
    except ValueError as error:
        text = f"{openid}: GET /x?openid={openid}&access_token={token} failed"
        raise RuntimeError(text, headers) from error

def accept(fields, **_):
    from worker import runtime
    raise KeyError(runtime.current()._config.redis_url.get_secret_value(), fields)

kfsession.create, accepting.accept = create, accept
sys.argv = ["celery", "-A", "worker.app", "worker"]
main()
"""


@pytest.fixture
def password(valkey: servers.Server) -> Iterator[planted.Secret]:
    """The password of a user of Valkey's, who is named as its first word begins."""
    secret = planted.Secret.planted("the Redis password")
    with contextlib.closing(valkey.client()) as client:
        allowed = ("~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", _user(secret), "on", f">{secret.value}", *allowed)
        yield secret
        client.execute_command("ACL", "DELUSER", _user(secret))


def _user(password: planted.Secret) -> str:
    return password.words[0][:5]


def _url(password: planted.Secret, port: int, scheme: str = "redis") -> str:
    return f"{scheme}://{_user(password)}:{password.in_url}@127.0.0.1:{port}/0"


# -- the search itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", planted.SPELLINGS)
def test_what_is_planted_is_found(
    valkey: servers.Server, deploy: conftest.Deploy, tmp_path: Path, spelling: str
) -> None:
    """In every place, in every spelling: a search that finds nothing proves nothing otherwise."""
    shop = deploy(valkey)
    secret, other = (planted.Secret.planted(name) for name in ("this", "another"))
    text = f"before {planted.SPELLINGS[spelling](secret.value)} after"
    base, client = shop.keys.base, shop.client
    client.set(f"{base}string", text)
    client.hset(f"{base}hash", mapping={"a": text})
    client.hset(f"{base}fields", mapping={text: "a"})
    client.lpush(shop.queue(request.Lane.BATCH), text)
    client.lpush(shop.keys.dead, json.dumps({"entry": text}))
    client.sadd(f"{base}set", text)
    client.zadd(f"{base}zset", {text: 1})
    client.xadd(f"{base}stream", {"a": text})
    client.set(f"{base}name:{text}", "")
    redis_places = list(_redis_places(shop))
    assert len(planted.leaks([secret], redis_places)) == 9
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\xff\0" + text.encode())
    script = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
    with children.Children(tmp_path) as some:
        child = some.start("talk", [sys.executable, "-c", script, text])
        trial.poll(child.output, seconds=20, what="it talks")
        command_line = list(planted.in_command_line(child.pid))
    files = list(planted.in_files(tmp_path))
    assert len(planted.leaks([secret], files)) == 2
    assert len(planted.leaks([secret], command_line)) == 1
    assert len(planted.leaks([secret], planted.in_error(_chain(text)))) >= 3
    assert not planted.leaks([other], [*redis_places, *files, *command_line])


def _chain(text: str) -> BaseException:
    try:
        try:
            raise KeyError(text)
        except KeyError:
            raise ValueError("without it") from None
    except ValueError as error:
        return error


# -- trouble with WeChat ---------------------------------------------------------------------------


def test_no_trouble_with_wechat_lets_a_secret_out(
    valkey: servers.Server,
    password: planted.Secret,
    tmp_path: Path,
) -> None:
    """Three workers have every trouble there is: faults, replies that tell, bugs of our own."""
    kept = tmp_path / "kept"
    kept.mkdir()
    with contextlib.ExitStack() as end:
        knobs = {"call_timeout_seconds": 1, "concurrency": 32, "log_level": "DEBUG"}
        shops = []
        for name in ("faults", "tales", "bugs"):
            (directory := tmp_path / name).mkdir()
            deploy = end.enter_context(conftest.deploying(directory))
            shops.append(deploy(valkey, **knobs))
            (temporary := directory / "tmp").mkdir()
            shops[-1].environment |= {"KF_LOG_FORMAT": "json", "TMPDIR": str(temporary)}
        faults, tales, bugs = shops
        secrets, fans = [password], _strangers()
        stages = (
            _Faults(faults, _url(password, valkey.port), kept),
            _Tales(tales, _url(password, valkey.port), kept, end),
            _Bugs(bugs, _url(password, valkey.port), end),
        )
        for stage in stages:
            stage.start()
        with concurrent.futures.ThreadPoolExecutor(len(stages)) as pool:
            list(pool.map(lambda stage: stage.drive(), stages))
        for stage in stages:
            secrets += stage.end()
            fans += stage.fans
        names = {secret.name for secret in secrets}
        assert len(names) == len(secrets) == 14
        places = list(planted.in_files(tmp_path, apart=kept.iterdir()))
        for shop in shops:
            places += _redis_places(shop)
        for stage in stages:
            places += stage.command_lines
    assert not planted.leaks(secrets, places)
    logs = [place for place in places if "worker-" in place[0]]
    assert len(logs) == 3
    assert not planted.leaks(fans, logs)
    assert len([text for _, text in logs if "request_settled" in text]) == 3


class _Stage:
    """One worker and what is done to it; it serves the account `appid`."""

    appid = trial.APPID

    def __init__(self, shop: processes.Deployment, redis_url: str) -> None:
        self.shop = shop
        self.redis_url = redis_url
        self.fans: list[planted.Secret] = []
        self.command_lines: list[planted.Place] = []
        self.worker: children.Child | None = None

    def start(self) -> None:
        """Begin to start the worker."""

    def drive(self) -> None:
        """Do it all, once the worker is there."""
        trial.poll(
            self.shop.reader.workers, seconds=processes.PATIENCE_SECONDS, what="the worker is ready"
        )

    def end(self) -> list[planted.Secret]:
        """Stop the worker; what was secret."""
        assert self.worker is not None
        self.command_lines += planted.in_command_line(self.worker.pid)
        assert self.worker.stop() == 0
        # Of all doorbells some are left in the broker, to be searched.
        self.shop.submit_many(["later_1", "later_2", "later_3"], appid=self.appid)
        return [planted.Secret.known("the tests' Redis password", processes.REDIS_PASSWORD)]

    def _openids(self, steers: Iterable[str]) -> list[str]:
        openids = [trial.openid(number, steer) for number, steer in enumerate(steers)]
        self.fans += [planted.Secret.known(f"openid {each}", each) for each in openids]
        return openids


class _Faults(_Stage):
    """A WeChat with faults; all secrets come in files."""

    def __init__(self, shop: processes.Deployment, redis_url: str, kept: Path) -> None:
        super().__init__(shop, redis_url)
        self._files = {
            "KF_REDIS_URL": kept / "redis",
            "KF_BROKER_URL": kept / "broker",
            "KF_APPSECRET": kept / "appsecret",
        }
        self._tokens: list[str] = []

    def start(self) -> None:
        for name, file in self._files.items():
            file.write_text(trial.APPSECRET if "SECRET" in name else self.redis_url)
        files = {f"{name}_FILE": str(file) for name, file in self._files.items()}
        self.worker = self.shop.launch_worker(**dict.fromkeys(self._files, ""), **files).child

    def drive(self) -> None:
        super().drive()
        shop = self.shop
        ids = shop.submit_many(self._openids(FANS), ttl_seconds=4)
        _push_strange_entries(shop)
        for request_id in ids:
            shop.outcome(request_id)
        self._keep_token()
        shop.wechat.tell("tokens/expire")
        shop.outcome(shop.submit(trial.openid(1000)))
        self._keep_token()
        (hanging,) = self._openids(["hang99_"])
        shop.submit(hanging)
        trial.poll(lambda: shop.creates(hanging), seconds=20, what="a call hangs")

    def end(self) -> list[planted.Secret]:
        shared = super().end()  # SIGTERM while it hangs
        assert len(set(self._tokens)) == 2
        tokens = [
            planted.Secret.known(f"token {number} of stable_token", token)
            for number, token in enumerate(self._tokens)
        ]
        return [*shared, planted.Secret.known("app secret in a file", trial.APPSECRET), *tokens]

    def _keep_token(self) -> None:
        token = self.shop.client.hget(self.shop.keys.token(trial.APPID), "token")
        assert isinstance(token, str)
        self._tokens.append(token)


class _Tales(_Stage):
    """A WeChat that repeats what it was told; all secrets come in the accounts file."""

    appid = "wxfixed"

    def __init__(
        self,
        shop: processes.Deployment,
        redis_url: str,
        kept: Path,
        end: contextlib.ExitStack,
    ) -> None:
        super().__init__(shop, redis_url)
        plant = planted.Secret.planted
        self._appsecret = plant("app secret in the accounts file")
        self._login = plant("login of a token URL")
        self._query = plant("query of a token URL")
        self._tokens = {
            name: plant(f"token of {name}", planted.AWKWARD_TOKEN)
            for name in ("wxsecret", "wxfixed", "wxfile", "wxurl", "wxrejected")
        }
        self._secrets = [self._appsecret, self._login, self._query, *self._tokens.values()]
        tokens = {name: secret.value for name, secret in self._tokens.items()}
        self._wechat = end.enter_context(tattling.Tattler(tokens=tokens))
        self._file = kept / "accounts.toml"
        (token_file := kept / "token").write_text(tokens["wxfile"])
        sources = {
            "wxsecret": ("appsecret", self._appsecret.value),
            "wxfixed": ("access_token", tokens["wxfixed"]),
            "wxrejected": ("access_token", tokens["wxrejected"]),
            "wxfile": ("access_token_file", str(token_file)),
            **dict.fromkeys(REFUSED, ("appsecret", self._appsecret.value)),
            **{name: ("access_token_url", self._token_url(name)) for name in TOLD_BY_URL},
            "closed": ("access_token_url", self._token_url("closed", port=_closed_port())),
            "tls": ("access_token_url", self._token_url("tls", scheme="https")),
            "dns": ("access_token_url", self._token_url("dns", "https", host="nowhere.invalid")),
        }
        self._appids = list(sources)
        self._file.write_text(
            "".join(
                f'[[account]]\nappid = "{appid}"\n{name} = {json.dumps(value)}\n'
                for appid, (name, value) in sources.items()
            )
        )

    def start(self) -> None:
        self.worker = self.shop.launch_worker(
            KF_APPID="",
            KF_APPSECRET="",
            KF_ACCOUNTS_FILE=str(self._file),
            KF_API_BASE_URL=self._wechat.url,
            KF_REDIS_URL=self.redis_url,
            KF_BROKER_URL=self.redis_url,
        ).child

    def drive(self) -> None:
        super().drive()
        shop = self.shop
        for appid in self._appids:
            openids = self._openids([f"{appid}_"])
            shop.submit_many(openids, appid=appid, ttl_seconds=3)
        for appid in ("wxsecret", "wxfixed", "wxfile", "wxurl"):
            shop.submit_many(self._openids(SAID_BACK), appid=appid, ttl_seconds=3)
        openids = self._openids(f"say{code}_{way}_" for code in (40001, 42001) for way in "0123")
        shop.submit_many(openids, appid="wxrejected", ttl_seconds=3)
        shop.wait_all_over()
        statuses = {status for status in record.FINAL if shop.count(status)}
        assert statuses >= {record.Status.CREATED, record.Status.FAILED, record.Status.EXPIRED}

    def end(self) -> list[planted.Secret]:
        super().end()
        return self._secrets

    def _token_url(
        self, path: str, scheme: str = "http", *, host: str = "127.0.0.1", port: int = 0
    ) -> str:
        login = f"user:{self._login.in_url}"
        place = f"{host}:{port or self._wechat.port}"
        return f"{scheme}://{login}@{place}/token/{path}?secret={self._query.in_url}"


class _Bugs(_Stage):
    """A worker whose own code fails with secrets in hand."""

    def __init__(
        self, shop: processes.Deployment, redis_url: str, end: contextlib.ExitStack
    ) -> None:
        super().__init__(shop, redis_url)
        self._token = planted.Secret.planted("token of a crash", planted.AWKWARD_TOKEN)
        (directory := shop.directory / "more").mkdir()
        self._children = end.enter_context(children.Children(directory))

    def start(self) -> None:
        environment = {
            **self.shop.environment,
            "KF_REDIS_URL": self.redis_url,
            "KF_APPSECRET": "",
            "KF_ACCESS_TOKEN": self._token.value,
        }
        command = [sys.executable, "-c", CRASHING]
        self.worker = self._children.start("worker", command, environment)

    def drive(self) -> None:
        super().drive()
        shop = self.shop
        # As WeChat writes them: where nothing names it, an openid is known by its form.
        for openid in self._openids(["oBug-1_", "oBug-2_"]):
            shop.submit(openid, ttl_seconds=60)
        (sent,) = self._openids(["oSent_"])
        entry = _entry("kfsession.submit", {"kf_account": trial.AGENT, "openid": sent})
        shop.client.lpush(shop.queue(request.Lane.ESCALATION), entry)
        worker = self.worker
        assert worker is not None
        for said in ("delivery_crashed", "RuntimeError", "KeyError", "request_settled"):
            trial.poll(
                lambda said=said: said in worker.output(),  # type: ignore[misc]
                seconds=processes.PATIENCE_SECONDS,
                what=f"{said} is in the log",
            )
        assert shop.dead()

    def end(self) -> list[planted.Secret]:
        super().end()
        return [self._token]


def _strangers() -> list[planted.Secret]:
    return [planted.Secret.known("a stranger's appsecret", "6b1d0c4f2e5a987c31d2")]


def _push_strange_entries(shop: processes.Deployment) -> None:
    """Entries that name what they hold: they stay on the dead list, and out of the log."""
    (stranger,) = _strangers()
    fields = {"appsecret": stranger.value, "access_token": stranger.value}
    doorbell = _entry("kfsession.deliver", fields)
    for entry in (f"appsecret={stranger.value}", json.dumps(fields), doorbell):
        shop.client.lpush(shop.queue(request.Lane.BATCH), entry)
    trial.poll(lambda: len(shop.dead()) == 3, seconds=20, what="strange entries are refused")


def _entry(task: str, argument: object) -> str:
    """A message of Celery's protocol 2."""
    body = base64.b64encode(json.dumps([[argument], {}, {}]).encode()).decode()
    headers = {"task": task, "id": "6a8f2c1e-0b7d-4c55-9a51-2f2d3c4b5a69"}
    properties = {"body_encoding": "base64"}
    return json.dumps({"body": body, "headers": headers, "properties": properties})


def _redis_places(shop: processes.Deployment) -> Iterator[planted.Place]:
    """What the deployment, Celery and kombu have in Redis, but for tokens under the token keys."""
    with contextlib.closing(redis.Redis.from_url(shop.valkey.url)) as client:
        patterns = (f"*{shop.prefix}*", "_kombu*", "celery*", "unacked*")
        yield from planted.in_redis(client, *patterns, apart=shop.keys.token(""))


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


# -- trouble with Redis ----------------------------------------------------------------------------


def test_no_trouble_with_redis_lets_a_secret_out(
    valkey: servers.Server, deploy: conftest.Deploy, password: planted.Secret, tmp_path: Path
) -> None:
    """Neither workers nor commands, nor Celery's own, whether they get through or not."""
    shop = deploy(valkey, log_level="DEBUG", submit_timeout_seconds=1)
    appsecret, token = planted.Secret.planted("app secret"), planted.Secret.planted("token")
    login = planted.Secret.planted("login of the token URL")
    shop.environment |= {"KF_APPSECRET": appsecret.value, "TMPDIR": str(tmp_path)}
    (kept := tmp_path / "kept").mkdir()
    (kept / "url").write_text(_url(password, valkey.port))
    closed = _closed_port()
    wrong = _url(password, valkey.port).replace(_user(password), "nobody", 1)
    sentinel = f"sentinel://:{password.in_url}@127.0.0.1:{closed},127.0.0.1:{valkey.port}/main/0"
    urls = [
        wrong,
        _url(password, closed),
        _url(password, valkey.port, "rediss"),
        _url(password, valkey.port).replace("127.0.0.1", "nowhere.invalid"),
        sentinel,
    ]
    workers = [shop.launch_worker(KF_REDIS_URL=url).child for url in (wrong, sentinel)]
    workers.append(shop.launch_worker(KF_BROKER_URL=_url(password, closed)).child)
    commands = []
    for url, command in zip(urls, _COMMANDS, strict=True):
        shop.environment["KF_REDIS_URL"] = url
        commands.append(shop.start_command(*command))
    # What follows gets through.
    shop.environment |= {"KF_REDIS_URL": "", "KF_REDIS_URL_FILE": str(kept / "url")}
    commands.append(shop.start_command("enqueue", trial.AGENT, "fan", "--appid", trial.APPID))
    told = f"https://u:{login.in_url}@127.0.0.1:{closed}/?secret={token.in_url}"
    shop.environment |= {"KF_APPSECRET": "", "KF_ACCESS_TOKEN_URL": told}
    commands += [shop.start_command("route"), shop.start_command("status")]
    with children.Children(tmp_path) as some:
        for arguments in (("report",), ("inspect", "conf"), ("status",)):
            celery = [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]
            commands.append(some.start("celery", celery, shop.environment))
        places = [place for each in workers for place in planted.in_command_line(each.pid)]
        ends = [each.wait(processes.PATIENCE_SECONDS) for each in commands]
    for worker in workers:
        trial.poll(
            lambda worker=worker: "Cannot connect" in worker.output(),  # type: ignore[misc]
            seconds=processes.PATIENCE_SECONDS,
            what="it does not get through",
        )
        worker.kill()
    assert ends[:6] == [3, 3, 3, 3, 3, 0], [each.output() for each in commands[:6]]
    assert "broker_url" in commands[-3].output()
    places += planted.in_files(tmp_path, apart=kept.iterdir())
    places += _redis_places(shop)
    secrets = [password, appsecret, token, login]
    assert not planted.leaks(secrets, places)


#: A command for each way not to get through.
_COMMANDS = (
    ("status",),
    ("enqueue", trial.AGENT, "fan", "--appid", "wx1"),
    ("list",),
    ("agents",),
    ("events",),
)


def test_no_error_of_a_producer_holds_a_secret(
    valkey: servers.Server, password: planted.Secret, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what it came from, nor what it logs at DEBUG."""
    caplog.set_level(logging.DEBUG)
    wrong = _url(password, valkey.port).replace(_user(password), "nobody", 1)
    for url in (wrong, _url(password, _closed_port()), _url(password, valkey.port, "rediss")):
        config = settings.load(_env_file=None, redis_url=url, submit_timeout_seconds=1)
        with SessionProducer(config) as producer:
            found = list(planted.in_object(producer))
            for call in (
                lambda: producer.submit(appid="wx1", openid="fan", kf_account=trial.AGENT),
                lambda: producer.submit_many(
                    [{"appid": "wx1", "openid": "fan", "kf_account": trial.AGENT}]
                ),
                lambda: producer.get("0123456789abcdefghjk"),
                lambda: list(producer.events()),
            ):
                with pytest.raises(errors.LedgerUnavailable) as raised:
                    call()
                found += planted.in_error(raised.value)
        assert not planted.leaks([password], found)
    assert not planted.leaks([password], [("the log", caplog.text)])


# -- settings, and what shows itself ---------------------------------------------------------------


#: Wrong and right values with a secret in them: `{0}` is as a URL spells it, `{1}` as it is.
_VALUES = {
    "KF_REDIS_URL": (
        "redis://:{0}@h:port/0",
        "redis://:{1}@h/0",
        "http://u:{0}@h/0",
        "sentinel://:{0}@h1,h2",
        "unix://:{0}@",
        "redis://h/0?password={0}&x={1}",
        "rediss://:{0}@h/0?ssl_cert_reqs=none",
    ),
    "KF_ACCESS_TOKEN_URL": ("http://u:{0}@h?secret={0}", "https://u:{0}@[h/", "ftp://{1}@h", "{1}"),
    "KF_API_BASE_URL": ("https://u:{0}@h", "http://u:{0}@h?secret={0}", "https://h?{0}"),
    "KF_APPSECRET": ("{1}",),
}
_VALUES["KF_BROKER_URL"] = _VALUES["KF_REDIS_URL"]
#: The same in an accounts file; `{0}` is the secret as TOML spells it.
_ACCOUNTS = (
    "appsecret = {0}x",
    'appsecret = "{0}',
    "appsecret = [{0}]",
    "appsecrte = {0}",
    "appsecret = {0}\nappsecret = {0}",
    "appsecret = {0}\naccess_token = {0}",
    "appsecret = {0}\nagent_capacity = -1",
    "access_token_url = {0}",
    "{0}",
)


def test_a_wrong_setting_is_told_without_the_secret_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither its line nor its traceback holds any of it; what is right shows nothing either."""
    secret = planted.Secret.planted("secret")
    (file := tmp_path / "accounts.toml").write_text("")
    given = [(name, value) for name, values in _VALUES.items() for value in values]
    cases = [{name: value.format(secret.in_url, secret.value)} for name, value in given]
    cases += [
        {f"{name}_FILE": "/nowhere", name: value.format(secret.in_url, secret.value)}
        for name, value in given
        if name in ("KF_APPSECRET", "KF_REDIS_URL", "KF_BROKER_URL")
    ]
    for case in cases:
        with monkeypatch.context() as patch:
            for name, value in case.items():
                patch.setenv(name, value)
            assert not planted.leaks([secret], _loading())
    for account in _ACCOUNTS:
        file.write_text(f'[[account]]\nappid = "wx1"\n{account.format(secret.in_toml)}\n')
        with monkeypatch.context() as patch:
            patch.setenv("KF_ACCOUNTS_FILE", str(file))
            places = _loading()
            assert "InvalidSettings" in str(places)
            assert not planted.leaks([secret], places)


def _loading() -> list[planted.Place]:
    try:
        config = settings.load(_env_file=None)
        shown = [*planted.in_object(config), ("vars", repr(vars(config)))]
        return [*shown, *(place for each in config.accounts() for place in planted.in_object(each))]
    except settings.InvalidSettings as error:
        return [*planted.in_traceback(error), *planted.in_object(error)]


def test_nothing_that_knows_a_secret_shows_it() -> None:
    """Neither settings nor clients nor sources of tokens, and no grant of a token."""
    secret = planted.Secret.planted("secret")
    hidden = pydantic.SecretStr(secret.value)
    url = f"redis://:{secret.in_url}@127.0.0.1:1/0"
    config = settings.load(_env_file=None, redis_url=url, broker_url=url)
    client = connection.connect(config.ledger_url, timeout_seconds=1, max_connections=1)
    known = credentials.Credentials(config, client)
    token_url = pydantic.SecretStr(f"https://u:{secret.in_url}@127.0.0.1:1/?{secret.in_url}")
    sources = ({"appsecret": hidden}, {"access_token": hidden}, {"access_token_url": token_url})
    accounts = [settings.Account(appid="wx1", **source) for source in sources]
    shown = [config, client, client.connection_pool, known, known.api, *accounts]
    shown += [ledgers.Ledger(client, config), reader.Reader(client, "kf")]
    for account in accounts:
        source = known.token_source(account)
        shown += [source, source._source]
        with contextlib.suppress(errors.TokenUnavailable):
            source.get()
    shown.append(token_calls.Grant(token=secret.value, expires_in_seconds=1))
    shown.append(errors.LedgerUnavailable(url, f"Error at {url}", maybe_written=False))
    places = [place for each in shown for place in planted.in_object(each)]
    known.close()
    client.close()
    assert not planted.leaks([secret], places)

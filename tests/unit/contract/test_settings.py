"""settings: each wrong value is one line that names its variable; no secret is ever shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from worker.contract import settings, urls

SECRET = "s3cr3t-PLANTED"


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, `.env` or embedded ledger of this machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("KF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: object) -> settings.Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return settings.load()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: object) -> str:
    """What is said when the environment, or the accounts it describes, is wrong."""
    with pytest.raises(settings.InvalidSettings) as caught:
        load(monkeypatch, **variables).accounts()
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return said


def test_the_defaults_are_those_of_the_contract() -> None:
    """Nothing has to be set to try it out."""
    config = settings.load()
    assert config.ledger_url == config.celery_url == "redis://127.0.0.1:6379/0"
    assert config.api_base_url == "https://api.weixin.qq.com"
    assert (config.key_prefix, config.concurrency) == ("kf", 64)
    assert (config.ttl_seconds, config.batch_ttl_seconds) == (1800, 28800)
    assert (config.call_timeout_seconds, config.submit_timeout_seconds) == (10, 2)
    assert (config.presence_seconds, config.retention_hours) == (5, 168)
    assert (config.agent_capacity, config.submit_replicas) == (0, 0)
    assert (config.log_format, config.log_level) == (None, "INFO")
    with pytest.raises(settings.InvalidSettings, match="KF_APPSECRET: missing"):
        config.accounts()
    assert config.default_ttl_seconds("escalation") == 1800
    assert config.default_ttl_seconds("batch") == 28800


def test_a_lease_outlives_a_token_fetch_and_a_call() -> None:
    """Each at its full timeout."""
    assert settings.load(call_timeout_seconds=10).lease_seconds > 20


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KF_REDIS_URL", "127.0.0.1:6379"),
        ("KF_REDIS_URL", "http://h"),
        ("KF_REDIS_URL", "redis"),
        ("KF_REDIS_URL", "redis://h:notaport/0"),
        ("KF_REDIS_URL", "redis://h/notadatabase"),
        ("KF_REDIS_URL", f"redis://:{SECRET}#x@h:6379/0"),
        ("KF_REDIS_URL", "redis://h:99999/0"),
        ("KF_REDIS_URL", "redis://h:6379/0?socket_timeout=x"),
        ("KF_REDIS_URL", "redis://h:6379/0?nope=1"),
        ("KF_REDIS_URL", "unix://"),
        ("KF_REDIS_URL", f"redis://:{SECRET}/x@h/0"),
        ("KF_REDIS_URL", f"sentinel://:{SECRET}@h1:26379"),
        ("KF_REDIS_URL", f"sentinel://:{SECRET}@h1:port/NAME"),
        ("KF_BROKER_URL", f"amqp://:{SECRET}@h"),
        ("KF_BROKER_URL", f"ftp://h/0?password={SECRET}"),
        ("KF_BROKER_URL", f"ftp://:p?{SECRET}@h"),
        ("KF_BROKER_URL", f"ftp://h/0?password=x@{SECRET}"),
        ("KF_KEY_PREFIX", "a b"),
        ("KF_KEY_PREFIX", "{x}"),
        ("KF_KEY_PREFIX", "x" * 33),
        ("KF_API_BASE_URL", "http://api.weixin.qq.com"),
        ("KF_API_BASE_URL", "api.weixin.qq.com"),
        ("KF_API_BASE_URL", f"https://u:{SECRET}@h"),
        ("KF_API_BASE_URL", f"https://h/?access_token={SECRET}"),
        ("KF_API_BASE_URL", "https://[::1"),
        ("KF_API_BASE_URL", "https://h:99999"),
        ("KF_API_BASE_URL", "http://localhost.evil.example"),
        ("KF_APPID", "wx 1"),
        ("KF_CONCURRENCY", "0"),
        ("KF_CONCURRENCY", "many"),
        ("KF_CONCURRENCY", "1.5"),
        ("KF_TTL_SECONDS", "0"),
        ("KF_TTL_SECONDS", "172801"),
        ("KF_BATCH_TTL_SECONDS", "x"),
        ("KF_CALL_TIMEOUT_SECONDS", "0"),
        ("KF_CALL_TIMEOUT_SECONDS", "61"),
        ("KF_SUBMIT_TIMEOUT_SECONDS", "0"),
        ("KF_SUBMIT_REPLICAS", "-1"),
        ("KF_SUBMIT_REPLICAS", "11"),
        ("KF_SUBMIT_REPLICAS", "0.5"),
        ("KF_PRESENCE_SECONDS", "0"),
        ("KF_AGENT_CAPACITY", "-1"),
        ("KF_AGENT_CAPACITY", "1.5"),
        ("KF_AGENT_CAPACITY", "many"),
        ("KF_RETENTION_HOURS", "0"),
        ("KF_RETENTION_HOURS", "nan"),
        ("KF_LOG_FORMAT", "xml"),
        ("KF_LOG_LEVEL", "LOUD"),
        ("KF_ACCESS_TOKEN_URL", f"gopher://h/{SECRET}"),
        ("KF_ACCESS_TOKEN_URL", SECRET),
        ("KF_ACCESS_TOKEN_URL", f"https://u:{SECRET}\u2100@h/"),
        ("KF_API_BASE_URL", f"https://u:{SECRET}/x@h/"),
        ("KF_API_BASE_URL", f"https://h:{SECRET}/0"),
        ("KF_API_BASE_URL", f"https://u:{SECRET}\u2100@h/"),
        ("KF_REDIS_URL", SECRET),
        ("KF_REDIS_URL", f"{SECRET}://h"),
        ("KF_REDIS_URL", f"rediss://:{SECRET}@h/0?ssl_cert_reqs=no"),
        ("KF_BROKER_URL", SECRET),
        ("KF_APPSECRET_FILE", SECRET),
        ("KF_REDIS_URL_FILE", SECRET),
        ("KF_REDIS_URL_FILE", f"redis://:{SECRET}@h/0"),
        ("KF_APPSECRET_FILE", "/does/not/exist"),
        ("KF_ACCOUNTS_FILE", "/does/not/exist"),
    ],
)
def test_each_wrong_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """In one line, with no secret in it."""
    assert refusal(monkeypatch, **{"KF_APPID": "wx1", variable: value}).startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "value",
    [
        "redis://h",
        "redis://h:6379/0",
        "redis://u:p@h:1/2",
        "redis://:p@ss@h/0",
        "redis://[::1]:6379/0",
        "rediss://:p%2Fw@h/0?ssl_cert_reqs=none",
        "unix:///run/v.sock?db=2",
        "sentinel://h1/NAME",
        "sentinel://:p%40@h1:1,h2:2/NAME/3",
    ],
)
def test_every_spelling_of_a_server_is_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """For the ledger, and for the broker unless it has its own."""
    config = load(monkeypatch, KF_REDIS_URL=value)
    assert config.ledger_url == config.celery_url == value


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_loopback_may_be_asked_over_http(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """For the simulator."""
    assert load(monkeypatch, KF_API_BASE_URL=host + "/").api_base_url == host


def test_no_secret_is_in_a_repr_or_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 8."""
    config = load(
        monkeypatch,
        KF_REDIS_URL=f"redis://:{SECRET}@h/0",
        KF_BROKER_URL=f"redis://:{SECRET}@h/1",
        KF_APPID="wx1",
        KF_APPSECRET=SECRET,
    )
    (account,) = config.accounts()
    for shown in (repr(config), str(config), config.model_dump_json(), repr(account), str(account)):
        assert SECRET not in shown
    assert account.appsecret is not None
    assert account.appsecret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        (f"redis://:{SECRET}@h:1/0", "redis://***@h:1/0"),
        (f"redis://u:p@{SECRET}@h", "redis://***@h"),
        (f"redis://:p/{SECRET}@h", "redis://***@h"),
        (f"redis://h/0?password={SECRET}", "redis://h/0"),
        (f"redis://h/0?password=p@{SECRET}", "redis://***"),
        (f"redis://:p?{SECRET}@h", "redis://***"),
        (f"sentinel://:{SECRET}@h1:1,h2:2/NAME/0", "sentinel://***@h1:1,h2:2/NAME/0"),
        ("unix:///run/v.sock?db=1", "unix:///run/v.sock"),
        (f":{SECRET}@h:6379/0", "***@h:6379/0"),
        (f"u:{SECRET}@h://x", "***@h://x"),
        (f"h?password={SECRET}://", "h"),
        ("h:6379", "h:6379"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Whatever characters it holds."""
    assert urls.redact(url) == shown


# -- files -----------------------------------------------------------------------------------


def test_secrets_can_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As container platforms mount them."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "url").write_text("redis://:pw@h/7\n")
    config = load(
        monkeypatch,
        KF_APPID="wx1",
        KF_APPSECRET_FILE=tmp_path / "secret",
        KF_REDIS_URL_FILE=tmp_path / "url",
        KF_BROKER_URL_FILE=tmp_path / "url",
    )
    (account,) = config.accounts()
    assert account.appsecret is not None
    assert account.appsecret.get_secret_value() == SECRET
    assert config.ledger_url == config.celery_url == "redis://:pw@h/7"


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody should have to guess which one counts."""
    (tmp_path / "secret").write_text(SECRET)
    said = refusal(
        monkeypatch,
        KF_APPID="wx1",
        KF_APPSECRET=SECRET,
        KF_APPSECRET_FILE=tmp_path / "secret",
    )
    assert said == "KF_APPSECRET_FILE: KF_APPSECRET is set too; give one of them"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe" + SECRET.encode()])
def test_a_secret_file_without_a_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    """Empty, or no text."""
    (tmp_path / "secret").write_bytes(content)
    said = refusal(monkeypatch, KF_APPID="wx1", KF_APPSECRET_FILE=tmp_path / "secret")
    assert said.startswith("KF_APPSECRET_FILE: ")


def test_a_token_file_is_a_source_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Re-read later, so its content is not taken now."""
    config = load(monkeypatch, KF_ACCESS_TOKEN_FILE=tmp_path / "later")
    (account,) = config.accounts()
    assert (account.appid, account.access_token_file) == ("default", tmp_path / "later")


def test_dotenv_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also for files with secrets; other programs' variables are none of ours."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / ".env").write_text(
        f"KF_KEY_PREFIX=dotenv\nKF_APPID=wx1\nKF_CONCURRENCY=7\nOTHER=1\nKF_LOG_LEVEL=\n"
        f"KF_APPSECRET_FILE={tmp_path / 'secret'}\n"
    )
    config = load(monkeypatch, KF_KEY_PREFIX="env")
    assert (config.key_prefix, config.appid, config.concurrency) == ("env", "wx1", 7)
    assert config.log_level == "INFO"
    (account,) = config.accounts()
    assert account.appsecret is not None
    assert account.appsecret.get_secret_value() == SECRET


# -- accounts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KF_APPSECRET": SECRET}, "KF_APPID: missing; KF_APPSECRET needs it"),
        (
            {"KF_APPID": "wx1", "KF_APPSECRET": SECRET, "KF_ACCESS_TOKEN": SECRET},
            "account wx1: give exactly one of appsecret, access_token, access_token_file,"
            " access_token_url (given: appsecret, access_token)",
        ),
        (
            {"KF_ACCOUNTS_FILE": "accounts.toml", "KF_ACCESS_TOKEN": SECRET},
            "KF_ACCOUNTS_FILE: credentials are also set in the environment; keep one of them",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    """With what to keep."""
    assert said in refusal(monkeypatch, **variables)


def test_several_accounts_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One table each."""
    file = tmp_path / "accounts.toml"
    file.write_text(
        '[[account]]\nappid = "wx1"\nappsecret = "a"\n'
        '[[account]]\nappid = "wx2"\naccess_token_url = "https://tokens.example/wx2"\n'
    )
    accounts = load(monkeypatch, KF_ACCOUNTS_FILE=file).accounts()
    assert [account.appid for account in accounts] == ["wx1", "wx2"]


def test_an_account_has_the_capacity_of_the_file_else_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A 0 in the file is an answer too; single agents keep their own."""
    file = tmp_path / "accounts.toml"
    file.write_text(
        '[[account]]\nappid = "wx1"\nappsecret = "a"\nagent_capacity = 20\n'
        '[account.capacities]\n"anna@shop" = 50\n"bert@shop" = 0\n'
        '[[account]]\nappid = "wx2"\nappsecret = "a"\n'
        '[[account]]\nappid = "wx3"\nappsecret = "a"\nagent_capacity = 0\n'
    )
    accounts = load(monkeypatch, KF_ACCOUNTS_FILE=file, KF_AGENT_CAPACITY=7).accounts()
    assert [account.agent_capacity for account in accounts] == [20, 7, 0]
    assert [account.capacities for account in accounts] == [
        {"anna@shop": 50, "bert@shop": 0},
        {},
        {},
    ]


@pytest.mark.parametrize(("variables", "capacity"), [({}, 0), ({"KF_AGENT_CAPACITY": 3}, 3)])
def test_the_account_of_the_environment_has_its_capacity(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, object], capacity: int
) -> None:
    """Without a file as well."""
    (account,) = load(monkeypatch, KF_ACCESS_TOKEN="t", **variables).accounts()
    assert (account.agent_capacity, account.capacities) == (capacity, {})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("agent_capacity = -1", "agent_capacity: -1: Input should be greater than or equal to 0"),
        ("agent_capacity = '9'", "agent_capacity: '9': Input should be a valid integer"),
        ("agent_capacity = true", "agent_capacity: True: Input should be a valid integer"),
        ("capacities = 5", "capacities: 5: Input should be a valid dictionary"),
        (
            "capacities = {'anna@shop' = -2}",
            "capacities.anna@shop: -2: Input should be greater than or equal to 0",
        ),
        ("capacities = {'anna@shop' = 1.5}", "capacities.anna@shop: 1.5: Input should be a valid"),
        ("capacities = {anna = 5}", "capacities: 'anna': an agent is prefix@account"),
        ("capacities = {'a b@shop' = 5}", "capacities: 'a b@shop': an agent is prefix@"),
        ('capacities = {"a\\nb" = 5}', "capacities: 'a\\nb': an agent is prefix@account"),
        (
            "capacities = {any = 5}",
            "capacities: 'any': is no single agent; for all of the account write agent_capacity",
        ),
        (
            "[account.capacities]\nappsecret = 'SECRET'",
            "capacities: 'appsecret': an agent",
        ),
    ],
)
def test_a_wrong_capacity_names_its_place_value_and_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str, said: str
) -> None:
    """Also where a key was written below the table it does not belong to."""
    file = tmp_path / "accounts.toml"
    content = f'[[account]]\nappid = "wx1"\naccess_token = "t"\n{lines}'
    file.write_text(content.replace("SECRET", SECRET))
    line = refusal(monkeypatch, KF_ACCOUNTS_FILE=file)
    assert line.startswith(f"KF_ACCOUNTS_FILE: {said}")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "must hold [[account]] tables"),
        ("[[account", "is no TOML"),
        ("account = 5", "must hold [[account]] tables"),
        ('[account]\nappid = "wx1"', "must hold [[account]] tables"),
        ("account = [5]", "Input should be a valid dictionary"),
        (f'[[account]]\nappsecret = "{SECRET}"', "appid: Field required"),
        (f'[[account]]\nappid = "wx1"\napp_secret = "{SECRET}"', "app_secret: "),
        (f'[[account]]\nappid = "wx1"\nappsecret = ["{SECRET}"]', "appsecret: "),
        (f'[[account]]\nappid = "w x"\nappsecret = "{SECRET}"', "appid: 'w x': "),
        (
            f'[[account]]\nappid = "wx1"\nappsecret = "{SECRET}"\naccess_token = "{SECRET}"',
            "account wx1: give exactly one of",
        ),
        ('[[account]]\nappid = "wx1"', "account wx1: give exactly one of"),
        (
            f'[[account]]\nappid = "wx1"\nappsecret = "{SECRET}"\n' * 2,
            "each appid once",
        ),
        (f'[[account]]\nappid = "wx1"\naccess_token_url = "{SECRET}"', "access_token_url: "),
        ("a=" + "[" * 20_000, "cannot be read as TOML"),
        ("[[account]]\nappid=" + "9" * 5000, "cannot be read as TOML"),
    ],
    ids=range(15),
)
def test_a_wrong_accounts_file_is_refused_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, said: str
) -> None:
    """One line, led by the variable."""
    file = tmp_path / "accounts.toml"
    file.write_text(content)
    line = refusal(monkeypatch, KF_ACCOUNTS_FILE=file)
    assert line.startswith("KF_ACCOUNTS_FILE: ")
    assert said in line


def test_an_accounts_file_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """UTF-8 is asked for."""
    (tmp_path / "accounts.toml").write_bytes(b"\xff\xfe")
    line = refusal(monkeypatch, KF_ACCOUNTS_FILE=tmp_path / "accounts.toml")
    assert line.startswith("KF_ACCOUNTS_FILE: ")


def test_an_env_file_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one line, as every wrong setting."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    assert refusal(monkeypatch) == ".env: is not UTF-8"


# -- the embedded server ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("announced", "is_used"),
    [
        ({"url": "redis://127.0.0.1:7777/0", "pid": os.getpid()}, True),
        ({"url": "redis://127.0.0.1:7777/0", "pid": 2**31 - 1}, False),
        ({"url": "redis://127.0.0.1:7777/0", "pid": 10**30}, False),
        ({"url": "redis://127.0.0.1:7777/0"}, False),
        ({"url": "redis://127.0.0.1:7777/0", "pid": "x"}, False),
        (["x"], False),
        ("{", False),
    ],
)
def test_the_embedded_server_of_this_directory_is_found_while_it_runs(
    tmp_path: Path, announced: object, is_used: bool
) -> None:
    """Whatever an old or a broken announcement says."""
    file = tmp_path / settings.EMBEDDED_FILE
    file.parent.mkdir()
    file.write_text(announced if announced == "{" else json.dumps(announced))
    expected = "redis://127.0.0.1:7777/0" if is_used else settings.DEFAULT_REDIS_URL
    assert settings.load().ledger_url == expected


def test_a_url_that_is_set_wins_over_the_embedded_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever names a ledger means it."""
    file = tmp_path / settings.EMBEDDED_FILE
    file.parent.mkdir()
    file.write_text(json.dumps({"url": "redis://127.0.0.1:7777/0", "pid": os.getpid()}))
    assert load(monkeypatch, KF_REDIS_URL="redis://h/1").ledger_url == "redis://h/1"

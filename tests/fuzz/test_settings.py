"""Settings by chance: Settings, or one line that names the variable and shows no secret."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz import profile, values
from worker.contract import settings

SECRET = "PLANTEDs3cr3t"
NAMES = [f"KF_{name.upper()}" for name in settings.Settings.model_fields]
#: Where a secret is what stands there.
SECRETS = ["KF_APPSECRET", "KF_ACCESS_TOKEN"]
#: An environment has no NUL; any other byte can come.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30
) | st.binary(max_size=12).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
URLS = st.lists(
    st.sampled_from(
        [
            "redis",
            "rediss",
            "unix",
            "sentinel",
            "http",
            "https",
            "://",
            ":",
            "//",
            "/",
            "@",
            "?",
            "#",
            f":{SECRET}@",
            f"user:{SECRET}@",
            f"?password={SECRET}",
            f"?token={SECRET}",
            "h",
            "h:1",
            "[::1]",
            "localhost",
            "127.0.0.1",
            ":99999",
            ":x",
            "/0",
            "/x",
            "/NAME",
            ",",
            "[",
            "]",
            "%",
            "%00",
            "é",
            "h1:26379,h2:1",
            "?db=2",
            "&",
            "=",
            "?socket_timeout=x",
            "?nope=1",
            " ",
            "\n",
            "١",
            "\udcff",
        ]
    ),
    max_size=7,
).map("".join)
PLAIN = (
    TEXT
    | values.NUMBERS.map(lambda value: "9" * 5000 if abs(value) > 10**400 else str(value))
    | st.sampled_from(
        ["true", "null", "{}", "[]", "json", "console", "INFO", "info", "1e400", " 5 "]
    )
    | st.sampled_from(["0x10", "1_0", "wx1", "a\nb", "/", ".", "nowhere", "\u2028", "x" * 5000])
)
VARIABLES = st.dictionaries(
    st.sampled_from(NAMES), PLAIN | URLS | st.just(SECRET), max_size=4
) | st.fixed_dictionaries(
    {},
    optional={
        **{name: URLS for name in NAMES if name.endswith("URL")},
        **{name: PLAIN | st.just(SECRET) for name in SECRETS},
        "KF_APPID": st.sampled_from(["wx1", "", "w x"]),
    },
)


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, `.env` or embedded ledger of this machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("KF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def told(variables: dict[str, str] | None = None) -> settings.Settings | str:
    """The settings, accounts and all, or the line that says what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (variables or {}).items():
            patch.setenv(name, value)
        try:
            made = settings.load()
            made.accounts()
        except settings.InvalidSettings as error:
            return check_line(error)
    assert SECRET not in repr(made).replace(f"appid='{SECRET}'", "")
    assert made.lease_seconds > 2 * made.call_timeout_seconds
    return made


def check_line(error: settings.InvalidSettings) -> str:
    """One line, of a variable, without a secret."""
    said = str(error)
    assert error.__cause__ is None
    assert said.isprintable(), said
    assert SECRET not in said
    assert SECRET not in repr(error)
    assert any(name in said for name in NAMES), said
    return said


def holds_secret_elsewhere(variables: dict[str, str]) -> bool:
    """Whether a secret stands in a variable that is none: there it may be shown."""
    hidden = {*SECRETS, *(name for name in NAMES if name.endswith("URL"))}
    return any(
        SECRET in value and (name not in hidden or (name.endswith("URL") and value == SECRET))
        for name, value in variables.items()
    )


@profile.examples(150)
@hypothesis.given(VARIABLES)
def test_any_environment_is_settings_or_one_line(variables: dict[str, str]) -> None:
    """Names the variable that is wrong, whatever stands in it."""
    hypothesis.assume(not holds_secret_elsewhere(variables))
    result = told(variables)
    if isinstance(result, str) and not result.startswith("KF_APPSECRET: missing"):
        assert any(name in result for name in variables), (result, variables)


@profile.examples(75)
@hypothesis.given(st.sampled_from(["KF_REDIS_URL", "KF_BROKER_URL", "KF_API_BASE_URL"]), URLS)
def test_any_url_is_used_or_told_without_its_password(name: str, url: str) -> None:
    """A password in a URL stays one, wherever it stands in it."""
    result = told({name: url, "KF_ACCESS_TOKEN": "t"})
    if isinstance(result, str):
        assert name in result
        assert len(result) < 500


DOTENV = st.lists(
    st.sampled_from(NAMES).map(str.encode)
    | st.sampled_from(
        [b"=", b"=", b"\n", b"\n", b"#", b'"', b"'", b"${KF_APPID}", b"export ", b" "]
    )
    | st.sampled_from(
        [b"\\", b"\r", b"wx1", b"7", b"redis://h", b"\xc3\xa9", b"$", b"{", b"x" * 300]
    )
    | st.sampled_from([b"KF_NOPE=1\n", b"KF_CONCURRENCY=0\n", b"KF_APPSECRET=" + SECRET.encode()]),
    max_size=12,
).map(b"".join)


@profile.examples(75)
@hypothesis.given(DOTENV)
def test_any_env_file_is_settings_or_one_line(content: bytes) -> None:
    """Written by hand, with whatever slips."""
    Path(".env").write_bytes(content)
    result = told()
    assert result is not None


TOML = st.lists(
    st.sampled_from(
        [
            "[[account]]\n",
            "[account]\n",
            "[account.capacities]\n",
            "[",
            "]",
            "=",
            " = ",
            "\n",
            '"',
            "'",
            'appid = "wx1"\n',
            'appid = "wx2"\n',
            f'appsecret = "{SECRET}"\n',
            "appid = 7\n",
            "#",
            "\r",
            f'access_token = "{SECRET}"\n',
            f'access_token_url = "http://h?x={SECRET}"\n',
            "1979-05-27",
            "agent_capacity = 5\n",
            "agent_capacity = -1\n",
            '"a@b" = 3\n',
            '"any" = 3\n',
            "capacities",
            "{}",
            "[]",
            "[account]",
            '"""',
            "nan",
            "inf",
            "9" * 400,
            "true",
            f'app_secret = "{SECRET}"\n',
            f'account = ["{SECRET}"]\n',
            f'account = "{SECRET}"\n',
            f'appid = ["{SECRET[:0]}"]\n',
            "é",
            f'appsecret = ["{SECRET}"]\n',
            f'appsecret = {{a = "{SECRET}"}}\n',
            "agent_capacity = 1.5\n",
        ]
    ),
    max_size=8,
).map("".join)


@profile.examples(125)
@hypothesis.given(TOML | st.builds(lambda text: '[[account]]\nappid = "wx9"\n' + text, TOML))
def test_any_accounts_file_is_accounts_or_one_line(text: str) -> None:
    """That names the file's variable, and no secret."""
    Path("accounts.toml").write_bytes(text.encode())
    result = told({"KF_ACCOUNTS_FILE": "accounts.toml"})
    if isinstance(result, str):
        assert result.startswith("KF_ACCOUNTS_FILE: ")

"""A scenario file becomes a Scenario, or one clear complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.simulator import bends, scenario, tables

EXAMPLE = Path(scenario.__file__).with_name("example.toml")


def test_an_empty_scenario_is_the_default_one() -> None:
    assert scenario.parse("") == scenario.Scenario()


def test_the_example_loads_and_names_every_key() -> None:
    loaded = scenario.load(EXAMPLE)

    assert [agent.kf_account for agent in loaded.agents] == ["anna@shop", "bert@shop", "carl@shop"]
    assert loaded.agents[1].schedule == ((0, 20), (40, 3600))
    text = EXAMPLE.read_text()
    for kind in (scenario.Scenario, scenario.Account, scenario.Agent, scenario.Waiting):
        for key in kind.__slots__:
            assert key in text
    for key in (*bends.TABLE, "paths", *scenario.Limits.__slots__):
        assert f"\n{key} =" in text
    assert loaded.faults.errcodes == {45011: 0.002, 48001: 0.001}


def test_every_fault_is_a_key_and_only_those_with_a_chance_are_kept() -> None:
    text = "".join(f"{name} = 0.01\n" for name in bends.TABLE)

    assert scenario.parse(f"[faults]\n{text}").faults.chances == dict.fromkeys(bends.TABLE, 0.01)
    assert scenario.parse("[faults]\nbusy = 0\nlied = 1").faults.chances == {"lied": 1}


def test_an_errcode_is_a_key_with_or_without_quotes() -> None:
    made = scenario.parse('[faults.errcodes]\n"45011" = 0.1\n-1 = 0.2\n40003 = 0')

    assert made.faults.errcodes == {45011: 0.1, -1: 0.2}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed = 1", "unknown key sed; did you mean seed?"),
        ("[faults]\nbuzy = 0.1", "unknown key faults.buzy; did you mean busy?"),
        ("[[agents]]\nkf_acount = 'a@b'", r"agents\[0\].kf_account is missing"),
        (
            "[[agents]]\nkf_account = 'a@b'\nonlin = true",
            r"unknown key agents\[0\].onlin; .* online",
        ),
        ("[[agents]]\nkf_account = 'anna'", "must look like prefix@account, not 'anna'"),
        ("[[agents]]\nkf_account = 'a@b'\nschedule = [[3, 1]]", "from before to"),
        ("[faults]\nbusy = 1.5", "faults.busy must be a number from 0 to 1, not 1.5"),
        ("[faults]\nbusy = 0.6\nlied = 0.6", "faults add up to more than 1"),
        ("[faults]\nbusy = 0.6\nerrcodes = {45011 = 0.6}", "faults add up to more than 1"),
        ("[faults]\ncut_idl = 0.1", "unknown key faults.cut_idl; did you mean cut_idle?"),
        ("[faults.errcodes]\n0 = 0.1", "faults.errcodes.0: must be an errcode other than 0"),
        ("[faults.errcodes]\nbusy = 0.1", "faults.errcodes.busy: must be an errcode"),
        ("[faults.errcodes]\n45011 = 2", "errcodes.45011 must be a number from 0 to 1, not 2"),
        ("served_elsewhere = 65415", "must be one of 65414, 61458, ok; did you mean 65414"),
        ("seed = 'x'", "seed must be a whole number of at least 0, not 'x'"),
        ("seed = true", "seed must be a whole number"),
        ("latency_ms = [5]", "latency_ms must hold"),
        ("session_seconds = [9, 3]", "session_seconds must hold .* from before to"),
        ("waiting_rows = 'createtim'", "must be one of .*; did you mean createtime?"),
        ("latency_ms = nan", "latency_ms must be a number of at least 0, not nan"),
        ("waiting = 3", "waiting must be a table"),
        ("odd_rows = 1", "odd_rows must be true or false"),
        ("[[accounts]]\nappid='a'\n[[accounts]]\nappid='a'", "each appid may stand there once"),
        ("[[agents]]\nkf_account='a@b'\nappid='wx9'", "appid must be one of wx0000000000000000"),
        ("seed = ", "not TOML"),
    ],
)
def test_a_complaint_names_the_key_and_the_mend(text: str, complaint: str) -> None:
    with pytest.raises(tables.ScenarioError, match=complaint):
        scenario.parse(text)


def test_a_complaint_about_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("sed = 1")

    with pytest.raises(tables.ScenarioError, match=r"mine\.toml: unknown key sed"):
        scenario.load(file)
    with pytest.raises(tables.ScenarioError, match="No such file"):
        scenario.load(tmp_path / "absent.toml")


def test_one_number_is_both_ends() -> None:
    assert scenario.parse("latency_ms = 5").latency_ms == (5, 5)
    assert scenario.parse("session_seconds = 5").session_seconds == (5, 5)


def test_further_accounts_have_fixed_tokens_of_their_own() -> None:
    made = scenario.parse("[[accounts]]\nappid='a'\n[[accounts]]\nappid='b'")

    assert [account.token for account in made.accounts] == ["simulator-token", "simulator-token-2"]


def test_a_secret_is_not_shown() -> None:
    shown = repr(scenario.Scenario())

    assert scenario.DEFAULT_SECRET not in shown
    assert scenario.FIXED_TOKEN not in shown

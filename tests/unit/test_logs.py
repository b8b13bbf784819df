"""logs: both formats, one event a line, with no secret and no whole openid in it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from worker import logs
from worker.contract import settings

SECRET, OPENID = "PLANTEDtoken0123456789", "oABCDEFGHIJKLMNOPQRSTUVWXYZ0"
FORMATS = ["json", "console"]


class Stderr(io.StringIO):
    """What a process writes to its log, once it is configured."""

    def configure(
        self, log_format: str | None, level: str = "INFO"
    ) -> structlog.stdlib.BoundLogger:
        with contextlib.redirect_stderr(self):
            logs.configure(
                settings.Settings(log_format=log_format, log_level=level, _env_file=None)
            )
        log: structlog.stdlib.BoundLogger = structlog.get_logger("kfsession.test")
        return log


@pytest.fixture
def stderr() -> Iterator[Stderr]:
    """The logging of the test run is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Stderr()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_json_is_one_object_a_line(stderr: Stderr) -> None:
    """Event, level, time in UTC, and the fields."""
    stderr.configure("json").info("request_settled", id="x", api_calls=1)
    line = json.loads(stderr.getvalue())
    assert (line["event"], line["level"], line["id"], line["api_calls"]) == (
        "request_settled",
        "info",
        "x",
        1,
    )
    assert line["timestamp"].endswith("Z")


def test_what_is_no_terminal_gets_json(stderr: Stderr) -> None:
    """Unless KF_LOG_FORMAT says otherwise."""
    stderr.configure(None).info("started")
    assert json.loads(stderr.getvalue())["event"] == "started"


def test_a_level_below_the_setting_is_left_out(stderr: Stderr) -> None:
    """For ours and for foreign loggers."""
    log = stderr.configure("json", "WARNING")
    log.info("too_much")
    logging.getLogger("celery").info("too much")
    log.warning("enough")
    assert [json.loads(line)["event"] for line in stderr.getvalue().splitlines()] == ["enough"]


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize(
    ("openid", "shown"),
    [(OPENID, "oABC…XYZ0"), ("oABCDEFGHIJKL", "oABC…IJKL"), ("oABCDEFGHIJK", "oA…"), ("o", "o…")],
)
def test_an_openid_is_masked(stderr: Stderr, log_format: str, openid: str, shown: str) -> None:
    """Enough to find it, too little to use it."""
    stderr.configure(log_format).info("request_settled", openid=openid)
    text = stderr.getvalue()
    if log_format == "json":
        assert json.loads(text)["openid"] == shown
    else:
        assert shown in text
        assert len(openid) == 1 or openid not in text


@pytest.mark.parametrize("log_format", FORMATS)
def test_tokens_and_secrets_leave_no_line(stderr: Stderr, log_format: str) -> None:
    """As a field, in a field, in the event, from anybody's logger."""
    log = stderr.configure(log_format)
    url = f"https://api.weixin.qq.com/x?access_token={SECRET}&openid=o"
    log.info("field", access_token=SECRET, appsecret=SECRET, component_verify_ticket=SECRET)
    log.info("in_a_field", url=url, body=f'{{"access_token": "{SECRET}"}}')
    log.info(f"GET {url}")
    log.info("nested", call={"url": url, "appsecret": SECRET})
    logging.getLogger("urllib3").warning("retrying %s", url)
    logging.getLogger("any").error(f'body {{"appsecret": "{SECRET}"}}')
    assert SECRET not in stderr.getvalue()
    assert "***" in stderr.getvalue()


def leak() -> None:
    token = access_token = SECRET
    openid = OPENID
    raise ValueError(f"GET /x?access_token={access_token} failed", len(token), len(openid))


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("foreign", [False, True])
def test_a_traceback_shows_neither_tokens_nor_local_variables(
    stderr: Stderr, log_format: str, foreign: bool
) -> None:
    """A bug is logged with its traceback, which quotes nobody's secrets."""
    log = stderr.configure(log_format)
    try:
        leak()
    except ValueError:
        if foreign:
            logging.getLogger("celery").exception("task failed")
        else:
            log.exception("delivery_crashed", id="x")
    text = stderr.getvalue()
    assert "Traceback" in text
    assert "leak" in text
    assert "ValueError" in text
    assert SECRET not in text
    assert OPENID not in text


def test_configuring_again_does_not_double_the_lines(stderr: Stderr) -> None:
    """Celery and the runtime both set up logging."""
    stderr.configure("json")
    stderr.configure("json").info("once")
    assert len(stderr.getvalue().splitlines()) == 1

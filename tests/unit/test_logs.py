"""logs: both formats, one event a line, with no secret and no whole openid in it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from worker import logs
from worker.contract import settings

SECRET, OPENID = "PLANTEDtoken0123456789", "oABCDEFGHIJKLMNOPQRSTUVWXYZ0"
FORMATS = ["json", "console"]


class Stderr:
    """What a process writes its log to, once it is configured."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def configure(
        self, log_format: str | None, level: str = "INFO"
    ) -> structlog.stdlib.BoundLogger:
        with contextlib.redirect_stderr(self.file):
            logs.configure(
                settings.Settings(log_format=log_format, log_level=level, _env_file=None)
            )
        log: structlog.stdlib.BoundLogger = structlog.get_logger("kfsession.test")
        return log

    def getvalue(self) -> str:
        return pathlib.Path(self.file.name).read_text()


@pytest.fixture
def _as_before() -> Iterator[None]:
    """The logging of the test run is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def stderr(_as_before: None, tmp_path: pathlib.Path) -> Iterator[Stderr]:
    """A file."""
    with (tmp_path / "stderr").open("w") as file:
        yield Stderr(file)


@pytest.fixture
def pipe(_as_before: None) -> Iterator[tuple[int, Stderr]]:
    """A pipe: the end to read, and the end that is written to."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        yield reading, Stderr(file)
    with contextlib.suppress(OSError):  # a test has closed it
        os.close(reading)


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
    assert list(line) == ["id", "api_calls", "event", "level", "timestamp"]


def test_foreign_lines_have_the_same_fields(stderr: Stderr) -> None:
    """Whoever reads the log need not know who wrote it."""
    stderr.configure("json")
    logging.getLogger("celery").warning("lost %s", "it")
    line = json.loads(stderr.getvalue())
    assert list(line) == ["event", "level", "timestamp"]
    assert (line["event"], line["level"]) == ("lost it", "warning")


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


@pytest.mark.parametrize("log_format", FORMATS)
def test_an_openid_is_masked_where_nobody_names_it(stderr: Stderr, log_format: str) -> None:
    """In what a bug says, and in what a library quotes."""
    log = stderr.configure(log_format)
    try:
        raise KeyError(OPENID, '{"openid": "short-of-28"}')
    except KeyError:
        log.exception("delivery_crashed")
    logging.getLogger("celery").info("took [{'openid': 'short-of-28'}, %r]", OPENID)
    text = stderr.getvalue()
    assert text.count("oABC") == 2
    assert OPENID not in text
    assert "short-of-28" not in text


def test_configuring_again_does_not_double_the_lines(stderr: Stderr) -> None:
    """Celery and the runtime both set up logging."""
    stderr.configure("json")
    stderr.configure("json").info("once")
    assert len(stderr.getvalue().splitlines()) == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
def test_every_level_is_written(stderr: Stderr, level: str) -> None:
    """With its name."""
    getattr(stderr.configure("json", "DEBUG"), level)("happened")
    line = json.loads(stderr.getvalue())
    assert (line["event"], line["level"]) == ("happened", level.replace("exception", "error"))


def _fill(descriptor: int) -> int:
    """Write until nothing fits any more; how much was written."""
    os.set_blocking(descriptor, False)
    written = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            written += os.write(descriptor, b"x")
    return written


def test_lines_of_64_threads_do_not_mix(pipe: tuple[int, Stderr]) -> None:
    """Nobody waits for anybody else's line."""
    reading, stderr = pipe
    log = stderr.configure("json")
    with concurrent.futures.ThreadPoolExecutor(65) as pool:
        text = pool.submit(_read_lines, reading, 640)
        list(pool.map(lambda number: log.info("x" * 3000, number=number), range(640)))
    numbers = {json.loads(line)["number"] for line in text.result()}
    assert numbers == set(range(640))


def _read_lines(descriptor: int, count: int) -> list[bytes]:
    text = b""
    while text.count(b"\n") < count:
        text += os.read(descriptor, 65536)
    return text.splitlines()


def test_a_reader_who_is_behind_gets_the_whole_line(pipe: tuple[int, Stderr]) -> None:
    """Where stderr does not block, as when a terminal is shared with a program that set it so."""
    reading, stderr = pipe
    log = stderr.configure("json")
    filled = _fill(stderr.file.fileno())
    writing = threading.Thread(target=lambda: log.info("y" * 200_000))
    writing.start()
    assert os.read(reading, filled) == b"x" * filled
    (line,) = _read_lines(reading, 1)
    writing.join()
    assert json.loads(line)["event"] == "y" * 200_000


def test_a_reader_who_stands_still_costs_a_line(
    pipe: tuple[int, Stderr], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no session."""
    monkeypatch.setattr(logs, "PATIENCE_SECONDS", 0.01)
    reading, stderr = pipe
    log = stderr.configure("json")
    filled = _fill(stderr.file.fileno())
    log.info("lost")
    assert os.read(reading, filled) == b"x" * filled
    log.info("kept")
    (line,) = _read_lines(reading, 1)
    assert json.loads(line)["event"] == "kept"


def test_a_reader_who_is_gone_is_no_reason_to_fail(pipe: tuple[int, Stderr]) -> None:
    """The session goes on without its line."""
    reading, stderr = pipe
    log = stderr.configure("json")
    os.close(reading)
    log.info("nobody_listens")

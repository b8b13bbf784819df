"""A machine that cannot do what others can: its address, its token or its way to WeChat is bad.

Each row sends escalations at an even pace, first with good machines alone, then with a bad one
beside three of them, then beside one. Then all machines are bad, and one of them is mended.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from ops.chaos import fault, haste, pacing, site, trial, wire
from ops.simulator import scenario
from worker.contract import record

#: Escalations a second, and for how many seconds in each part.
_RATE, _SECONDS = 10, 60.0
#: How long is sent before it counts: what is done only once.
_WARM_SECONDS = 3.0
#: How long all machines stay bad, and how long after one is mended somebody may wait, in seconds:
#: the probe of the longest waits, and a beat.
_BAD_SECONDS, _PROBE_SECONDS = 20.0, 72.0
#: How many wait while all machines are bad.
_HELD = 20
#: Create calls that two bad machines may make meanwhile: a probe of theirs is none.
_MOST_CALLS = 4
#: How many machines are good.
_GOOD = 3
#: A name that this machine does not find while the file `flag` is there.
_NAMELESS = """
import pathlib, socket, sys
find = socket.getaddrinfo
def getaddrinfo(host, *rest, **named):
    if host == "localhost" and pathlib.Path({flag!r}).exists():
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return find(host, *rest, **named)
socket.getaddrinfo = getaddrinfo
from celery.__main__ import main
sys.argv = ["celery", "-A", "worker.app", "worker"]
main()
"""


class Refused:
    """Its address is not allowed: every call is answered so, before WeChat hears of it."""

    def hire(self, at: site.Site) -> site.Staff:
        """Start a bad machine."""
        one = at.hire()
        one.to_wechat.rule = _refuse
        return one

    def mend(self, one: site.Staff) -> None:
        """Make it a good one."""
        one.to_wechat.rule = wire.let_pass


def _refuse(passing: wire.Passing) -> bytes | None:
    if passing.moment is wire.Moment.AFTER:
        return None
    said = {"errcode": 40164, "errmsg": "invalid ip 10.0.0.7, not in whitelist rid: 1-2-3"}
    body = json.dumps(said).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Token:
    """Its token file is missing, or holds what WeChat rejects."""

    def __init__(self, held: str | None) -> None:
        self._held = held
        self._files: dict[int, Any] = {}

    def hire(self, at: site.Site) -> site.Staff:
        """Start a bad machine."""
        file = at.stack.directory / f"token-{len(self._files)}"
        if self._held:
            file.write_text(self._held)
        one = at.hire(KF_APPSECRET="", KF_ACCESS_TOKEN_FILE=str(file))
        self._files[id(one)] = file
        return one

    def mend(self, one: site.Staff) -> None:
        """Make it a good one."""
        file = self._files[id(one)]
        new = file.with_suffix(".new")
        new.write_text(scenario.FIXED_TOKEN)
        new.replace(file)


class Nameless:
    """It cannot look up WeChat's name."""

    def __init__(self) -> None:
        self._flags: dict[int, Any] = {}

    def hire(self, at: site.Site) -> site.Staff:
        """Start a bad machine."""
        flag = at.stack.directory / f"nameless-{len(self._flags)}"
        flag.touch()
        command = (sys.executable, "-c", _NAMELESS.format(flag=str(flag)))
        one = at.hire(command)
        self._flags[id(one)] = flag
        return one

    def mend(self, one: site.Staff) -> None:
        """Make it a good one."""
        self._flags[id(one)].unlink()


class BadMachine(fault.Tool):
    """The course of a row: a strike goes through all of its parts."""

    def __init__(self, bad: Callable[[], Refused | Token | Nameless]) -> None:
        self._bad = bad()

    def strike(self, at: site.Site) -> None:
        """Good machines alone, a bad one beside three and beside one, all bad, one mended."""
        at.mark()
        pacer = pacing.Pacer(at)
        good = at.wait_ready(_GOOD)
        pacer.pace(at.scaled(_WARM_SECONDS), _RATE)
        pacer.wait_over()
        alone = self._take_part(at, pacer, "alone")
        bad = self._bad.hire(at)
        at.wait_ready(_GOOD + 1)
        pacer.compare("beside three", alone, self._take_part(at, pacer, "beside three"))
        for one in good[1:]:
            _dismiss(at, one)
        pacer.compare("beside one", alone, self._take_part(at, pacer, "beside one"))
        worse = self._bad.hire(at)
        at.wait_ready(3)
        _dismiss(at, good[0])
        self._all_bad(at, pacer, mended=bad)
        _dismiss(at, worse)

    def _take_part(self, at: site.Site, pacer: pacing.Pacer, part: str) -> pacing.Took:
        before = len(pacer.calls())
        ids = pacer.pace(at.scaled(_SECONDS), _RATE)
        pacer.wait_over()
        at.notes[f"{part}: create calls for {len(ids)} fans"] = len(pacer.calls()) - before
        return pacer.took(part, ids)

    def _all_bad(self, at: site.Site, pacer: pacing.Pacer, mended: site.Staff) -> None:
        """The account is held, nobody is called for; once one is mended all go on."""
        before = len(pacer.calls())
        ids = [pacer.send() for _ in range(_HELD)]
        trial.poll(
            lambda: at.stack.count(record.Status.WAITING) == len(ids),
            seconds=30,
            what="the account is held, and all wait",
        )
        time.sleep(at.scaled(_BAD_SECONDS))
        calls = len(pacer.calls()) - before
        at.notes[f"all bad: create calls for {_HELD} fans"] = calls
        if calls > _MOST_CALLS:
            at.complain(f"{calls} create calls by machines that had stepped back")
        if at.count_live() < len(ids):  # one may be on its way out of its room and back
            at.complain("somebody was served although all machines are bad")
        since = time.monotonic()
        self._bad.mend(mended)
        if not at.is_whole:
            haste.pass_holds(at.client, site.PREFIX)
        trial.poll(lambda: not at.count_live(), seconds=_PROBE_SECONDS, what="all go on", every=0.1)
        at.notes["one mended: all served after seconds"] = round(time.monotonic() - since, 1)
        pacer.took("held", ids)


def _dismiss(at: site.Site, one: site.Staff) -> None:
    one.worker.child.stop()
    at.dismiss(one)


def _row(name: str, what: str, bad: Callable[[], Any]) -> fault.Fault:
    return fault.Fault(
        name=name,
        what=what,
        tool=lambda: BadMachine(bad),
        times=1,
        workers=_GOOD,
        is_idle=True,
        recovery="none",
    )


FAULTS = (
    _row("machine-refused", "a machine whose address WeChat refuses (40164)", Refused),
    _row("machine-without-token", "a machine without its token file", lambda: Token(None)),
    _row(
        "machine-with-dead-token", "a machine with a dead token of its own", lambda: Token("dead")
    ),
    _row("machine-without-dns", "a machine that cannot look up WeChat's name", Nameless),
)

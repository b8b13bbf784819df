"""Takes what this machine stepped back from and finds out whether it can do it again.

A probe is a reading of who is online: it needs a token, a name, a connection and an address that
is allowed, as a session does, and no fan waits for it. It has threads of its own: a silent WeChat
keeps no reading of another account from its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures
from typing import Final

import structlog

from worker import errors, machine, retry
from worker.wechat import account as wechat_account
from worker.wechat import agents

log = structlog.get_logger(__name__)

#: Probes that can be under way at the same time in one process.
THREADS: Final = 2
#: Most accounts whose token is asked for to find out whether there is a way to WeChat.
MOST_TRIED: Final = 5


class Probes:
    """One process's probes; `accounts` are those that `this_machine` has credentials for."""

    def __init__(
        self,
        this_machine: machine.Machine,
        accounts: Mapping[str, wechat_account.Account],
    ) -> None:
        self._machine = this_machine
        self._accounts = accounts
        self._pool = futures.ThreadPoolExecutor(THREADS, thread_name_prefix="probe")
        self._under_way: dict[str, futures.Future[None]] = {}

    def look(self) -> None:
        """Begin the probes that are due."""
        self._under_way = {
            scope: probe for scope, probe in self._under_way.items() if not probe.done()
        }
        for mark in self._machine.due():
            if mark.scope not in self._under_way:
                self._under_way[mark.scope] = self._pool.submit(self._probe, mark)

    def stop(self) -> None:
        """Begin no further probe, and leave those under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _probe(self, mark: machine.Mark) -> None:
        try:
            trouble = self._trouble(mark)
        except Exception:  # a bug must not keep this machine away for good
            log.exception("probe_crashed", appid=mark.scope)
            trouble = None
        if trouble is None:
            self._machine.come_back(mark.scope)
        else:
            self._machine.step_back(mark.scope, trouble)

    def _trouble(self, mark: machine.Mark) -> retry.Trouble | None:
        """What keeps this machine away yet; None once it gets through."""
        again = mark.trouble.again()
        for appid in self._probed(mark):
            try:
                self._accounts[appid].call(agents.online)
            except errors.TokenUnavailable as error:
                if mark.scope != machine.ALL:
                    return retry.of_machine(error, again.strikes)
                continue  # nothing was sent: another account may have a token
            except errors.WeChatError as error:
                return self._of(error, mark, again)
            return None
        return again

    def _probed(self, mark: machine.Mark) -> list[str]:
        """The accounts to try; for all accounts those first that have no trouble of their own."""
        if mark.scope != machine.ALL:
            return [mark.scope]
        return sorted(self._accounts, key=self._machine.strikes)[:MOST_TRIED]

    def _of(
        self, error: errors.WeChatError, mark: machine.Mark, again: retry.Trouble
    ) -> retry.Trouble | None:
        """What a probe's failure says of this trouble."""
        found = retry.of_machine(error, again.strikes)
        if found is None:  # WeChat answered, unless nobody knows who did
            is_unheard = isinstance(error, errors.LostReply | errors.UnreadableReply)
            return again if is_unheard else None
        if found.is_of_all_accounts == mark.trouble.is_of_all_accounts:
            return found
        # No way to WeChat tells nothing of the account; trouble of one account shows the way.
        return again if found.is_of_all_accounts else None

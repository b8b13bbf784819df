"""Takes the settings of an account and opens what a call to WeChat needs: a transport and a token.

Workers use it, and `kfsession route`. Nothing is reached until a token is asked for. What is
secret here is learned by `redaction`, so that no log line and no error shows it.
"""

from __future__ import annotations

import collections
import threading

import redis

from worker.contract import settings
from worker.wechat import redaction, shared_token, tokens, transport

#: Tokens of one source that are hidden: the one in use, and those that calls may still carry.
_TOKENS_HIDDEN = 4


class Credentials:
    """One deployment's ways to WeChat; `client` is where processes share their tokens."""

    def __init__(self, config: settings.Settings, client: redis.Redis) -> None:
        self._config = config
        self._client = client
        self._transports: list[transport.Transport] = []
        redaction.learn_password(config.ledger_url)
        redaction.learn_password(config.celery_url)
        #: The way to WeChat's API, for all accounts.
        self.api = self._open(config.api_base_url)

    def token_source(self, account: settings.Account) -> tokens.TokenSource:
        """Where this account's access token comes from."""
        return _Hidden(self._source(account))

    def _source(self, account: settings.Account) -> tokens.TokenSource:
        prefix = self._config.key_prefix
        if account.access_token is not None:
            return tokens.FixedToken(account.access_token)
        if account.access_token_file is not None:
            return tokens.FileToken(account.access_token_file)
        if account.access_token_url is not None:
            url = account.access_token_url.get_secret_value()
            redaction.learn_password(url)
            redaction.learn_query(url)
            via = self._open(url)
            return shared_token.url_token(via, self._client, prefix=prefix, appid=account.appid)
        if account.appsecret is None:
            raise AssertionError("settings see to it that an account has one source")
        redaction.learn(account.appsecret.get_secret_value())
        return shared_token.stable_token(
            self.api,
            self._client,
            prefix=prefix,
            appid=account.appid,
            secret=account.appsecret,
        )

    def close(self) -> None:
        """Close the connections to WeChat; `client` is the caller's."""
        for each in self._transports:
            each.close()

    def _open(self, url: str) -> transport.Transport:
        opened = transport.Transport(url, timeout_seconds=self._config.call_timeout_seconds)
        self._transports.append(opened)
        return opened


class _Hidden:
    """A TokenSource whose tokens are learned before anybody can quote them."""

    def __init__(self, source: tokens.TokenSource) -> None:
        self._source = source
        self._learned: collections.deque[str] = collections.deque()
        self._learning = threading.Lock()

    def get(self) -> str:
        return self._learn(self._source.get())

    def renew(self, rejected: str) -> str:
        return self._learn(self._source.renew(rejected))

    def _learn(self, token: str) -> str:
        if token in self._learned:
            return token
        with self._learning:
            if token not in self._learned:  # all slots meet a new one at once
                redaction.learn(token)
                self._learned.append(token)
            while len(self._learned) > _TOKENS_HIDDEN:
                redaction.forget(self._learned.popleft())
        return token

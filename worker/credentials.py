"""Takes the settings of an account and opens what a call to WeChat needs: a transport and a token.

Workers use it, and `kfsession route`. Nothing is reached until a token is asked for.
"""

from __future__ import annotations

import redis

from worker.contract import settings
from worker.wechat import shared_token, tokens, transport


class Credentials:
    """One deployment's ways to WeChat; `client` is where processes share their tokens."""

    def __init__(self, config: settings.Settings, client: redis.Redis) -> None:
        self._config = config
        self._client = client
        self._transports: list[transport.Transport] = []
        #: The way to WeChat's API, for all accounts.
        self.api = self._open(config.api_base_url)

    def token_source(self, account: settings.Account) -> tokens.TokenSource:
        """Where this account's access token comes from."""
        prefix = self._config.key_prefix
        if account.access_token is not None:
            return tokens.FixedToken(account.access_token)
        if account.access_token_file is not None:
            return tokens.FileToken(account.access_token_file)
        if account.access_token_url is not None:
            via = self._open(account.access_token_url.get_secret_value())
            return shared_token.url_token(via, self._client, prefix=prefix, appid=account.appid)
        if account.appsecret is None:
            raise AssertionError("settings see to it that an account has one source")
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

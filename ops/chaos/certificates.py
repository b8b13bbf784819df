"""A server's certificate that can be right or wrong, from one connection to the next."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

#: What clients call the server.
HOST = "localhost"


class Certificates:
    """`context` serves TLS; clients trust what lies in `file`."""

    def __init__(self, directory: Path) -> None:
        trusted, stranger = trustme.CA(), trustme.CA()
        self.file = directory / "ca.pem"
        trusted.cert_pem.write_to_path(self.file)
        self._right = _context(trusted.issue_cert(HOST))
        #: Another host's, and one that nobody of ours trusts.
        self._wrong = [
            _context(trusted.issue_cert("other.test")),
            _context(stranger.issue_cert(HOST)),
        ]
        self._shown = self._right
        self.context = _context(trusted.issue_cert(HOST))
        self.context.sni_callback = self._choose

    def show_wrong(self, which: int) -> None:
        """From now on, new connections are shown a wrong one."""
        self._shown = self._wrong[which % len(self._wrong)]

    def show_right(self) -> None:
        """From now on, new connections are shown the right one."""
        self._shown = self._right

    def _choose(
        self, one: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext
    ) -> None:
        one.context = self._shown


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context

"""Ledger and broker over TLS: certificates are verified, and a wrong one is said in a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ops import cli
from ops.chaos import children, servers, trial
from producers import SessionProducer, SubmitFailed
from tests import needs
from tests.acceptance import books, conftest, processes
from worker import doorbell, errors
from worker.contract import record, request, settings

pytestmark = pytest.mark.debian

S, L = record.Status, request.Lane

#: The name in the certificate; the server listens on 127.0.0.1, which it does not name.
HOST = "localhost"
PASSWORD = f":{processes.REDIS_PASSWORD}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server that speaks TLS alone, and the URLs it must not be believed at."""

    server: servers.Server
    stranger: Path

    def wrong(self) -> dict[str, str]:
        """By what is wrong with each."""
        return {
            "authority": self.server.url_as(PASSWORD, ca=self.stranger),
            "name": self.server.url_as(PASSWORD, host="127.0.0.1"),
            "system": self.server.url_as(PASSWORD).partition("?")[0],
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Debian's server, with a certificate for its name by an authority of our own."""
    directory = tmp_path_factory.mktemp("tls")
    ours, stranger = trustme.CA(), trustme.CA()
    issued = ours.issue_cert(HOST)
    ours.cert_pem.write_to_path(directory / "ca.pem")
    stranger.cert_pem.write_to_path(directory / "stranger.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    with children.Children(directory) as some:
        server = servers.Server(
            needs.redis_server(),
            directory,
            some,
            host=HOST,
            login=PASSWORD,
            ca=directory / "ca.pem",
            requirepass=processes.REDIS_PASSWORD,
            tls_cert_file=directory / "server.pem",
            tls_key_file=directory / "server.pem",
            tls_ca_cert_file=directory / "ca.pem",
            tls_auth_clients="no",
        )
        yield Site(server=server, stranger=directory / "stranger.pem")


def test_a_worker_and_a_producer_work_over_tls(site: Site, deploy: conftest.Deploy) -> None:
    """Ledger, doorbells and the worker's own transport all trust `ssl_ca_certs`."""
    shop = deploy(site.server)
    assert shop.environment["KF_REDIS_URL"].startswith("rediss://")
    worker = shop.start_worker()
    ids = shop.submit_many((trial.openid(number) for number in range(5)), lane="batch")
    ids.append(shop.submit(trial.openid(5)))
    assert {shop.outcome(each).status for each in ids} == {S.CREATED}
    books.check_books(shop, requests=6)
    assert worker.stop() == 0


@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
def test_a_certificate_that_does_not_fit_is_refused_in_a_line(
    site: Site,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of another authority, of another name, of none the system knows: out of reach, and why."""
    monkeypatch.setenv("KF_REDIS_URL", site.wrong()[wrong])
    with pytest.raises(SystemExit) as ended:
        cli.main(["status"])
    out, talk = capsys.readouterr()
    assert (ended.value.code, out) == (cli.OUT_OF_REACH, "")
    (line,) = talk.splitlines()
    assert "certificate verify failed" in line
    assert processes.REDIS_PASSWORD not in line


@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
def test_nothing_is_sent_to_a_server_that_cannot_prove_itself(site: Site, wrong: str) -> None:
    """A submit is known not to be written, and no doorbell is rung: kombu verifies as well."""
    config = settings.load(redis_url=site.wrong()[wrong], key_prefix="kf-tls")
    wish = {"appid": trial.APPID, "openid": trial.openid(9), "kf_account": trial.AGENT}
    with SessionProducer(config) as producer, pytest.raises(SubmitFailed) as raised:
        producer.submit(wish)
    assert not raised.value.maybe_written
    assert "certificate verify failed" in str(raised.value)
    bell = doorbell.Doorbell.from_settings(config, timeout_seconds=2)
    with pytest.raises(errors.DoorbellUnavailable):
        bell.ring(L.BATCH, ["0" * 20])
    bell.close()


def test_a_worker_that_mistrusts_the_server_says_so_and_takes_nothing(
    site: Site, deploy: conftest.Deploy
) -> None:
    """It waits for a better certificate as for a Redis that is away."""
    shop = deploy(site.server)
    request_id = shop.submit(trial.openid(1))
    worker = shop.launch_worker(KF_REDIS_URL=site.wrong()["authority"]).child
    trial.poll(
        lambda: "certificate verify failed" in worker.output() or not worker.is_running,
        seconds=processes.PATIENCE_SECONDS,
        what="the worker says why",
    )
    assert worker.is_running
    assert processes.REDIS_PASSWORD not in worker.output()
    assert "Traceback" not in worker.output()
    found = shop.reader.get(request_id)
    assert found is not None
    assert found.status is S.QUEUED
    worker.kill()

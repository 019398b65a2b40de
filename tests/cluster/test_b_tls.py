"""A whole system over TLS: one edge site and the camera. Before the other tests' system is up, which speaks plain HTTP."""

import json
import shutil
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from typer.testing import CliRunner

from infercast import system
from infercast.cli import app
from infercast.policies.documents import read_document
from infercast.router.rpc.messages import SERVICE
from infercast.router.serving.certificate import TlsFiles
from infercast.router.serving.cluster import free_ports
from infercast.router.upstream.tls import client_context
from tests.cluster.live import CAMERA, FLEET, ONE_IMAGE, POLICIES, ROOT, until
from tests.router.certificates import made

PLACES = {"fra", CAMERA, "paris", "berlin"}
INFER = "v2/models/digits/infer"


def small_fleet(folder: Path) -> Path:
    """Write the example's fleet with one edge site, one camera, two zones, digits only."""
    fleet = read_document(FLEET).value
    for part in ("sites", "zones"):
        fleet[part] = [place for place in fleet[part] if place["id"] in PLACES]
    fleet["links"] = [link for link in fleet["links"] if {link["from"], link["to"]} <= PLACES]
    fleet["deployments"] = [
        row for row in fleet["deployments"] if row["site"] in PLACES and row["variant"].startswith("digits-")
    ]
    for name in ("examples", ".infercast"):
        (folder / name).symlink_to(ROOT / name)
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return made().write(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def state(artefacts: None, files: TlsFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a small system that shows a certificate."""
    folder = tmp_path_factory.mktemp("small")
    policies, state = folder / "tenants", folder / "state"
    policies.mkdir()
    shutil.copy(POLICIES / "hospital.yaml", policies)
    shutil.copytree(POLICIES / "base", policies / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        system.start(small_fleet(folder), policies, state, free_ports(1)[0], lambda _: None, tls=files)
    try:
        yield state
    finally:
        system.stop(state)


def infer(state: Path, context: ssl.SSLContext, key: str, url: str) -> httpx.Response:
    """One call."""
    headers = {"authorization": f"Bearer {system.secret_of(state, key)}", "infercast-class": "personal"}
    with httpx.Client(verify=context, timeout=20) as client:
        return client.post(f"{url}/{INFER}", json=ONE_IMAGE, headers=headers)


def test_clients_are_answered_over_tls_and_no_other_way(state: Path, files: TlsFiles) -> None:
    running = system.find(state)
    assert running.url.startswith("https://")
    answered = infer(state, client_context(files.certificate), "hospital.paris", f"{running.url}/fra")
    assert (answered.status_code, answered.headers["infercast-site"]) == (200, "fra")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        infer(state, client_context(), "hospital.paris", f"{running.url}/fra")
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as plain:
        plain.sendall(b"GET /fra/v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(4096)


def test_grpc_comes_over_tls_and_no_other_way(state: Path, files: TlsFiles) -> None:
    running = system.find(state)
    metadata = (("application", "fra"),)
    roots = grpc.ssl_channel_credentials(files.certificate.read_bytes())
    address = f"localhost:{running.grpc_port}"
    live = f"/{SERVICE}/ServerLive"
    with grpc.secure_channel(address, roots) as channel:
        assert channel.unary_unary(live)(b"", metadata=metadata, timeout=20) == b"\x08\x01"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(live)(b"", metadata=metadata, timeout=20)


def test_the_command_line_and_the_device_come_by_tls_too(state: Path) -> None:
    told = CliRunner().invoke(app, ["status", "--state", str(state), "--json"])
    said = json.loads(told.stdout)
    assert all(row["answers"] and row["heard"] > 0 and not row["lags"] for row in said["sites"])
    assert said["certificate"]["names"] == ["localhost", "127.0.0.1"]
    words = ["call", "--state", str(state), "--tenant", "hospital", "--class", "personal"]
    called = CliRunner().invoke(app, [*words, "--from", "paris", "--json"])
    assert json.loads(called.stdout)["headers"]["infercast-site"] == "fra"

    def heard() -> bool:
        headers = {"authorization": f"Bearer {system.secret_of(state, f'hospital.{CAMERA}')}"}
        base = f"http://127.0.0.1:{system.find(state).devices[CAMERA]}"
        asked = httpx.post(f"{base}/v1/decide", json={"model": "digits", "class": "personal"}, headers=headers)
        by_name = {verdict["deployment"]: verdict["rule"] for verdict in asked.json()["verdicts"]}
        return str(by_name["digits-large@fra"]) == "none"

    until(heard, "the camera has heard of Frankfurt's replicas, over TLS")


def test_a_renewed_certificate_is_shown_and_believed_with_no_restart(state: Path, files: TlsFiles) -> None:
    renewed = made("renewed")
    renewed.write(files.certificate.parent)
    url = f"{system.find(state).url}/fra"

    def shown() -> bool:
        try:
            return infer(state, client_context(files.certificate), "hospital.paris", url).status_code == 200
        except httpx.ConnectError:
            return False

    until(shown, "new connections are shown the new certificate")
    told = CliRunner().invoke(app, ["status", "--state", str(state), "--json"])
    assert all(row["answers"] for row in json.loads(told.stdout)["sites"])

"""The device agent: decides before a byte leaves, and goes on alone when the network is down."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infercast.router.serving.cluster import free_ports
from tests.cluster.live import CAMERA, FLEET, ONE_IMAGE, POLICIES, Live, picture, tensor_body, too_busy, until

AGENT_START_S = 60
ALONE_MAX_S = 5.0


def places_that_received(live: Live, request: str) -> dict[str, int]:
    """Each place that took in some of a call's payload, and how much."""
    lines = [line for line in live.journal("received", request) if line["payload_bytes"]]
    return {line["place"]: line["payload_bytes"] for line in lines}


@pytest.mark.parametrize("data_class", ["personal", "biometric", None])
def test_a_picture_of_a_patient_is_read_on_the_camera(live: Live, data_class: str | None) -> None:
    call = f"camera-{data_class}"
    response = live.infer(CAMERA, {**live.headers("hospital", CAMERA, data_class), "infercast-id": call})
    assert response.status_code == 200
    assert response.headers["infercast-site"] == CAMERA
    assert response.headers["infercast-tier"] == "device"
    assert set(places_that_received(live, call)) == {CAMERA}


def test_biometric_data_that_no_device_can_read_goes_nowhere(live: Live) -> None:
    body, header_bytes = tensor_body("data_0", picture())
    headers = {**live.headers("hospital", CAMERA, "biometric"), "infercast-id": "goes-nowhere"}
    headers["inference-header-content-length"] = str(header_bytes)
    response = live.infer(CAMERA, headers, "vision", body)
    assert response.status_code == 403
    assert "privacy.tier" in response.json()["infercast"]["reasons"]
    assert places_that_received(live, "goes-nowhere") == {}
    assert {line["place"] for line in live.journal("call", "goes-nowhere")} == {CAMERA}


def test_biometric_calls_never_left_by_all_journals(live: Live) -> None:
    for number in range(10):
        headers = {**live.headers("hospital", CAMERA, "biometric"), "infercast-id": f"fingerprint-{number}"}
        assert live.infer(CAMERA, headers).status_code == 200
    seen = [line for line in live.journal("received") if line["classes"] == ["biometric"] and line["payload_bytes"]]
    assert len(seen) >= 10
    assert {line["place"] for line in seen} == {CAMERA}


def test_what_may_leave_is_sent_on_and_its_answer_brought_back(live: Live) -> None:
    name = live.fleet.cards["squeezenet"].inputs[0].name
    body, header_bytes = tensor_body(name, picture())
    headers = {**live.headers("hospital", CAMERA, "open"), "infercast-id": "sent-on"}
    headers["inference-header-content-length"] = str(header_bytes)
    response = live.infer(CAMERA, headers, "vision", body)
    assert response.status_code == 200
    assert (response.headers["infercast-site"], response.headers["infercast-variant"]) == ("fra", "squeezenet")
    assert float(response.headers["infercast-emulated-ms"]) > 0
    assert places_that_received(live, "sent-on") == {CAMERA: len(body), "fra": len(body)}


def test_only_the_devices_own_key_opens_it(live: Live) -> None:
    for tenant, origin in (("studio", None), ("hospital", None), ("hospital", "paris")):
        assert live.infer(CAMERA, live.headers(tenant, origin, None)).status_code == 401


@pytest.fixture(scope="module")
def alone(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a second camera, whose upstream leads nowhere."""
    state = tmp_path_factory.mktemp("camera")
    (state / "devices").mkdir()
    bundle = Path(live.state / "devices" / f"{CAMERA}.json")
    (state / "devices" / bundle.name).write_text(bundle.read_text())
    port, closed = free_ports(2)
    command = [
        sys.executable, "-m", "infercast.router.device.agent", "--fleet", str(FLEET), "--policies", str(POLICIES),
        "--state", str(state), "--site", CAMERA, "--port", str(port), "--upstream", f"http://127.0.0.1:{closed}",
    ]  # fmt: skip
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + AGENT_START_S
        while not _answers(port):
            assert agent.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v2/models"
    finally:
        agent.terminate()
        assert agent.wait(AGENT_START_S) is not None


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(180)
@pytest.mark.parametrize("data_class", ["personal", "biometric", "open"])
def test_with_the_network_down_the_camera_reads_what_it_can(live: Live, alone: str, data_class: str) -> None:
    headers = live.headers("hospital", CAMERA, data_class)
    said: list[httpx.Response] = []

    def answered() -> bool:
        said.append(live.client.post(f"{alone}/digits/infer", json=ONE_IMAGE, headers=headers))
        return not too_busy(said[-1])

    until(answered, "the camera has the time for it")
    assert said[-1].status_code == 200
    assert said[-1].headers["infercast-site"] == CAMERA
    assert said[-1].elapsed.total_seconds() < ALONE_MAX_S


@pytest.mark.parametrize(
    ("data_class", "status", "rule"), [("open", 503, "health"), ("biometric", 403, "privacy.tier")]
)
def test_with_the_network_down_the_rest_is_refused_with_its_reason(
    live: Live, alone: str, data_class: str, status: int, rule: str
) -> None:
    body, header_bytes = tensor_body("data_0", picture())
    headers = {**live.headers("hospital", CAMERA, data_class), "inference-header-content-length": str(header_bytes)}
    response = live.client.post(f"{alone}/vision/infer", content=body, headers=headers)
    assert response.status_code == status
    assert rule in response.json()["infercast"]["reasons"]
    assert response.elapsed.total_seconds() < ALONE_MAX_S

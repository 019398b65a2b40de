"""A device agent that is asked to end: the calls it has are answered or written down, and its decision log is signed to its end."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infercast import system
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.router.serving.cluster import free_ports
from infercast.router.telemetry.journal import read_journal
from infercast.router.telemetry.log_verify import verify
from tests.cluster.live import CAMERA, FLEET, ONE_IMAGE
from tests.support import write

WAIT_S = 60.0
"""By when what takes a moment has come to be on a busy machine."""
POLICY = {
    "version": 1,
    "tenant": "hospital",
    "classes": {"kept": {"privacy": {"tiers": ["device"]}}},
    "objective": {"preference": "fastest"},
}
"""No deadline but the usual one: half a minute."""

ENDS_SLOWLY = """
import asyncio
from infercast.router.device import agent

class Runner(agent.DeviceRunner):
    async def run(self, deployment, call, timeout_s):
        print("on its way", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)

agent.DeviceRunner, agent.DRAIN_S, agent.LAST_LINES_S = Runner, 0.0, 60.0
agent.main()
"""
"""An agent that gives its calls no time to end, and whose calls take many turns of the loop to end when they are cancelled."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with the device's keys, beside the folder of policies."""
    (tmp_path / "tenants").mkdir()
    write(tmp_path / "tenants" / "hospital.yaml", POLICY)
    fleet = load_fleet(FLEET)
    system.prepare(tmp_path / "state", fleet, load_policies(tmp_path / "tenants", fleet))
    return tmp_path / "state"


@pytest.fixture
def agent(state: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A camera's agent, whose upstream leads nowhere, and its port."""
    with started(state, "-m", "infercast.router.device.agent") as running:
        yield running


@contextmanager
def started(state: Path, *program: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run such an agent by what is given to Python."""
    port, closed = free_ports(2)
    command = [
        sys.executable, *program, "--fleet", str(FLEET), "--policies", str(state.parent / "tenants"),
        "--state", str(state), "--site", CAMERA, "--port", str(port), "--upstream", f"http://127.0.0.1:{closed}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + WAIT_S
        while not listens(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def head(state: Path, length: int) -> bytes:
    secret = system.secret_of(state, f"hospital.{CAMERA}")
    return (
        f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: camera\r\nauthorization: Bearer {secret}\r\n"
        f"infercast-class: kept\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def test_a_call_under_way_is_answered_and_the_log_signed(
    state: Path, agent: tuple["subprocess.Popen[bytes]", int]
) -> None:
    process, port = agent
    body = json.dumps(ONE_IMAGE).encode()
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as caller:
        caller.sendall(head(state, len(body)))
        assert caller.recv(100).startswith(b"HTTP/1.1 100 ")  # decided on, and waited for
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + WAIT_S
        while listens(port):
            assert time.monotonic() < end, "it takes calls on and on"
            time.sleep(0.05)
        caller.sendall(body)
        answer = caller.recv(100)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert process.wait(WAIT_S) == 0
    report = verify(state / "decisions")
    assert report.findings == []
    assert [file.end for file in report.files] == ["ended"]


def test_a_call_that_is_cancelled_at_the_end_is_written_down(state: Path) -> None:
    body = json.dumps(ONE_IMAGE).encode()
    with (
        started(state, "-c", ENDS_SLOWLY) as (process, port),
        socket.create_connection(("127.0.0.1", port), WAIT_S) as caller,
    ):
        caller.sendall(head(state, len(body)) + body)
        assert process.stdout is not None
        assert process.stdout.readline() == b"on its way\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    (line,) = (line for line in read_journal(state / "journal") if line["kind"] == "call")
    assert (line["outcome"], line["reason"]) == ("failed", "cancelled")
    assert [file.end for file in verify(state / "decisions").files] == ["ended"]

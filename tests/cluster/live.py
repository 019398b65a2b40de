"""A running example system as the tests see it: who may call where, what came back, and what its journals say."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil

from infercast import system
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Decision, Request
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.snapshot import Snapshot
from infercast.policies.units import us_from_ms
from infercast.router.processes import processes_of
from infercast.router.telemetry.journal import read_journal

ROOT = Path(__file__).resolve().parents[2]
FLEET, POLICIES = ROOT / "cluster.yaml", ROOT / "policies" / "tenants"
CAMERA = "berlin-cam"
SERVED = ("fra", "sin", "gru", "iad", "dub")
SOON_S = 60.0
"""By when what takes a second or two has come to be on a busy machine."""
BUSY_REPEATS = 6
Line = dict[str, Any]
Raw = dict[str, Any]
ONE_IMAGE: Raw = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}


def until(holds: Callable[[], bool], what: str, patience_s: float = SOON_S) -> None:
    """Wait for something."""
    end = time.monotonic() + patience_s
    while True:
        # A call on a kept connection to a worker that dies is told nothing: HAProxy closes it, for its caller to try again.
        with suppress(httpx.TransportError):
            if holds():
                return
        assert time.monotonic() < end, f"after {patience_s} s, not so: {what}"
        time.sleep(0.2)


def tensor_body(name: str, value: Any) -> tuple[bytes, int]:
    """An infer request with one binary tensor, and the length of its JSON part."""
    blob = np.ascontiguousarray(value, dtype=np.float32).tobytes()
    parameters = {"binary_data_size": len(blob)}
    tensor = {"name": name, "datatype": "FP32", "shape": list(value.shape), "parameters": parameters}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + blob, len(header)


def picture(seed: int = 7) -> Any:
    """A seeded random picture for the vision models."""
    return np.random.default_rng(seed).standard_normal((1, 3, 224, 224), dtype=np.float32)


def too_busy(response: httpx.Response) -> bool:
    """Whether an answer may be one of the machine's: no time was left, or calls are believed to take longer than they may."""
    if response.status_code == 403:
        return "deadline" in response.json().get("infercast", {}).get("reasons", {})
    return response.status_code in (503, 504)


@dataclass(frozen=True)
class Live:
    """The running system, and the files it runs from."""

    running: system.Running
    state: Path
    fleet: Fleet
    policies: dict[str, Policy]
    client: httpx.Client

    @classmethod
    def of(cls, running: system.Running, state: Path, client: httpx.Client) -> "Live":
        """Read the files anew, as any other program would."""
        fleet = load_fleet(FLEET)
        return cls(running, state, fleet, load_policies(POLICIES, fleet), client)

    def secret(self, tenant: str, origin: str | None = None) -> str:
        """A key that `up` issued."""
        return system.secret_of(self.state, f"{tenant}.{origin}" if origin else tenant)

    def url(self, entry: str) -> str:
        """The address of an entry."""
        if entry in self.running.devices:
            return f"http://127.0.0.1:{self.running.devices[entry]}"
        return f"{self.running.url}/{entry}"

    def headers(self, tenant: str, origin: str | None = None, data_class: str | None = None) -> dict[str, str]:
        """A key, and a class where one is named. No answer is to be a kept one: what is looked at here is how calls run."""
        named = {"cache-control": "no-store"} | ({"infercast-class": data_class} if data_class else {})
        return {"authorization": f"Bearer {self.secret(tenant, origin)}", **named}

    def infer(
        self, entry: str, headers: dict[str, str], model: str = "digits", body: bytes | Raw | None = None
    ) -> httpx.Response:
        """Send one call. One for which this machine was too busy is repeated under a new id, as its answer allows."""
        given = ONE_IMAGE if body is None else body
        content = given if isinstance(given, bytes) else json.dumps(given).encode()
        url, call = f"{self.url(entry)}/v2/models/{model}/infer", headers.get("infercast-id")
        response = self.client.post(url, content=content, headers=headers)
        for number in range(BUSY_REPEATS):
            if not too_busy(response):
                break
            time.sleep(0.3)
            again = {**headers, "infercast-id": f"{call}.{number}"} if call else headers
            response = self.client.post(url, content=content, headers=again)
        return response

    def decide(self, entry: str, headers: dict[str, str], **asked: Any) -> httpx.Response:
        """Ask for a decision on metadata alone."""
        return self.client.post(f"{self.url(entry)}/v1/decide", json={"model": "digits", **asked}, headers=headers)

    def journal(self, kind: str, request: str | None = None) -> list[Line]:
        """The lines of one kind, of all places; those of one call and its repetitions where it is named."""
        lines = [line for line in read_journal(self.state / "journal") if line["kind"] == kind]
        return [
            line for line in lines if request is None or request in (line["request"], line["request"].split(".")[0])
        ]

    def on_paper(self, tenant: str, entry: str, origin: str | None = None, model: str = "digits",
                 data_class: str | None = None, deadline_ms: float = 0, payload_bytes: int = 0) -> Decision:  # fmt: skip
        """What the engine says of a call with no cluster running."""
        classes = (data_class,) if data_class else ()
        limit_us = us_from_ms(deadline_ms)
        request = Request("paper", tenant, model, entry, origin or entry, classes, payload_bytes, limit_us)
        return Engine(self.fleet, self.policies).explain(request, Snapshot.declared(self.fleet))

    def processes(self) -> list[psutil.Process]:
        """Every process of this run."""
        return processes_of(self.running.run, self.running.temp)

    def listening(self) -> dict[int, set[str]]:
        """Every TCP port that a process of this run listens on, with the addresses it is bound to."""
        ports: dict[int, set[str]] = {}
        for process in self.processes():
            try:
                connections = process.net_connections("tcp")
            except psutil.Error:
                continue
            for connection in connections:
                if connection.status == psutil.CONN_LISTEN:
                    ports.setdefault(connection.laddr.port, set()).add(connection.laddr.ip)
        return ports

    def raw(self, path: str, headers: dict[str, str], length: int, port: int = 0) -> "Wire":
        """Send the head of a POST that promises `length` bytes and asks for leave to send them."""
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Expect: 100-continue", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        wire = Wire(socket.create_connection(("127.0.0.1", port or self.running.port), timeout=10))
        wire.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        return wire


@dataclass(frozen=True)
class Wire:
    """A bare connection."""

    socket: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def head(self) -> str:
        """The next status line and headers; empty where the other side hung up."""
        text = b""
        while b"\r\n\r\n" not in text:
            part = self.socket.recv(1)
            if not part:
                break
            text += part
        return text.decode("latin-1")

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing further comes that looks like leave to send."""
        self.socket.settimeout(seconds)
        text = b""
        try:
            while part := self.socket.recv(65536):
                text += part
        except TimeoutError:
            pass
        return b"100 Continue" not in text

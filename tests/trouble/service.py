"""An upstream service and the wire to it, as a test has them: told what to do for a while, hung, cut off, and asked what came."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from infercast.router.serving.cluster import free_ports
from tests.trouble.upstream import Conduct, Seen
from tests.trouble.world import ROOT

START_S = 60.0
WAIT_S = 30.0


@dataclass(frozen=True)
class Service:
    """One upstream: its process, and that of the wire which our system reaches it by."""

    name: str
    port: int
    """Where the wire begins; the fleet file says it."""
    control: int
    wire_control: int
    process: "subprocess.Popen[bytes]"
    wire: "subprocess.Popen[bytes]"

    @classmethod
    @contextmanager
    def started(cls, name: str) -> Iterator["Service"]:
        """Start both; ended afterwards."""
        port, far, control, wire_control = free_ports(4)
        with ExitStack() as stack:
            process = stack.enter_context(_program("tests.trouble.upstream", far, control))
            wire = stack.enter_context(_program("tests.trouble.wires", port, far, wire_control))
            _wait_listening(control, wire_control, far, port)
            yield cls(name, port, control, wire_control, process, wire)

    def tell(self, **conduct: Any) -> None:
        """Tell it what to do with calls from now on (see `Conduct`)."""
        text = json.dumps(asdict(Conduct(**conduct)))
        httpx.post(f"http://127.0.0.1:{self.control}/", content=text, timeout=WAIT_S).raise_for_status()

    @contextmanager
    def told(self, **conduct: Any) -> Iterator[None]:
        """Let it do so for a while; then it answers again."""
        self.tell(**conduct)
        try:
            yield
        finally:
            self.tell()

    def seen(self) -> Seen:
        """What came to it since it was started."""
        told = httpx.get(f"http://127.0.0.1:{self.control}/", timeout=WAIT_S).json()
        return Seen(**{**told, "marks": [(path, mark) for path, mark in told["marks"]]})

    def times(self, mark: str) -> int:
        """How many calls came with a mark in their body (`user` of OpenAI's API, `id` of the other)."""
        return sum(1 for _, found in self.seen().marks if found == mark)

    def say(self, words: str) -> None:
        """Say something to the wire (see `wires`)."""
        with socket.create_connection(("127.0.0.1", self.wire_control), WAIT_S) as connection:
            connection.sendall(f"{words}\n".encode())
            assert connection.recv(100) == b"so\n", words

    @contextmanager
    def parted(self) -> Iterator[None]:
        """Let the network between be parted: connections stand, and nothing comes through."""
        yield from self._wired("lose")

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let all connections end with a RST, and no new one be taken."""
        yield from self._wired("cut")

    @contextmanager
    def slowed(self, ms: float) -> Iterator[None]:
        """Let each piece of data take so much longer on its way, there and back."""
        yield from self._wired(f"slow {ms}")

    def _wired(self, words: str) -> Iterator[None]:
        self.say(words)
        try:
            yield
        finally:
            self.say("carry")

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let the process stand still: the kernel takes connections and data, and nobody answers."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def recover(self) -> None:
        """End whatever trouble it was given."""
        os.kill(self.process.pid, signal.SIGCONT)
        self.tell()
        self.say("carry")


@contextmanager
def _program(module: str, *ports: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-m", module, *map(str, ports)], cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_listening(*ports: int) -> None:
    until = time.monotonic() + START_S
    for port in ports:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until, f"nothing listens on {port}"
            time.sleep(0.05)

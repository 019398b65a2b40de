"""The speed of the data plane: `make bench-serve`, or `python bench/serve.py --json FILE`.

Starts a cluster of two sites as `infercast up` does, and in it the same model as two plain Ray Serve applications; beside it
a no-op upstream, which is a site of that cluster, too, with HAProxy, vllm-router and LiteLLM's proxy before it. All are called
in turns, round by round, by a generator in a process of its own; ratios are taken within each round. Then come streams, and
memory over `--calls` calls.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench import serve_peers, serve_streams  # noqa: E402 - the root had to come first
from bench.machine import machine  # noqa: E402
from bench.serve_load import Generator, Job  # noqa: E402
from bench.serve_rows import Load, Ratio, Row, Target, figures, measure, processes_named, ratios  # noqa: E402
from bench.serve_text import PACKAGES, text  # noqa: E402
from bench.serve_world import ARTEFACT, ENTRY, OTHER, TENANT, Body, binary_body, json_body, picture, write_world  # noqa: E402
from infercast import system  # noqa: E402
from infercast.router.serving.cluster import TOKEN_FILE, free_ports  # noqa: E402
from infercast.router.serving.settings import token_environment  # noqa: E402

PARTS = ("noop", "model", "streams", "memory")
LOADS = (Load(1), Load(16), Load(16, share=0.5))
CLOSED = LOADS[:2]
"""Where nothing is slow by itself: at half of what LiteLLM's proxy answers, the others would hardly be called at all."""
SAID = {"model": "noop", "messages": [{"role": "user", "content": "hello"}]}
CHAT, STREAM = json.dumps(SAID).encode(), json.dumps({**SAID, "stream": True}).encode()
CHAT_PATH = "/v1/chat/completions"
GET_RETURN = b"GET /return HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""Without a body: HAProxy closes the connection when it answers before it has read one."""
OURS_CHAT, LITELLM_CHAT = "infercast, no-op upstream", "LiteLLM proxy, no-op upstream"
GOAL_OWN_P50, GOAL_OWN_PER_S, GOAL_OTHER_P50, GOAL_P99 = 1.3, 0.8, 1.15, 1.5
GOAL_CHAT_PER_S, GOAL_CHAT_P50 = 10.0, 0.125


def main() -> int:
    """Run everything; 1 when (with --hold) a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in each round")
    parser.add_argument("--calls", type=int, default=20_000, help="calls over which memory is watched")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--hold", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"--only: no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="serve-") as folder, Generator() as generator:
        report = measured(Path(folder), generator, options)
    report["machine"] = {**machine(PACKAGES), "load_before": load_before, "load_after": os.getloadavg()}
    text(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if options.hold and any(not ratio["met"] for ratio in report["ratios"]) else 0


def measured(folder: Path, generator: Generator, options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for."""
    only = options.only.split(",")
    rows: list[Row] = []
    held: list[Ratio] = []
    report: dict[str, Any] = {"rounds": options.rounds, "seconds": options.seconds, "in_process_us": in_process_us()}
    noop_port = free_ports(1)[0]
    with serve_peers.noop(noop_port, folder) as noop, cluster(folder, noop_port) as running:
        if "noop" in only:
            with floor(folder, noop_port, noop) as targets:
                chat = [*targets, Target(OURS_CHAT, running.port, running.chat(CHAT), (*running.worker, noop))]
                found = measure(generator, chat, CLOSED, options.rounds, options.seconds, say)
            held += held_to_litellm(found)
            rows += found
        if "model" in only:
            found = measure(generator, running.targets, LOADS, options.rounds, options.seconds, say)
            held += held_to_goals(found)
            rows += found
        if "streams" in only:
            say("streams")
            ours, theirs = (
                (running.port, running.chat(STREAM)),
                (noop_port, post(CHAT_PATH, Body(STREAM, None), "none")),
            )
            report["streams"] = asyncio.run(serve_streams.measured(ours, theirs))
        if "memory" in only:
            say("memory")
            report["memory"] = memory(generator, running.targets[0], options.calls)
    report["rows"] = [figures(row) for row in rows]
    report["ratios"] = [{**asdict(ratio), "median": ratio.median, "met": ratio.met} for ratio in held]
    return report


def say(words: str) -> None:
    """Tell how far it is."""
    print(words, file=sys.stderr, flush=True)


def held_to_goals(rows: list[Row]) -> list[Ratio]:
    """Return what the goals are about."""
    held = []
    for kind in ("JSON", "binary"):
        own, one = f"infercast, own site, {kind}", f"Ray Serve, one hop, {kind}"
        other, two = f"infercast, other site, {kind}", f"Ray Serve, two hops, {kind}"
        held += ratios(rows, own, one, "p50_us", GOAL_OWN_P50, at_most=True)
        held += ratios(rows, own, one, "per_s", GOAL_OWN_PER_S, at_most=False, load="closed")
        held += ratios(rows, own, one, "p99_us", GOAL_P99, at_most=True)
        held += ratios(rows, other, two, "p50_us", GOAL_OTHER_P50, at_most=True)
        held += ratios(rows, other, two, "p99_us", GOAL_P99, at_most=True)
    return held


def held_to_litellm(rows: list[Row]) -> list[Ratio]:
    """Return the same for calls to an upstream, beside LiteLLM's proxy."""
    return [
        *ratios(rows, OURS_CHAT, LITELLM_CHAT, "per_s", GOAL_CHAT_PER_S, at_most=False),
        *ratios(rows, OURS_CHAT, LITELLM_CHAT, "p50_us", GOAL_CHAT_P50, at_most=True),
    ]


@dataclass(frozen=True)
class Running:
    """The cluster under measurement: what can be called there, ours first, and the processes that serve our own site."""

    port: int
    secret: str
    targets: list[Target]
    worker: tuple[int, ...]

    def chat(self, body: bytes) -> bytes:
        """Return a request for a text from the upstream."""
        return post(f"/{ENTRY}{CHAT_PATH}", Body(body.replace(b'"noop"', b'"talk"'), None), self.secret)


@contextlib.contextmanager
def cluster(folder: Path, upstream: int) -> Iterator[Running]:
    """Run the cluster and the plain applications in it. `upstream` is the port of the no-op upstream."""
    world, state, port = write_world(folder / "world", upstream), folder / "state", free_ports(1)[0]
    running = system.start(world.fleet, world.policies, state, port, lambda step: say(f"starting: {step}"))
    try:
        say("starting: plain Ray Serve applications")
        apps = [
            str(ROOT / "bench" / "serve_apps.py"),
            running.ray,
            str(ARTEFACT),
            ENTRY,
            OTHER,
        ]
        subprocess.run(
            [sys.executable, *apps], check=True, env=environment(state / TOKEN_FILE), capture_output=True, timeout=120
        )
        time.sleep(2)
        secret = system.secret_of(state, TENANT)
        front = processes_named("bin/haproxy -db", running.temp)
        worker, away, one, two, behind = (
            processes_named(f"ray::ServeReplica:{name}", running.run)
            for name in (f"{ENTRY}:worker", f"{OTHER}:worker", "one:One", "two:Two", "two:Replica")
        )
        targets = []
        for kind, body in (("JSON", json_body()), ("binary", binary_body())):
            for name, path, processes in (
                (f"infercast, own site, {kind}", f"/{ENTRY}/v2/models/near/infer", worker),
                (f"Ray Serve, one hop, {kind}", "/one", one),
                (f"infercast, other site, {kind}", f"/{ENTRY}/v2/models/far/infer", (*worker, *away)),
                (f"Ray Serve, two hops, {kind}", "/two", (*two, *behind)),
            ):
                targets.append(Target(name, port, post(path, body, secret), (*front, *processes)))
        yield Running(port, secret, targets, (*front, *worker))
    finally:
        system.stop(state)


def environment(token: Path) -> dict[str, str]:
    """Return what a program that deploys into the cluster is started with: as its own processes, where it matters."""
    settings = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **token_environment(token), **settings}


@contextlib.contextmanager
def floor(folder: Path, port: int, noop: int) -> Iterator[list[Target]]:
    """Run the proxies before the no-op upstream, whose port and process are given."""
    front, proxy, router, metrics = free_ports(4)
    request = post(CHAT_PATH, Body(CHAT, None), "none")
    with contextlib.ExitStack() as held:
        haproxy = held.enter_context(serve_peers.haproxy(front, port, folder))
        targets = [
            Target("HAProxy's own answer (what the generator can do)", front, GET_RETURN, (haproxy,)),
            Target("no-op upstream", port, request, (noop,)),
            Target("HAProxy, no-op upstream", front, request, (haproxy, noop)),
        ]
        if serve_peers.VLLM_ROUTER.exists():
            vllm = held.enter_context(serve_peers.vllm_router((router, metrics), port, folder))
            targets.append(Target("vllm-router, no-op upstream", router, request, (vllm, noop)))
        if serve_peers.LITELLM.exists():
            say("starting: LiteLLM")
            litellm = held.enter_context(serve_peers.litellm(proxy, port, folder))
            targets.append(Target(LITELLM_CHAT, proxy, request, (litellm, noop)))
        yield targets


def post(path: str, body: Body, secret: str) -> bytes:
    """Return a request as it goes over the wire."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Authorization: Bearer {secret}",
        f"Content-Length: {len(body.content)}",
    ]
    if body.header_bytes is not None:
        head.append(f"Inference-Header-Content-Length: {body.header_bytes}")
    return "\r\n".join([*head, "", ""]).encode() + body.content


def in_process_us() -> dict[str, float]:
    """Return what ONNX Runtime takes for one picture in this process, in µs: p50 and p99."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(ARTEFACT), options, providers=["CPUExecutionProvider"])
    image = {"image": picture()}
    took_us = []
    for _ in range(5000):
        began_ns = time.perf_counter_ns()
        session.run(None, image)
        took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    return {"p50": float(np.percentile(took_us, 50)), "p99": float(np.percentile(took_us, 99))}


def memory(generator: Generator, target: Target, calls: int) -> dict[str, Any]:
    """Return the resident memory of a target's last process in MB, ten times over so many calls."""
    process = psutil.Process(target.processes[-1])
    said = [round(process.memory_info().rss / 1e6, 1)]
    for _ in range(10):
        generator.run(Job(target.port, target.request, 16, 600.0, calls=max(1, calls // 10)))
        said.append(round(process.memory_info().rss / 1e6, 1))
    return {"target": target.name, "calls": calls, "rss_mb": said}


if __name__ == "__main__":
    sys.exit(main())

"""The running system under abuse: who is slow, silent, too large or gone does no harm to who is not."""

import json
import os
import socket
import statistics
import time
from contextlib import ExitStack, suppress
from functools import partial

import psutil
import pytest

from infercast.router.serving.front import connections_max, raise_files
from tests.cluster.live import ONE_IMAGE, Live, until

PATH = "/fra/v2/models/digits/infer"
IDLE = min(int(os.environ.get("INFERCAST_CONNECTIONS", "500")), connections_max() - 100)
HEAD_S = 10


def head(live: Live, *more: str, path: str = PATH, length: int = 0) -> bytes:
    """The head of a call of the studio's."""
    named = {**live.headers("studio", "zurich", "gameplay"), "content-length": str(length), "host": "x"}
    lines = [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, *more, "", ""]).encode("latin-1")


def connect(live: Live) -> socket.socket:
    """A connection to where clients connect."""
    return socket.create_connection(("127.0.0.1", live.running.port), timeout=60)


def status(wire: socket.socket) -> int:
    """The status of the next answer; 0 where the other side hung up."""
    text = b""
    with suppress(ConnectionError):
        while b"\r\n" not in text and (part := wire.recv(4096)):
            text += part
    return int(text.split()[1]) if text else 0


def answered(live: Live) -> float:
    """Make an ordinary call over a new connection; return how long it took in seconds."""
    body = json.dumps(ONE_IMAGE).encode()
    began = time.monotonic()
    for _ in range(5):
        with connect(live) as wire:
            wire.sendall(head(live, length=len(body)) + body)
            found = status(wire)
        if found not in (503, 504):
            break
    assert found == 200
    return time.monotonic() - began


def workers(live: Live) -> dict[int, int]:
    """Files that are open in the processes of the run that listen for calls."""
    found: dict[int, int] = {}
    for process in live.processes():
        with suppress(psutil.Error):
            if any(name in " ".join(process.cmdline()) for name in ("haproxy", "SiteWorker", "ray::")):
                found[process.pid] = process.num_fds()
    return found


def test_idle_and_slow_connections_shut_nobody_out(live: Live) -> None:
    raise_files()
    answered(live)
    before = workers(live)
    with ExitStack() as held:
        opened = [held.enter_context(connect(live)) for _ in range(IDLE)]
        for wire in opened[::2]:
            wire.sendall(b"POST /fra/v2 HTTP/1.1\r\nhost: x\r\nx-slow: ")
        took_s = [answered(live) for _ in range(20)]
        assert statistics.median(took_s) < HEAD_S, took_s
        assert all(status(wire) in (0, 408) for wire in opened), "heads that never come are not waited for"
    until(
        lambda: all(files <= before[pid] + 20 for pid, files in workers(live).items() if pid in before),
        "no file is left open",
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([f"x-{number}: x" for number in range(80)], 431),
        (["x-long: " + "x" * 13_000], 431),
        (["x-long: " + "x" * 40_000], 400),
        (["x-request-id: \xe9"], 200),
        (["serve_multiplexed_model_id: \xe9"], 200),
        (["x-request-timeout-seconds: 0.000001"], 200),
        (["upgrade: h2c", "connection: upgrade"], 200),
    ],
)
def test_a_head_as_it_must_not_be(live: Live, more: list[str], expected: int) -> None:
    body = json.dumps(ONE_IMAGE).encode()
    for _ in range(5):
        with connect(live) as wire:
            wire.sendall(head(live, *more, length=len(body)) + body)
            found = status(wire)
        if found not in (503, 504):
            break
    assert found == expected
    answered(live)


def test_a_body_that_is_too_large_or_does_not_come(live: Live) -> None:
    with connect(live) as wire:
        wire.sendall(head(live, length=64 * 1024 * 1024 + 1))
        assert status(wire) == 413
    with connect(live) as wire:
        wire.sendall(head(live, length=100) + b"{")
        assert status(wire) == 408, "at the policy's deadline"
    answered(live)


def test_callers_who_leave_are_forgotten(live: Live) -> None:
    def left(sent: int) -> bool:
        with connect(live) as wire:
            wire.sendall(head(live, f"infercast-id: leaver-{sent}", length=1000) + b"x" * sent)
            time.sleep(0.2)  # HAProxy itself forgets who leaves at once
        return bool(live.journal("call", f"leaver-{sent}"))

    for sent in (0, 10):
        until(partial(left, sent), "its line is written")
        assert {line["reason"] for line in live.journal("call", f"leaver-{sent}")} <= {"gone", "slow", "cancelled"}
    answered(live)

"""The load of the serving bench: raw sockets and ready-made request bytes, in a process of its own.

Closed loop: each connection sends its next call when its last is answered. Open loop: calls are due at a constant rate
whatever became of those before, and their latency counts from when they were due (so that a stall of the server is felt by
all calls that were due in it, as with wrk2).

As a program it reads jobs from standard input, one JSON object a line, and writes what came of each as one line.
"""

import base64
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Self

END_OF_HEAD = b"\r\n\r\n"
READ_BYTES = 1 << 18
PATIENCE_S = 10.0
"""An answer that takes longer ends the job."""


@dataclass(frozen=True)
class Job:
    """What to send where. `per_s` None is a closed loop; `calls` ends a closed loop early, 0 meaning at `seconds` only."""

    port: int
    request: bytes
    connections: int
    seconds: float
    per_s: float | None = None
    calls: int = 0


@dataclass(frozen=True)
class Came:
    """What came of a job: latencies in µs in the order of the answers, its length, and the generator's own CPU time in it."""

    latencies_us: list[int]
    seconds: float
    bad: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_us) / self.seconds


@dataclass(slots=True, eq=False)
class Line:
    """One connection: when its call began, and what has come of the answer."""

    socket: socket.socket
    began_ns: int = 0
    parts: bytes = b""
    missing: int = -1
    """Bytes of the answer still to come; -1 while its head is not whole."""
    status: bytes = field(default=b"")

    def take(self) -> bool:
        """Read what is there; True when the answer is whole. Raises ConnectionError when the peer hangs up."""
        read = self.socket.recv(READ_BYTES)
        if not read:
            raise ConnectionError("the server closed a connection")
        if self.missing >= 0:
            self.missing -= len(read)
            return self.missing <= 0
        self.parts += read
        end = self.parts.find(END_OF_HEAD)
        if end < 0:
            return False
        self.status = self.parts[9:12]
        self.missing = _length(self.parts[:end]) - (len(self.parts) - end - len(END_OF_HEAD))
        return self.missing <= 0

    def send(self, request: bytes, began_ns: int) -> None:
        """Begin a call."""
        self.began_ns, self.parts, self.missing = began_ns, b"", -1
        self.socket.sendall(request)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError(f"an answer without content-length: {head[:200]!r}")


def opened(port: int, count: int) -> list[Line]:
    """Return connections to a port of this machine."""
    lines = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines.append(Line(one))
    return lines


def run(job: Job) -> Came:
    """Do a job. Raises ConnectionError, TimeoutError where the server gives up on it."""
    lines = opened(job.port, job.connections)
    gc.collect()
    gc.disable()
    try:
        return closed_loop(job, lines) if job.per_s is None else open_loop(job, lines)
    finally:
        gc.enable()
        for line in lines:
            line.socket.close()


def closed_loop(job: Job, lines: list[Line]) -> Came:
    """Keep every connection busy."""
    clock, request = time.perf_counter_ns, job.request
    latencies_us: list[int] = []
    bad = 0
    poll = select.epoll()
    by_number = {line.socket.fileno(): line for line in lines}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    cpu_s, began_ns = time.process_time(), clock()
    until_ns = began_ns + int(job.seconds * 1e9)
    left = job.calls or sys.maxsize
    for line in lines:
        line.send(request, clock())
    while True:
        events = poll.poll(PATIENCE_S)
        if not events:
            raise TimeoutError(f"no answer within {PATIENCE_S} s")
        for number, _ in events:
            line = by_number[number]
            if line.take():
                now_ns = clock()
                latencies_us.append((now_ns - line.began_ns) // 1000)
                bad += line.status != b"200"
                line.send(request, now_ns)
        left_now = left - len(latencies_us)
        if left_now <= 0 or clock() >= until_ns:
            seconds = (clock() - began_ns) / 1e9
            return Came(latencies_us, seconds, bad, time.process_time() - cpu_s)


def open_loop(job: Job, lines: list[Line]) -> Came:
    """Send at a constant rate over whichever connection is free; a call that finds none waits, and its latency grows."""
    assert job.per_s is not None
    clock = time.perf_counter_ns
    every_ns = int(1e9 / job.per_s)
    count = int(job.seconds * job.per_s)
    latencies_us: list[int] = []
    bad = 0
    free = deque(lines)
    busy: dict[socket.socket, Line] = {}
    cpu_s, began_ns = time.process_time(), clock()
    sent = 0
    while len(latencies_us) < count:
        now_ns = clock()
        while sent < count and free and began_ns + sent * every_ns <= now_ns:
            line = free.popleft()
            line.send(job.request, began_ns + sent * every_ns)
            busy[line.socket] = line
            sent += 1
        wait_s = PATIENCE_S
        if free and sent < count:
            wait_s = max(0.0, (began_ns + sent * every_ns - clock()) / 1e9)
        ready = select.select(list(busy), (), (), wait_s)[0]
        if not ready and wait_s == PATIENCE_S:
            raise TimeoutError(f"no answer within {PATIENCE_S} s")
        for one in ready:
            line = busy[one]
            if line.take():
                latencies_us.append((clock() - line.began_ns) // 1000)
                bad += line.status != b"200"
                del busy[one]
                free.append(line)
    return Came(latencies_us, (clock() - began_ns) / 1e9, bad, time.process_time() - cpu_s)


class Generator:
    """A process that does jobs, one after the other. For `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def run(self, job: Job) -> Came:
        """Do a job there. Raises RuntimeError in the process's own words where it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        raw = {**asdict(job), "request": base64.b64encode(job.request).decode()}
        self._process.stdin.write(json.dumps(raw) + "\n")
        came: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "fault" in came:
            raise RuntimeError(came["fault"])
        return Came(**came)


def main() -> None:
    """Do the jobs that come in."""
    for text in sys.stdin:
        raw = json.loads(text)
        try:
            came = asdict(run(Job(**{**raw, "request": base64.b64decode(raw["request"])})))
        except (OSError, ValueError) as error:
            came = {"fault": f"{type(error).__name__}: {error}"}
        print(json.dumps(came), flush=True)


if __name__ == "__main__":
    main()

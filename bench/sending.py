"""Open-loop load on a running system: streams of calls that come when they come, whatever became of those before."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import httpx
import numpy as np

CLIENT_MAX_S = 30.0


@dataclass(frozen=True)
class Stream:
    """Calls for one model at one entry."""

    entry: str
    model: str

    @property
    def name(self) -> str:
        """How it stands in tables and call ids."""
        return f"{self.model} at {self.entry}"


class Lateness:
    """How late a thread that does nothing wakes up, in ms: what the machine itself has for this bench. For `with`."""

    def __init__(self, nap_s: float = 0.01) -> None:
        self.late_ms: list[float] = []
        self._nap_s = nap_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            due = time.monotonic() + self._nap_s
            time.sleep(self._nap_s)
            self.late_ms.append((time.monotonic() - due) * 1000)

    def percentile(self, share: float) -> float:
        """Return a percentile of the lateness in ms."""
        return float(np.percentile(self.late_ms, share))


@dataclass(frozen=True)
class Target:
    """Where the sites' ingresses are, and the key to send."""

    url: str
    secret: str


def call_id(phase: str, stream: Stream, number: int) -> str:
    """Return the id of a call, by which its line in the journal is found again."""
    return f"{phase}/{stream.entry}/{stream.model}/{number}"


def gaps_s(count: int, per_s: float, seed: int) -> list[float]:
    """Return times between calls of a Poisson process."""
    gaps: list[float] = np.random.default_rng(seed).exponential(1 / per_s, count).tolist()
    return gaps


async def send_phase(
    target: Target, phase: str, streams: Sequence[Stream], work: Sequence[Sequence[int]], per_s: float, seed: int
) -> list[int]:
    """Send each stream its calls of `work[stream]` rounds, `per_s` a second on average; return how many gave no 200, by stream."""
    limits = httpx.Limits(max_connections=400)
    async with httpx.AsyncClient(
        limits=limits, timeout=CLIENT_MAX_S, headers={"authorization": f"Bearer {target.secret}"}
    ) as client:
        sent = (
            _send_stream(client, target.url, phase, stream, work[at], gaps_s(len(work[at]), per_s, seed + at))
            for at, stream in enumerate(streams)
        )
        return list(await asyncio.gather(*sent))


async def _send_stream(
    client: httpx.AsyncClient, url: str, phase: str, stream: Stream, work: Sequence[int], gaps: Sequence[float]
) -> int:
    due, tasks = time.monotonic(), []
    for number, (rounds, gap_s) in enumerate(zip(work, gaps, strict=True)):
        due += gap_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(_send(client, url, stream, call_id(phase, stream, number), rounds)))
    return sum(not good for good in await asyncio.gather(*tasks))


async def _send(client: httpx.AsyncClient, url: str, stream: Stream, name: str, rounds: int) -> bool:
    tensor = {"name": "rounds", "datatype": "INT64", "shape": [1], "data": [rounds]}
    try:
        response = await client.post(
            f"{url}/{stream.entry}/v2/models/{stream.model}/infer",
            content=json.dumps({"inputs": [tensor]}),
            headers={"infercast-id": name},
        )
    except httpx.HTTPError:
        return False
    return response.status_code == 200

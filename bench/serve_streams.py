"""Streams of the serving bench: what we add to the first token, and whether any of many streams at once is starved."""

import asyncio
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from .serve_noop import EVENTS, EVERY_S

FIRST_EVENT, DONE = b"data: ", b"data: [DONE]"
PATIENCE_S = 60.0
AT_ONCE = 200


@dataclass(frozen=True)
class Came:
    """What came of a stream: ms until its first event and until its end, and how many events there were."""

    first_ms: float
    done_ms: float
    events: int


async def stream(port: int, request: bytes, *, whole: bool = True) -> Came:
    """Take one stream, or its first event only. Raises RuntimeError where none comes, TimeoutError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            began_s = time.perf_counter()
            writer.write(request)
            seen, first_ms = b"", 0.0
            while DONE not in seen[-256:]:
                read = await reader.read(65_536)
                if not read:
                    raise RuntimeError(f"a stream ended early: {seen[-300:]!r}")
                seen += read
                if not first_ms and FIRST_EVENT in seen:
                    first_ms = 1000 * (time.perf_counter() - began_s)
                    if not whole:
                        break
            return Came(first_ms, 1000 * (time.perf_counter() - began_s), seen.count(FIRST_EVENT) - 1)
    finally:
        writer.close()


async def overhead(ours: tuple[int, bytes], theirs: tuple[int, bytes], times: int) -> dict[str, Any]:
    """Return what we add to the first token: one stream at a time, in turns with the upstream itself; in ms."""
    found: dict[str, list[float]] = {"ours": [], "upstream": []}
    for number in range(times):
        for name, (port, request) in (("ours", ours), ("upstream", theirs)):
            came = await stream(port, request, whole=False)
            if number:  # the first makes the connections behind
                found[name].append(came.first_ms)
    quantiles = {name: [float(value) for value in np.percentile(told, (50, 90, 99))] for name, told in found.items()}
    added = [ours_ms - upstream_ms for ours_ms, upstream_ms in zip(found["ours"], found["upstream"], strict=True)]
    return {"first_ms": quantiles, "added_ms": median(added), "added_p90_ms": float(np.percentile(added, 90))}


async def crowd(port: int, request: bytes, count: int = AT_ONCE) -> dict[str, Any]:
    """Return how many streams at once fared: the slowest's first event, and the last's end over the median's."""
    began_s = time.perf_counter()
    all_of_them = await asyncio.gather(*(stream(port, request) for _ in range(count)))
    firsts, ends = [came.first_ms for came in all_of_them], [came.done_ms for came in all_of_them]
    return {
        "streams": count,
        "events": min(came.events for came in all_of_them),
        "first_ms": {"median": median(firsts), "slowest": max(firsts)},
        "done_ms": {"median": median(ends), "slowest": max(ends)},
        "fairness": max(ends) / median(ends),
        "paced_ms": 1000 * EVENTS * EVERY_S,
        "took_s": time.perf_counter() - began_s,
    }


async def measured(ours: tuple[int, bytes], theirs: tuple[int, bytes], times: int = 60) -> dict[str, Any]:
    """Return both."""
    await crowd(*ours, count=20)
    return {
        "overhead": await overhead(ours, theirs, times),
        "ours": await crowd(*ours),
        "upstream": await crowd(*theirs),
    }

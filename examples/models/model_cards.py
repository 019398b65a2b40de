"""Shared by the example models: digests, atomic files, measured service time and the card that records them."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Card = dict[str, Any]
Feeds = dict[str, npt.NDArray[Any]]

_OIP_DATATYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(int64)": "INT64"}
_WILSON_Z_95 = 1.959963984540054


class CardError(ValueError):
    """A card that is absent or unusable, told in one line."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as artefact:
        return hashlib.file_digest(artefact, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write through a temporary neighbour, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sidecar(artefact: Path) -> Path:
    return artefact.with_name(artefact.name + ".sha256")


def is_current(artefact: Path, recipe: str) -> bool:
    """Whether the artefact is there, whole, and made by this recipe."""
    if not artefact.is_file() or not _sidecar(artefact).is_file():
        return False
    return _sidecar(artefact).read_text().split() == [sha256_of(artefact), recipe]


def write_artefact(artefact: Path, content: bytes, recipe: str) -> None:
    """Write an artefact, and beside it its digest and the recipe it was made by."""
    write_atomically(artefact, content)
    write_atomically(_sidecar(artefact), f"{sha256_of(artefact)} {recipe}\n".encode())


def open_session(path: Path) -> ort.InferenceSession:
    """One intra-op thread: a service time that depends on the core count of the machine cannot be compared."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def wilson_95(correct: int, n: int) -> tuple[float, float]:
    """Wilson score interval: unlike the normal one it stays inside [0, 1] for accuracies close to 1."""
    if n <= 0 or not 0 <= correct <= n:
        raise ValueError(f"need 0 <= correct <= n and n > 0, got correct={correct}, n={n}")
    share, z2 = correct / n, _WILSON_Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _WILSON_Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_entry(correct: int, n: int, data: str) -> Card:
    low, high = wilson_95(correct, n)
    return {
        "value": correct / n,
        "correct": correct,
        "n": n,
        "low_95": low,
        "high_95": high,
        "method": "Wilson score interval, 95%",
        "data": data,
    }


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _time_calls_ms(session: ort.InferenceSession, feeds: list[Feeds], runs: int) -> list[float]:
    times_ms: list[float] = []
    for index in range(runs):
        feed = feeds[index % len(feeds)]
        start_ns = time.perf_counter_ns()
        session.run(None, feed)
        times_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    return times_ms


def measure_service_times_ms(sessions: list[ort.InferenceSession], feeds: list[Feeds], rounds: int) -> list[Card]:
    """Time single calls and summarise them per session in milliseconds.

    The sessions take turns, one pass over the feeds each: on a shared machine a slow phase then meets them all alike,
    where one after the other it could double the median of a single one.
    """
    times_ms: list[list[float]] = [[] for _ in sessions]
    for round_index in range(rounds + 1):
        for session, collected in zip(sessions, times_ms, strict=True):
            measured = _time_calls_ms(session, feeds, len(feeds))
            if round_index > 0:  # the first round only warms up
                collected.extend(measured)
    return [service_time_entry(collected) for collected in times_ms]


def service_time_entry(times_ms: list[float]) -> Card:
    """Summarise times in milliseconds, and say where and when they were measured."""
    return {
        "p50": round(float(np.percentile(times_ms, 50)), 4),
        "p95": round(float(np.percentile(times_ms, 95)), 4),
        "n": len(times_ms),
        "intra_op_threads": 1,
        "machine": f"{cpu_model()}, onnxruntime {ort.__version__}",
        "date": datetime.date.today().isoformat(),
    }


def _interface(nodes: list[Any]) -> list[Card]:
    return [
        {
            "name": node.name,
            "datatype": _OIP_DATATYPES[node.type],
            "shape": [size if isinstance(size, int) else -1 for size in node.shape],
        }
        for node in nodes
    ]


def make_card(model: str, artefact: Path, session: ort.InferenceSession, accuracy: Card | None, cpu_ms: Card) -> Card:
    return {
        "variant": artefact.stem,
        "model": model,
        "artefact": artefact.name,
        "sha256": sha256_of(artefact),
        "artefact_bytes": artefact.stat().st_size,
        "inputs": _interface(session.get_inputs()),
        "outputs": _interface(session.get_outputs()),
        "accuracy": accuracy,
        "service_time_ms": {"cpu": cpu_ms},
    }


def write_card(path: Path, card: Card) -> None:
    write_atomically(path, (json.dumps(card, indent=2) + "\n").encode())


def read_card(path: Path) -> Card:
    """Read a card, or raise CardError when it is absent or is no JSON object."""
    try:
        card = json.loads(path.read_text())
    except FileNotFoundError:
        raise CardError(f"{path}: card not found") from None
    except json.JSONDecodeError as error:
        raise CardError(f"{path}: not JSON ({error})") from None
    if not isinstance(card, dict):
        raise CardError(f"{path}: expected a JSON object")
    return card


def fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1

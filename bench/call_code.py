"""How much code a call runs inside a site's worker: `python bench/call_code.py [--functions 40]`.

The same worker and calls as in `bench/call_path.py`, with bytecodes and frames of Python counted in place of time. A count is the
same on any machine however busy it is, so what a change adds to every call shows without a quiet hour; what runs in C (the
model, JSON, the decision's kernel, system calls) is in no count.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.call_path import Worker, answered, scope_of  # noqa: E402 - the root had to come first
from bench.serve_world import Body, binary_body, json_body  # noqa: E402

WARM_CALLS = 300
CALLS = 64
"""As many as are counted together by what looks at calls (`router/sight/counting.py`)."""
PARTS = {
    "HTTP, key and metadata": ("router/ingress/", "router/keys.py", "router/upstream/"),
    "conduct, limits and cache": ("router/conduct/", "router/quota/", "router/cache/"),
    "decision and estimates": ("policies/",),
    "tensors and model": ("router/oip.py", "router/runtime/", "router/serving/", "numpy/", "onnxruntime/"),
    "journal and decision log": ("router/telemetry/",),
    "metrics": ("router/sight/",),
    "making objects (dataclasses)": ("<string>",),
}
REST = "other"
Function = tuple[str, str]


class Counting:
    """Bytecodes and frames of this thread, by function, while it is traced."""

    def __init__(self) -> None:
        self.bytecodes: Counter[Function] = Counter()
        self.frames: Counter[Function] = Counter()

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count one event (see `sys.settrace`)."""
        function = frame.f_code.co_filename, frame.f_code.co_qualname
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self.frames[function] += 1
        elif event == "opcode":
            self.bytecodes[function] += 1
        return self.trace


def part_of(file: str) -> str:
    """Return the part of a call that a file belongs to."""
    for part, places in PARTS.items():
        if any(place in file for place in places):
            return part
    return REST


async def counted(worker: Worker, body: Body) -> Counting:
    """Make some calls, and return what they ran; the bench's own code is left out."""
    scope, counting = scope_of(body, worker.secret), Counting()
    for _ in range(WARM_CALLS):
        await answered(worker, scope, body.content)
    sys.settrace(counting.trace)
    try:
        for _ in range(CALLS):
            await answered(worker, scope, body.content)
    finally:
        sys.settrace(None)
    for counts in (counting.bytecodes, counting.frames):
        for function in [function for function in counts if function[0].startswith(str(ROOT / "bench"))]:
            del counts[function]
    return counting


async def measured(worker: Worker, functions: int) -> None:
    """Print the table, and the functions that run most."""
    found = {"JSON": await counted(worker, json_body()), "binary": await counted(worker, binary_body())}
    print("| per call | " + " | ".join(f"{kind}: bytecodes | frames" for kind in found) + " |\n|---|" + "--:|" * 4)
    for part in (*PARTS, REST, "all"):
        cells = [
            sum(count for (file, _), count in counts.items() if part in ("all", part_of(file))) / CALLS
            for counting in found.values()
            for counts in (counting.bytecodes, counting.frames)
        ]
        print(f"| {part} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |")
    for (file, name), count in found["JSON"].bytecodes.most_common(functions):
        print(f"{count / CALLS:8.1f}  {Path(file).name} {name}")


def main() -> None:
    """Build a worker, and count."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--functions", type=int, default=0, help="the functions that run most, too: so many")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder))
        try:
            asyncio.run(measured(worker, given.functions))
        finally:
            worker.close()


if __name__ == "__main__":
    main()

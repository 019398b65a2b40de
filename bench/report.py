"""One command for all figures of the decision: runs the benches, prints a table and writes JSON.

`python bench/report.py --millions 10 --json decide.json` is what docs/speed.md was filled from.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.compile import measure  # noqa: E402 - the root had to come first
from bench.machine import described, machine  # noqa: E402
from bench.worlds import Size  # noqa: E402

PACKAGES = ("infercast", "numpy", "numba", "pydantic", "litellm", "pytest-benchmark")
GOAL_US = {("choose", 30): 5.0, ("choose", 1000): 10.0, ("explain", 1000): 2000.0}
"""Medians to reach."""
READY_GOAL_S, PEAK_GOAL_MB = 10.0, 500.0


@dataclass(frozen=True)
class Row:
    """What one bench gave, in microseconds a decision."""

    what: str
    candidates: int
    tenants: int
    median_us: float
    p5_us: float
    p95_us: float
    p99_us: float
    rounds: int
    goal_us: float | None


def main() -> int:
    """Run everything; 1 when a bench failed, or (with --hold) when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=1.0, help="decisions of the growth check, in millions")
    parser.add_argument("--timeout-s", type=float, default=120.0, help="end the compile bench after so long")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--hold", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args()
    load_before = os.getloadavg()
    raw, failed = run_benches(options.millions)
    rows, growth = rows_of(raw)
    compiled = measure(Size(), options.timeout_s)
    report = {
        "machine": {**machine(PACKAGES), "load_before": load_before, "load_after": os.getloadavg()},
        "rows": [asdict(row) for row in rows],
        "growth": growth,
        "compile": compiled,
        "missed": missed(rows, compiled),
    }
    print(text(report, rows))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed or (options.hold and report["missed"]) else 0


def run_benches(millions: float) -> tuple[dict[str, Any], bool]:
    """Run `test_decide.py` in a process of its own; return pytest-benchmark's JSON and whether a bench failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "decide.json"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "3600"]
        command += ["--benchmark-quiet", f"--benchmark-json={out}", "--millions", str(millions), "bench/test_decide.py"]
        # The standard output is the table's; what pytest says goes beside it.
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
        return json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"benchmarks": []}, done.returncode != 0


def rows_of(raw: dict[str, Any]) -> tuple[list[Row], dict[str, Any] | None]:
    """Return a row for each timed bench, and what the growth check said."""
    rows, growth = [], None
    for bench in raw["benchmarks"]:
        info = bench["extra_info"]
        if info["what"] == "growth":
            growth = {**info, "s": bench["stats"]["median"]}
            continue
        took_us = [seconds * 1e6 / info.get("in_round", 1) for seconds in bench["stats"]["data"]]
        shares = {f"{name}_us": round(quantile(took_us, share), 3) for name, share in SHARES.items()}
        goal_us = GOAL_US.get((info["what"], info["candidates"]))
        rows.append(
            Row(info["what"], info["candidates"], info["tenants"], rounds=len(took_us), goal_us=goal_us, **shares)
        )
    return rows, growth


SHARES = {"median": 0.5, "p5": 0.05, "p95": 0.95, "p99": 0.99}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least measured value that so large a share of all is at or below (nearest rank)."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def missed(rows: Sequence[Row], compiled: dict[str, Any]) -> list[str]:
    """Return the goals that were not reached, in words."""
    words = [
        f"{row.what} at {row.candidates}: median {row.median_us:.1f} µs, goal {row.goal_us:.0f} µs"
        for row in rows
        if row.goal_us is not None and row.median_us > row.goal_us
    ]
    ready_s, peak_mb = compiled["ready_s"], compiled["peak_mb"]
    if ready_s is None or ready_s > READY_GOAL_S:
        took = f"not done in {compiled['timeout_s']:.0f} s" if ready_s is None else f"{ready_s:.1f} s"
        words.append(f"compile: {took}, goal {READY_GOAL_S:.0f} s")
    if peak_mb is None or peak_mb > PEAK_GOAL_MB:
        words.append(f"compile: peak of {peak_mb} MB, goal {PEAK_GOAL_MB:.0f} MB")
    return words


def text(report: dict[str, Any], rows: Sequence[Row]) -> str:
    """Return the figures as the Markdown that docs/speed.md carries."""
    return "\n".join(
        [
            described(report["machine"], PACKAGES),
            "",
            "| what | candidates | tenants | median µs | p5 to p95 µs | p99 µs | rounds | goal µs |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            *(_row_text(row) for row in rows),
            "",
            *_growth_text(report["growth"]),
            *_compile_text(report["compile"]),
            *(f"Missed: {words}" for words in report["missed"]),
        ]
    )


def _row_text(row: Row) -> str:
    goal = "" if row.goal_us is None else f"{row.goal_us:,.0f}"
    spread = f"{row.p5_us:,.1f} to {row.p95_us:,.1f}"
    cells = (
        row.what,
        row.candidates,
        row.tenants,
        f"{row.median_us:,.1f}",
        spread,
        f"{row.p99_us:,.1f}",
        row.rounds,
        goal,
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _growth_text(growth: dict[str, Any] | None) -> list[str]:
    if growth is None:
        return ["Growth: not measured, its check failed.", ""]
    return [
        (
            f"Growth over {growth['decisions']:,} decisions ({growth['s']:.0f} s): {growth['blocks_grown']} Python blocks, "
            f"{growth['rss_kb_grown']} kB resident; over {growth['traced_decisions']:,} traced ones: "
            f"{growth['traced_bytes_grown']} bytes."
        ),
        "",
    ]


def _compile_text(compiled: dict[str, Any]) -> list[str]:
    size = ", ".join(f"{count} {name}" for name, count in compiled["size"].items())
    lines = [f"Making ready: {size}.", "", "| phase | s | peak MB | |", "|---|--:|--:|---|"]
    for name, phase in compiled["phases"].items():
        if phase is None:
            lines.append(f"| {name} | not done in {compiled['timeout_s']:.0f} s | | |")
        else:
            more = ", ".join(f"{key} {value}" for key, value in phase.items() if key not in ("s", "peak_mb"))
            lines.append(f"| {name} | {phase['s']:.2f} | {phase['peak_mb']:.0f} | {more} |")
    total = "" if compiled["ready_s"] is None else f"Ready after {compiled['ready_s']:.1f} s. "
    return [*lines, "", f"{total}Peak {compiled['peak_mb']} MB.", ""]


if __name__ == "__main__":
    sys.exit(main())

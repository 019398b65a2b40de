"""One command for all figures of the simulator: calls a second, large runs, growth with calls, peers, processes.

`python bench/sim.py --json sim.json` is what docs/speed.md was filled from. `--only kernel,peers` runs parts of it.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench import sim_apart, sim_kernel, sim_peers  # noqa: E402 - the root had to come first
from bench.machine import machine  # noqa: E402
from bench.sim_kernel import Rate  # noqa: E402
from bench.sim_text import PACKAGES, text  # noqa: E402
from bench.sim_worlds import CALM, HEADLINE, OTHERS  # noqa: E402

PARTS = ("kernel", "features", "large", "linear", "peers", "processes")
CANDIDATES = (30, 300, 1000)
PER_S_GOAL = {30: 3_000_000, 300: 1_000_000, 1000: 200_000}
OF_BARE_GOAL = 0.6
SITES, TENANTS = 300, 100
LARGE_GOAL_S, LARGE_GOAL_MB = 60.0, 4000.0
LARGE_PHASES = ("run", "summary")
"""What counts against LARGE_GOAL_S: calls come ready-made, and the kernel is loaded once per machine."""
PEERS = {"infercast": 2_000_000, "simpy": 200_000, "ciw": 50_000}
SERVERS, LOAD = 4, 0.7


def main() -> int:
    """Run everything; 1 when (with --hold) a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each world, of which best and median are told")
    parser.add_argument("--steps", type=int, default=4, help="timed calls of a run, in steps of 200,000")
    parser.add_argument("--millions", type=float, default=10.0, help="calls of the large run, in millions")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="end the large run after so long")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--hold", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args()
    load_before = os.getloadavg()
    parts = measured(options)
    report = {
        "machine": {**machine(PACKAGES), "load_before": load_before, "load_after": os.getloadavg()},
        **parts,
        "missed": missed(parts),
    }
    print(text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if options.hold and report["missed"] else 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for: each as the figures' words and numbers."""
    only = options.only.split(",")
    if unknown := set(only) - set(PARTS):
        raise SystemExit(f"--only {options.only}: no part is called {', '.join(sorted(unknown))}; there are {PARTS}")
    parts: dict[str, Any] = {}
    if "kernel" in only:
        for name, features in (("kernel", HEADLINE), ("calm", CALM)):
            rows = [sim_kernel.measure(count, features, options.steps, options.runs) for count in CANDIDATES]
            parts[name] = [_told(row) for row in rows]
    if "features" in only:
        rows = [sim_kernel.measure(300, features, options.steps, options.runs) for features in (HEADLINE, *OTHERS)]
        parts["features"] = [_told(row) for row in rows]
    if "linear" in only:
        parts["linear"] = sim_kernel.linear(30, (1_000_000, 2_000_000, 4_000_000, 8_000_000))
    if "large" in only:
        calls = round(options.millions * 1e6)
        phases = sim_apart.large(SITES, TENANTS, calls, options.timeout_s)
        parts["large"] = {"sites": SITES, "tenants": TENANTS, "calls": calls, "phases": phases}
    if "peers" in only:
        peers = [sim_peers.measure(name, SERVERS, LOAD, calls) for name, calls in PEERS.items()]
        parts["peers"] = {"servers": SERVERS, "load": LOAD, "rows": [_peer(row) for row in peers]}
    if "processes" in only:
        turns = [sim_apart.side_by_side(count, 30, 2_000_000) for _ in range(options.runs) for count in (1, 2)]
        sides = [max((side for side in turns if side.processes == count), key=_per_s) for count in (1, 2)]
        parts["processes"] = [{**asdict(side), "per_s": round(side.per_s)} for side in sides]
    return parts


def _per_s(side: sim_apart.Side) -> float:
    return side.per_s


def _told(row: Rate) -> dict[str, Any]:
    return {**asdict(row), "of_bare": round(row.of_bare, 3)}


def _peer(row: sim_peers.Peer | str) -> dict[str, Any]:
    return {"fault": row} if isinstance(row, str) else {**asdict(row), "per_s": round(row.per_s)}


def missed(parts: dict[str, Any]) -> list[str]:
    """Return the goals that were not reached, in words."""
    words = []
    for row in parts.get("kernel", ()):
        goal = PER_S_GOAL[row["candidates"]]
        if row["best_cpu"] < goal:
            words.append(f"{row['candidates']} candidates: {row['best_cpu']:,} calls/s, goal {goal:,}")
        if row["of_bare"] < OF_BARE_GOAL:
            words.append(
                f"{row['candidates']} candidates: {row['of_bare']:.0%} of the bare kernel, goal {OF_BARE_GOAL:.0%}"
            )
    if "large" in parts:
        words += _large_missed(parts["large"]["phases"])
    return words


def _large_missed(phases: dict[str, dict[str, float]]) -> Sequence[str]:
    if "of them" not in phases:
        return ["large run: not done in time"]
    words = []
    took_s = sum(phases[name]["wall_s"] for name in LARGE_PHASES if name in phases)
    peak_mb = max(phase["peak_mb"] for phase in phases.values())
    if took_s > LARGE_GOAL_S:
        words.append(f"large run: {took_s:.0f} s, goal {LARGE_GOAL_S:.0f} s")
    if peak_mb > LARGE_GOAL_MB:
        words.append(f"large run: peak of {peak_mb:,.0f} MB, goal {LARGE_GOAL_MB:,.0f} MB")
    return words


if __name__ == "__main__":
    sys.exit(main())

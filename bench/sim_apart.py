"""What is timed in processes of their own: a large run with its peak of memory, and replications side by side.

`python bench/sim_apart.py --sites 300 --tenants 100 --calls 10000000` prints a line of JSON after each phase.
"""

import argparse
import json
import multiprocessing as mp
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the root had to come first

from bench.sim_worlds import HEADLINE, continents, many_candidates, part_of  # noqa: E402
from bench.timing import Watch, peak_mb  # noqa: E402
from infercast.sim.model import Ended  # noqa: E402
from infercast.sim.results import summarise  # noqa: E402
from infercast.sim.simulate import simulate  # noqa: E402

FEW = 1_000
"""Calls of a run that only has the kernel loaded."""


@dataclass(frozen=True)
class Side:
    """Replications in one process each, at once: calls a second of all together, by the clock."""

    processes: int
    calls: int
    wall_s: float

    @property
    def per_s(self) -> float:
        """All calls over the time until the last process was done."""
        return self.processes * self.calls / self.wall_s


def large(sites: int, tenants: int, calls: int, timeout_s: float) -> dict[str, Any]:
    """Run a large world in a fresh process. Returns `{phase: {"cpu_s", "wall_s", "peak_mb", ...}}`, as far as it came."""
    command = [sys.executable, __file__, "--sites", str(sites), "--tenants", str(tenants), "--calls", str(calls)]
    try:
        told = subprocess.run(command, check=True, timeout=timeout_s, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.TimeoutExpired as end:
        told = bytes(end.stdout or b"").decode()
    lines = [json.loads(line) for line in told.splitlines()]
    return {line.pop("phase"): line for line in lines}


def main() -> None:
    """Make a large world, load the kernel, run it, gather the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sites", "tenants", "calls"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    world = _phase("calls drawn", lambda: continents(options.sites, options.tenants, options.calls))
    _phase("kernel loaded", lambda: simulate(part_of(world, FEW)))
    run = _phase("run", lambda: simulate(world))
    came = np.bincount(run.ended, minlength=len(Ended)) / len(run)
    ended = {Ended(at).name.lower(): round(float(share), 4) for at, share in enumerate(came) if share}
    _say("of them", Watch(), **ended, tries=round(float(run.attempts.mean()), 3), span_s=round(run.span_us / 1e6, 1))
    _phase("summary", lambda: summarise(run))


def _phase(name: str, work: Callable[[], Any]) -> Any:
    watch = Watch()
    made = work()
    _say(name, watch)
    return made


def _say(name: str, watch: Watch, **more: float) -> None:
    took = watch.took()
    line = {"phase": name, "cpu_s": round(took.cpu_s, 3), "wall_s": round(took.wall_s, 3), "peak_mb": round(peak_mb())}
    print(json.dumps({**line, **more}), flush=True)


def side_by_side(processes: int, candidates: int, calls: int) -> Side:
    """Time replications that begin at once, each with a seed of its own, in so many processes."""
    context = mp.get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    workers = [
        context.Process(target=_replicate, args=(there, candidates, calls, seed), daemon=True)
        for seed, (_, there) in enumerate(pipes, 1)
    ]
    for worker in workers:
        worker.start()
    heres = [here for here, _ in pipes]
    for here in heres:
        here.recv()
    start_s = time.perf_counter()
    for here in heres:
        here.send("go")
    for here in heres:
        here.recv()
    wall_s = time.perf_counter() - start_s
    for worker in workers:
        worker.join()
    return Side(processes, calls, wall_s)


def _replicate(pipe: Connection, candidates: int, calls: int, seed: int) -> None:
    world = many_candidates(candidates, calls, HEADLINE, seed)
    simulate(part_of(world, FEW))
    pipe.send("ready")
    pipe.recv()
    simulate(world)
    pipe.send("done")


if __name__ == "__main__":
    main()

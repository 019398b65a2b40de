"""The simulator against queueing theory at twenty million calls: how far its mean waits are off, with their intervals.

`python bench/queues.py --calls 20000000` prints a table; 1 where a mean lies outside its 99.9 % interval or is 1 % off.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the root had to come first
import numpy.typing as npt  # noqa: E402

from bench.timing import Took  # noqa: E402
from infercast.sim.model import Ended, Run, Truth, World  # noqa: E402
from infercast.sim.simulate import simulate  # noqa: E402
from tests.sim.queueing import (  # noqa: E402
    Class,
    estimate,
    moments_us,
    queue,
    wait_mg1_us,
    wait_mmc_us,
    waits_cobham_us,
)

ERROR_MAX = 0.01
MEAN_US = 4_000
EXPONENTIAL = Truth(MEAN_US, MEAN_US, "exponential")
MG1 = {
    "M/D/1": Truth(MEAN_US, MEAN_US, "constant"),
    "M/G/1, lognormal": Truth(3_000, 9_000),
    "M/G/1, two peaks": Truth(2_000, 20_000, "empirical", (1_000, 2_000, 2_000, 3_000, 20_000)),
}
LOAD = 0.7
PRIORITIES = (Class(0, 0.5, 0.3), Class(1, 0.2, 3.0), Class(3, 0.3, 1.0))


@dataclass(frozen=True)
class Row:
    """A mean wait and the formula's; `margin` is half its 99.9 % interval as a share of the formula's."""

    queue: str
    calls: int
    mean_us: float
    expected_us: float
    error: float
    margin: float
    within: bool
    cpu_s: float


def main() -> int:
    """Run the queues one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000_000, help="calls of each queue")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", help="queues whose name begins so")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    simulate(queue(EXPONENTIAL, 1, LOAD, 100))  # the kernel is loaded here
    rows = []
    print("| queue | calls | mean wait µs | by the formula µs | off by | 99.9 % interval | CPU s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for row in measured(options.calls, options.seed, options.only or ""):
        rows.append(row)
        print(text(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.within and abs(row.error) < ERROR_MAX for row in rows) else 1


def measured(calls: int, seed: int, only: str) -> Iterator[Row]:
    """Run each queue and compare."""
    for servers, load in ((1, LOAD), (4, LOAD), (16, 0.8), (64, 0.8)):
        name = f"M/M/{servers}, load {load}"
        if name.startswith(only):
            world = queue(EXPONENTIAL, servers, load, calls, seed)
            yield from compared((name,), world, (wait_mmc_us(servers, load, MEAN_US),))
    for shown, truth in MG1.items():
        name = f"{shown}, load {LOAD}"
        if name.startswith(only):
            yield from compared((name,), queue(truth, 1, LOAD, calls, seed), (wait_mg1_us(LOAD, *moments_us(truth)),))
    names = tuple(f"M/G/1, priority {each.priority}, load {LOAD} in all" for each in PRIORITIES)
    if names[0].startswith(only):
        truth = MG1["M/G/1, lognormal"]
        yield from compared(names, queue(truth, 1, LOAD, calls, seed, PRIORITIES), cobham(truth))


def cobham(truth: Truth) -> list[float]:
    """Return the mean wait of each of PRIORITIES."""
    mean_us, second_us2 = moments_us(truth)
    total = sum(each.share * each.work for each in PRIORITIES)
    return waits_cobham_us(
        [LOAD * each.share * each.work / total for each in PRIORITIES],
        [mean_us * each.work for each in PRIORITIES],
        [second_us2 * each.work**2 for each in PRIORITIES],
    )


def compared(names: Sequence[str], world: World, expected_us: Sequence[float]) -> Iterator[Row]:
    """Run a world; compare the waits of its kinds of calls, one row each."""
    runs: list[Run] = []
    took = Took.of(lambda: runs.append(simulate(world)))
    run = runs[0]
    if not (run.ended == Ended.ANSWERED).all():
        raise AssertionError(f"{names[0]}: some calls were not answered; the formula says nothing of such a queue")
    for kind, (name, wait_us) in enumerate(zip(names, expected_us, strict=True)):
        yield row_of(name, run.wait_us[world.calls.kind == kind], wait_us, took.cpu_s)


def row_of(name: str, wait_us: npt.NDArray[np.int64], expected_us: float, cpu_s: float) -> Row:
    """Compare waits with the formula."""
    found = estimate(wait_us)
    margin = found.margin / expected_us
    error = found.error(expected_us)
    return Row(name, len(wait_us), found.mean, expected_us, error, margin, found.holds(expected_us), cpu_s)


def text(row: Row) -> str:
    """Return the row as Markdown."""
    cells = (
        row.queue,
        f"{row.calls:,}",
        f"{row.mean_us:,.2f}",
        f"{row.expected_us:,.2f}",
        f"{row.error:+.3%}",
        f"± {row.margin:.3%}{'' if row.within else ', outside'}",
        f"{row.cpu_s:.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())

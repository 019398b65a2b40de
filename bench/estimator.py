"""What the estimator of times is worth: `python bench/estimator.py [--seeds N] [--json FILE]`.

Seeded draws from known distributions, so that the truth is known. Printed: how many of 10,000 stationary calls were
under each foretold quantile, and how often a change of level was seen where there was none; how far the p95 is off
after a site slows or quickens three-fold; the same for the calibration of whole calls; time per hearing and reading.
`own` is the share within 15% of someone who takes the p95 of exactly those 200 new calls and knows that all are new:
what no estimator without a prior does much better than.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infercast.policies import calibration, estimator
from infercast.policies.calibration import Calibration
from infercast.policies.estimator import Times

Sample = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Sample]

PRIOR_US = (5_000, 10_000)
STATIONARY_CALLS = 10_000
BEFORE_CALLS = 2_000
STEPS = (50, 50, 100)
AFTER = (50, 100, 200)
NEAR = 0.15
TRUTH_CALLS = 200_000


def lognormal(sigma: float) -> Draw:
    """Return draws around 5 ms with this standard deviation of the logarithm."""
    return lambda rng, count: 5_000 * np.exp(sigma * rng.standard_normal(count))


def gamma(shape: float) -> Draw:
    """Return gamma draws of mean 5 ms."""
    return lambda rng, count: rng.gamma(shape, 5_000 / shape, count)


def hit_or_miss(hits: float, ratio: float) -> Draw:
    """Return draws of two modes: a share of hits, and misses that take `ratio` times as long."""
    return lambda rng, count: lognormal(0.15)(rng, count) * np.where(rng.random(count) < hits, 1, ratio)


def long_tail(share: float) -> Draw:
    """Return draws of which a share takes 3 to 5 times as long."""
    return lambda rng, count: (
        lognormal(0.2)(rng, count) * np.where(rng.random(count) < share, rng.uniform(3, 5, count), 1)
    )


def scaled(draw: Draw, by: float) -> Draw:
    """Return draws that take `by` times as long."""
    return lambda rng, count: by * draw(rng, count)


def three(draw: Draw) -> Draw:
    """Return sums of three independent draws."""
    return lambda rng, count: draw(rng, count) + draw(rng, count) + draw(rng, count)


DRAWS: dict[str, Draw] = {
    "lognormal 0.1": lognormal(0.1),
    "lognormal 0.3": lognormal(0.3),
    "lognormal 0.5": lognormal(0.5),
    "gamma 4": gamma(4),
    "gamma 16": gamma(16),
    "80% hits, misses x8": hit_or_miss(0.8, 8),
    "60% hits, misses x4": hit_or_miss(0.6, 4),
    "30% hits, misses x10": hit_or_miss(0.3, 10),
    "2% x3-5": long_tail(0.02),
    "3% x3-5": long_tail(0.03),
}
CHANGES: dict[str, tuple[Callable[[Draw], Draw], Callable[[Draw], Draw]]] = {
    "3x slower": (lambda draw: draw, lambda draw: scaled(draw, 3.0)),
    "sum of 3": (lambda draw: draw, three),
    "3x quicker": (lambda draw: draw, lambda draw: scaled(draw, 1 / 3)),
    "one of sum": (three, lambda draw: draw),
}
SURPRISES: dict[str, Draw] = {
    "normal": lambda rng, count: 608 * rng.standard_normal(count),
    "lognormal 0.5": lambda rng, count: 785 * (np.exp(0.5 * rng.standard_normal(count)) - 1),
    "exponential": lambda rng, count: 434 * (rng.exponential(1, count) - 0.693),
    "normal, spread 10x too wide": lambda rng, count: 60.8 * rng.standard_normal(count),
    "normal, spread 10x too narrow": lambda rng, count: 6080 * rng.standard_normal(count),
    "Student t, 3 degrees": lambda rng, count: 500 * rng.standard_t(3, count),
}


def together(draw: Draw, rho: float) -> Draw:
    """Return a draw's values in an order in which neighbours are alike: ranks of a first-order autoregression."""

    def drawn(rng: np.random.Generator, count: int) -> Sample:
        level = np.zeros(count)
        noise = rng.standard_normal(count)
        for at in range(1, count):
            level[at] = rho * level[at - 1] + (1 - rho * rho) ** 0.5 * noise[at]
        values: Sample = np.sort(draw(rng, count))[np.argsort(np.argsort(level))]
        return values

    return drawn


def whole(sample: Sample) -> npt.NDArray[np.int64]:
    """Return times as the estimator hears them: whole microseconds."""
    return np.asarray(np.rint(sample), dtype=np.int64)


_observe, _quantiles, _track = estimator.observe, estimator.quantiles, calibration.track


def _hear_all(bins: Any, meta: Any, recent: Any, times_us: Any, foretold_us: Any) -> int:
    changes = 0
    for at in range(times_us.shape[0]):
        p50, p90, p95, p99 = _quantiles(bins, meta, 0)
        foretold_us[at, 0], foretold_us[at, 1], foretold_us[at, 2], foretold_us[at, 3] = p50, p90, p95, p99
        if _observe(bins, meta, recent, 0, times_us[at]):
            changes += 1
    return changes


def _track_all(state: Any, surprises: Any, foretold: Any) -> None:
    for at in range(surprises.shape[0]):
        for k in range(4):
            foretold[at, k] = state[0, calibration.C_Z + k] // calibration.FINE
        _track(state, 0, surprises[at])


if estimator.COMPILED:
    from numba import njit

    _hear_all, _track_all = njit(_hear_all), njit(_track_all)


def hear(times: Times, sample: Sample) -> tuple[npt.NDArray[np.int64], int]:
    """Let one series hear a sample; return what was foretold of each call, int64[n, 4], and how many changes were seen."""
    times_us = whole(sample)
    foretold_us = np.zeros((len(times_us), 4), dtype=np.int64)
    changes = int(_hear_all(times.bins, times.meta, times.recent, times_us, foretold_us))
    return foretold_us, changes


@dataclass(frozen=True, slots=True)
class Stationary:
    """Share under each foretold quantile, in percent, its least and greatest of the runs at p95, and alarms per 10,000 calls."""

    draw: str
    under_percent: tuple[float, ...]
    p95_range_percent: tuple[float, float]
    false_alarms: float


@dataclass(frozen=True, slots=True)
class Changed:
    """After 50, 100 and 200 calls of the new level: percent of runs within 15%, median of the p95's error in percent."""

    draw: str
    change: str
    near_percent: tuple[float, ...]
    error_percent: tuple[float, ...]
    own_percent: float


def stationary(name: str, draw: Draw, seeds: int) -> Stationary:
    """Measure one distribution that does not change."""
    under, alarms = np.zeros((seeds, 4)), 0
    for seed in range(seeds):
        sample = draw(np.random.default_rng(seed), STATIONARY_CALLS)
        foretold_us, changes = hear(Times([PRIOR_US]), sample)
        under[seed] = (whole(sample)[:, None] <= foretold_us).mean(axis=0) * 100
        alarms += changes
    low, high = float(under[:, 2].min()), float(under[:, 2].max())
    return Stationary(
        name, tuple(under.mean(axis=0).round(2).tolist()), (round(low, 2), round(high, 2)), alarms / seeds
    )


def changed(name: str, change: str, seeds: int) -> Changed:
    """Measure one change of level of one distribution."""
    first, then = (side(DRAWS[name]) for side in CHANGES[change])
    truth_us = float(np.quantile(then(np.random.default_rng(1), TRUTH_CALLS), 0.95))
    errors, own = np.zeros((seeds, len(AFTER))), 0
    for seed in range(seeds):
        rng = np.random.default_rng(10_000 + seed)
        times = Times([PRIOR_US])
        hear(times, first(rng, BEFORE_CALLS))
        fresh = then(rng, AFTER[-1])
        start = 0
        for index, calls in enumerate(STEPS):
            hear(times, fresh[start : start + calls])
            start += calls
            errors[seed, index] = times.quantiles_us(0)[2] / truth_us - 1
        own += abs(float(np.quantile(fresh, 0.95)) / truth_us - 1) <= NEAR
    near = (np.abs(errors) <= NEAR).mean(axis=0) * 100
    return Changed(
        name,
        change,
        tuple(near.round(1).tolist()),
        tuple((np.median(errors, axis=0) * 100).round(1).tolist()),
        round(100 * own / seeds, 1),
    )


def calibrated(name: str, seeds: int) -> dict[str, Any]:
    """Measure the calibration: coverage over stationary calls, then at p95 200 calls after u doubles, or halves again."""
    draw = SURPRISES[name]
    under, after = np.zeros((seeds, 4)), np.zeros((seeds, 2))
    truth = draw(np.random.default_rng(1), TRUTH_CALLS)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        known = Calibration(1)
        for sample, column in ((whole(draw(rng, STATIONARY_CALLS)), None), (whole(2 * draw(rng, 200)), 0)):
            foretold = np.zeros((len(sample), 4), dtype=np.int64)
            _track_all(known.state, sample, foretold)
            if column is None:
                under[seed] = (sample[:, None] <= np.sort(foretold, axis=1)).mean(axis=0) * 100
        after[seed, 0] = (2 * truth <= known.z_milli(0)[2]).mean() * 100
        for sample in (whole(2 * draw(rng, 2_000)), whole(draw(rng, 200))):
            _track_all(known.state, sample, np.zeros((len(sample), 4), dtype=np.int64))
        after[seed, 1] = (truth <= known.z_milli(0)[2]).mean() * 100
    return {
        "draw": name,
        "under_percent": under.mean(axis=0).round(2).tolist(),
        "p95_range_percent": [round(float(under[:, 2].min()), 2), round(float(under[:, 2].max()), 2)],
        "after_doubling_percent": round(float(after[:, 0].mean()), 1),
        "after_halving_percent": round(float(after[:, 1].mean()), 1),
    }


def both(seeds: int) -> dict[str, Any]:
    """Measure the two together over a three-fold slow-down: error of the calibrated p95 after 50, 100 and 200 calls, in percent."""
    truth_us = float(np.quantile(3 * lognormal(0.3)(np.random.default_rng(1), TRUTH_CALLS), 0.95))
    found: dict[str, Any] = {}
    for steps_back in (True, False):
        errors = np.zeros((seeds, len(AFTER)))
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            sample = whole(np.concatenate([lognormal(0.3)(rng, BEFORE_CALLS), 3 * lognormal(0.3)(rng, AFTER[-1])]))
            times, known = Times([PRIOR_US]), Calibration(1)
            for at, time_us in enumerate(sample.tolist(), start=1):
                p50_us, _, p95_us, _ = times.quantiles_us(0)
                spread_us = max(1, p95_us - p50_us)
                known.hear(0, 1000 * (time_us - p50_us) // spread_us)
                if times.hear(0, time_us) and steps_back:
                    known.step_back(0)
                if at - BEFORE_CALLS in AFTER:
                    p50_us, _, p95_us, _ = times.quantiles_us(0)
                    foretold_us = p50_us + known.z_milli(0)[2] * (p95_us - p50_us) // 1000
                    errors[seed, AFTER.index(at - BEFORE_CALLS)] = foretold_us / truth_us - 1
        name = "with step_back" if steps_back else "without"
        found[name] = {
            "near_percent": ((np.abs(errors) <= NEAR).mean(axis=0) * 100).round(1).tolist(),
            "error_percent": (np.median(errors, axis=0) * 100).round(1).tolist(),
        }
    return found


def speed() -> dict[str, float]:
    """Return microseconds per hearing and reading through Python, and bytes per series."""
    times, known = Times([PRIOR_US]), Calibration(1)
    sample = whole(lognormal(0.3)(np.random.default_rng(0), 20_000)).tolist()
    hear(times, lognormal(0.3)(np.random.default_rng(0), 100))
    times.hear(0, 5_000)
    times.quantiles_us(0)
    known.hear(0, 0)
    known.z_milli(0)
    found: dict[str, float] = {}

    def calibrate(time_us: int) -> None:
        known.hear(0, time_us - 5_000)

    acts: dict[str, Callable[[int], object]] = {
        "times_hear_us": lambda time_us: times.hear(0, time_us),
        "times_read_us": lambda _: times.quantiles_us(0),
        "calibration_hear_us": calibrate,
        "calibration_read_us": lambda _: known.z_milli(0),
    }
    for name, act in acts.items():
        rounds = []
        for start in range(0, len(sample), 1_000):
            start_s = time.perf_counter()
            for value in sample[start : start + 1_000]:
                act(value)
            rounds.append((time.perf_counter() - start_s) / 1_000 * 1e6)
        found[name] = round(float(np.median(rounds)), 2)
    found["bytes_per_series"] = times.bins.nbytes + times.meta.nbytes + times.recent.nbytes
    return found


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    found = {"cpu": model, "python": platform.python_version(), "numpy": np.__version__, "numba": "none"}
    if estimator.COMPILED:
        import numba

        found["numba"] = numba.__version__
    return found


def show(result: dict[str, Any]) -> None:
    """Print a result as Markdown tables, as they stand in docs/estimates.md."""
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()), f"; {result['seeds']} runs each\n")
    print(
        "| stationary | under p50 | p90 | p95 | p99 | p95, least to most | false alarms per 10,000 |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for row in result["stationary"]:
        shares = " | ".join(f"{share:.1f}" for share in row["under_percent"])
        low, high = row["p95_range_percent"]
        print(f"| {row['draw']} | {shares} | {low:.1f} to {high:.1f} | {row['false_alarms']:.2f} |")
    print(
        "\n| p95 within 15% after 50 / 100 / 200 calls | " + " | ".join(CHANGES) + " |\n|---|" + "--:|" * len(CHANGES)
    )
    for name in DRAWS:
        cells = []
        for row in (row for row in result["changed"] if row["draw"] == name):
            shares = " / ".join(f"{share:.0f}" for share in row["near_percent"])
            cells.append(f"{shares} ({row['error_percent'][2]:+.0f}; own {row['own_percent']:.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| calibration | under p50 | p90 | p95 | p99 | p95, least to most | p95 at 200 after x2 | after /2 |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in result["calibration"]:
        shares = " | ".join(f"{share:.1f}" for share in row["under_percent"])
        low, high = row["p95_range_percent"]
        after = f"{row['after_doubling_percent']:.1f} | {row['after_halving_percent']:.1f}"
        print(f"| {row['draw']} | {shares} | {low:.1f} to {high:.1f} | {after} |")
    print(
        "\n| calibrated p95, lognormal 0.3, 3x slower | within 15% after 50 / 100 / 200 | median error, % |\n|---|--:|--:|"
    )
    for name, row in result["both"].items():
        print(
            f"| {name} | {' / '.join(map(str, row['near_percent']))} | {' / '.join(map(str, row['error_percent']))} |"
        )
    print(f"Speed: {result['speed']}")


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds = options.seeds
    rows = [stationary(name, draw, seeds) for name, draw in DRAWS.items()]
    rows.append(stationary("lognormal 0.3, rho 0.5", together(DRAWS["lognormal 0.3"], 0.5), max(1, seeds // 10)))
    rows.append(stationary("lognormal 0.3, rho 0.9", together(DRAWS["lognormal 0.3"], 0.9), max(1, seeds // 10)))
    result = {
        "machine": machine(),
        "seeds": seeds,
        "stationary": [asdict(row) for row in rows],
        "changed": [asdict(changed(name, change, seeds)) for name in DRAWS for change in CHANGES],
        "calibration": [calibrated(name, seeds) for name in SURPRISES],
        "both": both(max(1, seeds // 4)),
        "speed": speed(),
    }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

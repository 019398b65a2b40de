"""Routed calls a second: the simulator's loop alone, beside the least that any simulator does."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bench import bare
from bench.sim_worlds import Features, many_candidates, served_per_us, servers_of
from bench.timing import Took, Watch
from infercast.sim.model import Ended, Run, World
from infercast.sim.simulate import STEP_CALLS, simulate


@dataclass(frozen=True)
class Rate:
    """What some runs of one world gave. Rates are calls a second, `cpu` by the process's time, `wall` by the clock's."""

    what: str
    candidates: int
    calls: int
    best_cpu: float
    median_cpu: float
    best_wall: float
    median_wall: float
    bare_best_cpu: float
    bare_median_cpu: float
    answered: float
    """Share of the calls that were answered."""
    tries: float
    """Tries per call."""
    waited: float
    """Share of the calls that stood in a queue."""

    @property
    def of_bare(self) -> float:
        """The best rate as a share of the bare kernel's best."""
        return self.best_cpu / self.bare_best_cpu


def measure(candidates: int, features: Features, steps: int, runs: int) -> Rate:
    """Run a world and the bare kernel in turns; the first STEP_CALLS of each run, when all is idle, are not timed."""
    calls = (steps + 1) * STEP_CALLS
    world = many_candidates(candidates, calls, features)
    ours, bares = [], []
    for _ in range(runs):
        run, took = loop(world)
        ours.append(took)
        bares.append(bare_loop(world))
    timed = calls - STEP_CALLS
    return Rate(
        what=features.words(),
        candidates=candidates,
        calls=timed,
        **_rates("cpu", timed, [took.cpu_s for took in ours]),
        **_rates("wall", timed, [took.wall_s for took in ours]),
        **_rates("cpu", calls, [took.cpu_s for took in bares], "bare_"),
        answered=float((run.ended == Ended.ANSWERED).mean()),
        tries=float(run.attempts.mean()),
        waited=float((run.wait_us > 0).mean()),
    )


def _rates(clock: str, calls: int, took_s: Sequence[float], prefix: str = "") -> dict[str, float]:
    return {
        f"{prefix}best_{clock}": round(calls / min(took_s)),
        f"{prefix}median_{clock}": round(calls / median(took_s)),
    }


def loop(world: World) -> tuple[Run, Took]:
    """Return a run, and the time between its first STEP_CALLS calls and its last: neither building nor gathering is in it."""
    watches: list[Watch] = []
    took: list[Took] = []

    def progress(entered: int, total: int) -> None:
        if not watches:
            watches.append(Watch())
        if entered == total:
            took.append(watches[0].took())

    run = simulate(world, progress)
    return run, took[-1]


def bare_loop(world: World) -> Took:
    """Time the bare kernel on the same arrivals and as many servers, with services as long in the mean."""
    servers, at_us = servers_of(world.fleet), world.calls.at_us
    mean_us = servers.sum() / served_per_us(world.fleet).sum()
    service_us = np.random.default_rng(1).exponential(mean_us, len(at_us)).astype(np.int64)
    heap = bare.room(servers)
    bare.run(at_us[:1], service_us, servers, heap)  # compiled or loaded here
    return Took.of(lambda: bare.run(at_us, service_us, servers, heap))


def linear(candidates: int, sizes: Sequence[int], runs: int = 2) -> list[dict[str, float]]:
    """Return what a call took in the best of some runs of so many calls, in nanoseconds of processor time.

    `{"calls", "loop_ns", "whole_ns"}` each: in the loop alone, as `loop` has it, and with building and gathering.
    """
    rows = []
    for calls in sizes:
        world = many_candidates(candidates, calls, Features())
        loops: list[Took] = []
        wholes = [Took.of(lambda: loops.append(loop(world)[1])) for _ in range(runs)]  # noqa: B023 - called at once
        rows.append(
            {
                "calls": calls,
                "loop_ns": round(min(took.cpu_s for took in loops) / (calls - STEP_CALLS) * 1e9, 1),
                "whole_ns": round(min(took.cpu_s for took in wholes) / calls * 1e9, 1),
            }
        )
    return rows

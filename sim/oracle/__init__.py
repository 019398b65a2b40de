"""The oracle: what a run does, once more in plain Python, slow and plainly right.

It decides by the live router's own `Engine`, `Snapshot` and `Estimates`, one of each per site, and goes from event to
event over a heap. `kernel.py` does the same compiled, and a test holds the two equal, call by call.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from ..model import Calls, Ended, Ints, Run, World
from .series import bin_us_of, spread_over, stretches
from .simulation import Simulation

__all__ = ["simulate"]


def simulate(
    world: World, progress: Callable[[int, int], None] | None = None, stop: Callable[[], bool] | None = None
) -> Run:
    """Run a world to the end of its last call.

    `progress(ended, calls)` is called now and then. Once `stop()` is true no further call is sent, and the run is over
    when those under way have ended.
    """
    simulation = Simulation(world)
    simulation.run(progress, stop)
    return _run_of(simulation)


def _run_of(simulation: Simulation) -> Run:
    world, books, came = simulation.world, simulation.books, simulation.books.came
    _conserved(simulation)
    span_us = int((world.calls.at_us[:came] + books.latency_us[:came]).max(initial=0))
    bin_us = bin_us_of(int(books.enter_us.max(initial=0)), world.bins)
    busy_us, replica_us = _series(simulation, bin_us, span_us)
    return Run(
        world=replace(world, calls=_first(world.calls, came)),
        ended=books.ended[:came],
        rule=books.rule[:came],
        deployment=books.deployment[:came],
        entry=books.entry[:came],
        latency_us=books.latency_us[:came],
        wait_us=books.wait_us[:came],
        cost_nusd=books.cost_nusd[:came],
        egress_nusd=books.egress_nusd[:came],
        attempts=books.attempts[:came],
        hedged=books.hedged[:came],
        span_us=span_us,
        busy_us=busy_us,
        bin_us=bin_us,
        replica_us=replica_us,
        joules=_joules(simulation),
        stopped_early=came < len(world.calls),
    )


def _first(calls: Calls, came: int) -> Calls:
    columns = {column.name: getattr(calls, column.name) for column in fields(calls) if column.name != "kinds"}
    return Calls(kinds=calls.kinds, **{name: column[:came] for name, column in columns.items()})


def _conserved(simulation: Simulation) -> None:
    """Hold that nothing is left over, and nothing counted twice."""
    books, came = simulation.books, simulation.books.came
    assert books.over == came
    assert (books.ended[:came] != Ended.RUNNING).all()
    assert (books.ended[came:] == Ended.RUNNING).all()
    assert not any(place.calls for place in simulation.places)
    assert simulation.limits.settled()
    assert not any(station.load for station in simulation.stations.all)
    assert ((books.deployment >= 0) == (books.ended == Ended.ANSWERED)).all()
    assert (books.egress_nusd <= books.cost_nusd).all()


def _series(simulation: Simulation, bin_us: int, span_us: int) -> tuple[Ints, Ints]:
    bins, stations = simulation.world.bins, simulation.stations.all
    busy_us = np.zeros((len(stations), bins), dtype=np.int64)
    replica_us = np.zeros((len(stations), bins), dtype=np.int64)
    for station in stations:
        pieces = [(from_us, until_us, 1) for from_us, until_us in station.busy]
        busy_us[station.index] = spread_over(pieces, bins, bin_us)
        stood = stretches(simulation.stood[station.index], span_us)
        replica_us[station.index] = spread_over(stood, bins, bin_us)
    return busy_us, replica_us


def _joules(simulation: Simulation) -> float:
    joules = 0.0
    for station in simulation.stations.all:
        busy_us = sum(until_us - from_us for from_us, until_us in station.busy)
        joules += simulation.world.watts.get(station.card.site, 0.0) * busy_us / station.card.concurrency / 1_000_000
    return joules

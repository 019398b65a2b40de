"""The one place that says which simulator runs a world."""

from collections.abc import Callable

import numpy as np

from infercast.policies.fleet import Fleet

from .model import Calls, Run, World
from .simulate import simulate as _simulate

Progress = Callable[[int, int], None]
"""Told now and then how many calls are done with, and how many there are."""
Stop = Callable[[], bool]
"""Asked now and then whether to end early."""


def simulate(world: World, progress: Progress | None = None, stop: Stop | None = None) -> Run:
    """Return how every call of a world ended. Equal worlds give equal runs, byte for byte."""
    return _simulate(world, progress, stop)


def make_ready(fleet: Fleet) -> None:
    """Have the simulator compiled: about a minute on a machine that has not run this version yet, else a moment.

    Processes that are started afterwards find it compiled.
    """
    nothing = np.zeros(0, dtype=np.int64)
    calls = Calls((), nothing, nothing.astype(np.int32), nothing, nothing, nothing, nothing)
    _simulate(World(fleet, {}, calls))

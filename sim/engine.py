"""The one place that says which simulator runs a world."""

from collections.abc import Callable

from .model import Run, World
from .simulate import simulate as _simulate

Progress = Callable[[int, int], None]
"""Told now and then how many calls are done with, and how many there are."""
Stop = Callable[[], bool]
"""Asked now and then whether to end early."""


def simulate(world: World, progress: Progress | None = None, stop: Stop | None = None) -> Run:
    """Return how every call of a world ended. Equal worlds give equal runs, byte for byte."""
    return _simulate(world, progress, stop)

"""The calls of a workload, made from its sources: the same bytes for the same seed, whatever else changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy

from .model import Calls, Ints
from .traffic import TrafficChange
from .workload_file import Workload


@dataclass(frozen=True, slots=True)
class Drawn:
    """Calls, and each one's luck: int64[n] below 2**60. A call keeps its luck whatever calls come or go beside it."""

    calls: Calls
    luck: Ints


def calls_of(
    workload: Workload,
    fleet: Fleet,
    policies: Mapping[str, Policy],
    seed: int,
    base_folder: Path,
    changes: Sequence[TrafficChange] = (),
    starts_at_s: int = 0,
) -> Calls:
    """Return all calls of a workload, in order of time. `base_folder` is where paths of traces begin.

    `starts_at_s` is what the clock shows at time 0, for day curves and hours. Raises BadInput for a trace that cannot be
    read, and for more than CALLS_MAX calls.
    """
    return drawn(workload, fleet, policies, seed, base_folder, changes, starts_at_s).calls


def drawn(
    workload: Workload,
    fleet: Fleet,
    policies: Mapping[str, Policy],
    seed: int,
    base_folder: Path,
    changes: Sequence[TrafficChange] = (),
    starts_at_s: int = 0,
) -> Drawn:
    """Return all calls of a workload as `calls_of` does, with their luck."""
    raise NotImplementedError

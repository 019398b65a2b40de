"""Holding the simulator against measured runs: simulate the arrivals of each with the profile of the one before, and compare."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy

from .calibration_world import live_outcomes, simulated_outcomes, world_of
from .engine import simulate
from .measured import Profile, Rerun, one_after_the_other, profile_of
from .side_by_side import Line, figures_of, side_by_side

SEEDS = 20
"""Simulated runs of each rerun's arrivals: what luck makes of them is averaged out."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. `profile` is that of all runs that gave one; `held_out` says that none of these was compared with."""

    lines: tuple[Line, ...]
    profile: Profile
    held_out: bool
    told_usd: float
    real_usd: float

    @property
    def passes(self) -> bool:
        """Whether every figure is near enough."""
        return all(line.passes for line in self.lines)


def compare(fleet: Fleet, policies: Mapping[str, Policy], reruns: Sequence[Rerun], seeds: int = SEEDS) -> Comparison:
    """Compare the simulator with some reruns: every other one, each simulated with the profile of the one before it.

    So no rerun gives the times that it is compared with, and what drifts slowly is in both. The calls of the one before are
    simulated first, for what they teach. A single rerun is held against its own profile.
    """
    held_out = len(reruns) > 1
    measured = reruns[::2] if held_out else reruns
    compared = reruns[1::2] if held_out else reruns
    simulated = []
    for number, (before, rerun) in enumerate(zip(measured, compared, strict=False)):
        whole, profile = one_after_the_other(before, rerun), profile_of(fleet, [before])
        for seed in range(number * seeds, (number + 1) * seeds):
            run = simulate(world_of(fleet, policies, profile, whole, seed))
            simulated.append(figures_of(simulated_outcomes(run, whole, profile)[len(before.calls) :]))
    outcomes = [live_outcomes(fleet, rerun) for rerun in reruns]
    live = [figures_of(each) for each in outcomes]
    calls = Counter(outcome.tenant for outcome in outcomes[0])
    lines = side_by_side(live[1::2] if held_out else live, simulated, live, calls)
    told_nusd = sum(call.told_nusd for rerun in reruns for call in rerun.calls)
    real_nusd = sum(outcome.cost_nusd for each in outcomes for outcome in each)
    return Comparison(tuple(lines), profile_of(fleet, measured), held_out, told_nusd / 1e9, real_nusd / 1e9)

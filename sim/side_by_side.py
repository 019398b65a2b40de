"""Live and simulated side by side: what is compared, how near it has to be, and how near it was.

Figures are of one rerun each; what is compared are their means over reruns. A figure passes that is within its goal, or
within 1.5 times the standard deviation of the live reruns where that is more: nearer than the system is to itself, no model can be held to.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import numpy as np

from infercast.policies.units import ms, usd

from .calibration_world import Outcome

SPREADS = 1.5
CALLS_MIN = 20
"""A tenant's latencies and costs at a site are compared where so many of its calls ran there in a rerun, in the mean."""
Unit = Literal["share", "ms", "usd", "calls"]
Place = tuple[str, str]
Figures = dict[tuple[str, str, str], float]
"""By tenant, place and measure: the place is a site, or the rule of a refusal, or empty for calls that failed."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: its unit, and its goal, as a share of the live figure (`relative`) or as it stands.

    `least` is the smallest difference that counts as one: whole units of what figures are counted in.
    """

    name: str
    unit: Unit
    goal: float
    relative: bool
    least: float = 0.0


MEASURES = (
    Measure("share", "share", 0.02, relative=False),
    Measure("p50_ms", "ms", 0.10, relative=True),
    Measure("p95_ms", "ms", 0.20, relative=True),
    Measure("cost_usd_per_1000_calls", "usd", 0.03, relative=True, least=1e-6),
    Measure("refused", "calls", 0.0, relative=False),
    Measure("failed", "calls", 0.0, relative=False),
)
MEASURE_BY_NAME = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, live and simulated. `spread` is the live reruns' standard deviation, `allowed` the greater of goal and 1.5 spreads."""

    tenant: str
    place: str
    measure: str
    live: float
    simulated: float
    spread: float
    goal: float

    @property
    def allowed(self) -> float:
        """How far the simulated figure may be off."""
        return max(self.goal, SPREADS * self.spread)

    @property
    def error(self) -> float:
        """How far it is off."""
        return self.simulated - self.live

    @property
    def passes(self) -> bool:
        """Whether it is near enough. Rounding of means is no difference."""
        return abs(self.error) <= self.allowed + 1e-9

    @property
    def in_goal(self) -> bool:
        """Whether it is within the goal itself, however far live reruns are from each other."""
        return abs(self.error) <= self.goal + 1e-9


def figures_of(outcomes: Sequence[Outcome]) -> Figures:
    """Return the figures of one rerun, live or simulated."""
    sent = Counter(outcome.tenant for outcome in outcomes)
    answered: dict[Place, list[Outcome]] = {}
    figures: Figures = {}
    for outcome in outcomes:
        if outcome.ended == "answered":
            answered.setdefault((outcome.tenant, outcome.site), []).append(outcome)
        else:
            place = outcome.rule if outcome.ended == "refused" else ""
            key = (outcome.tenant, place, str(outcome.ended))
            figures[key] = figures.get(key, 0) + 1
    for (tenant, site), there in answered.items():
        p50_ms, p95_ms = np.percentile([ms(outcome.latency_us) for outcome in there], (50, 95)).tolist()
        figures[(tenant, site, "share")] = len(there) / sent[tenant]
        figures[(tenant, site, "p50_ms")] = p50_ms
        figures[(tenant, site, "p95_ms")] = p95_ms
        figures[(tenant, site, "cost_usd_per_1000_calls")] = usd(1000 * sum(o.cost_nusd for o in there)) / len(there)
    return figures


def side_by_side(
    live: Sequence[Figures], simulated: Sequence[Figures], all_live: Sequence[Figures], calls: Mapping[str, int]
) -> list[Line]:
    """Return the lines of a comparison, by tenant and place.

    `live` are the reruns that the simulated ones stand against, `all_live` those whose spread counts (the others too);
    `calls` says how many calls each tenant sends in a rerun. What a rerun has none of is 0 calls of it; a latency or cost that
    it has none of is left out.
    """
    keys = {key for figures in (*live, *simulated) for key in figures}
    lines = []
    for tenant, place in sorted({key[:2] for key in keys}):
        share = max(_mean(each, (tenant, place, "share"), 0.0) for each in (live, simulated))
        for measure in MEASURES:
            key = (tenant, place, measure.name)
            counted = not measure.relative
            if key not in keys or (measure.relative and share * calls[tenant] < CALLS_MIN):
                continue
            missing = 0.0 if counted else None
            found = _values(live, key, missing), _values(simulated, key, missing)
            if all(found):
                mean = fmean(found[0])
                goal = max(measure.least, measure.goal * mean if measure.relative else measure.goal)
                spread = _spread(_values(all_live, key, missing))
                lines.append(Line(tenant, place, measure.name, mean, fmean(found[1]), spread, goal))
    return lines


def _values(runs: Sequence[Figures], key: tuple[str, str, str], missing: float | None) -> list[float]:
    values = (figures.get(key, missing) for figures in runs)
    return [value for value in values if value is not None]


def _mean(runs: Sequence[Figures], key: tuple[str, str, str], missing: float) -> float:
    return fmean(figures.get(key, missing) for figures in runs)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0

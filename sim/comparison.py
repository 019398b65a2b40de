"""Two scenarios side by side: what differs, and how sure that is.

Replications with one seed are a pair: every call has the same luck in both, so that what differs is the scenario. The
interval is Student's for the mean of the paired differences, at 95%. Of twenty measures that did not change, one lies
outside its interval by chance.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .measures import MEASURES
from .student import mean_and_half_width
from .summary import Group, Summary

NOISE = 1e-6
"""A difference smaller than this share of the values is none: a rounding of floats, or nothing that anybody would act on."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure in both scenarios: means over the pairs in which both sides have it.

    `measure` is a name of `MEASURES`, or `refused residency.transit`: calls that ended so for that reason. `difference` is
    after minus before; None where no pair has both. `half_width` is half of its 95% interval; None with fewer than two pairs.
    """

    measure: str
    before: float | None
    after: float | None
    difference: float | None
    half_width: float | None

    @property
    def certain(self) -> bool:
        """Whether the difference can be told from chance: the interval does not hold 0."""
        return self.difference is not None and self.half_width is not None and abs(self.difference) > self.half_width


Differences = tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two scenarios, over all calls, by tenant, by model and by site.

    `stopped` and `tenants_stopped` have one difference per way to end without an answer and its reason.
    """

    before: tuple[Summary, ...]
    after: tuple[Summary, ...]
    overall: Differences
    stopped: Differences
    tenants: Mapping[str, Differences]
    tenants_stopped: Mapping[str, Differences]
    models: Mapping[str, Differences]
    sites: Mapping[str, Differences]

    @property
    def pairs(self) -> int:
        """How many pairs of runs there are."""
        return len(self.before)

    def of(self, measure: str) -> Difference:
        """Return the difference of a measure over all calls. Raises KeyError for a measure that there is not."""
        for each in (*self.overall, *self.stopped):
            if each.measure == measure:
                return each
        raise KeyError(measure)

    def as_json(self) -> dict[str, Any]:
        """Return the differences as values that JSON has; the summaries themselves are left out."""
        parts = ("tenants", "tenants_stopped", "models", "sites")
        return {
            "pairs": self.pairs,
            "seeds": [summary.seed for summary in self.before],
            "overall": [_as_json(each) for each in self.overall],
            "stopped": [_as_json(each) for each in self.stopped],
            **{part: {k: [_as_json(each) for each in v] for k, v in getattr(self, part).items()} for part in parts},
        }


def compare(base: Sequence[Summary], other: Sequence[Summary]) -> Comparison:
    """Return what differs from `base` to `other`, replications paired by their seeds.

    Raises ValueError when there is nothing to compare, or the two were not run with the same seeds, each once.
    """
    before, after = (tuple(sorted(side, key=lambda summary: summary.seed)) for side in (base, other))
    seeds = [summary.seed for summary in before]
    if not seeds:
        raise ValueError("there are no runs to compare")
    if seeds != [summary.seed for summary in after] or len(set(seeds)) != len(seeds):
        raise ValueError("runs are compared in pairs: run both scenarios with the same seeds, each seed once")
    whole = [(first.overall, second.overall) for first, second in zip(before, after, strict=True)]
    tenants = _paired(before, after, "tenants")
    return Comparison(
        before,
        after,
        overall=_measured(whole),
        stopped=_stopped(whole),
        tenants={name: _measured(pairs) for name, pairs in tenants.items()},
        tenants_stopped={name: _stopped(pairs) for name, pairs in tenants.items()},
        models={name: _measured(pairs) for name, pairs in _paired(before, after, "models").items()},
        sites={name: _measured(pairs) for name, pairs in _paired(before, after, "sites").items()},
    )


Pairs = Sequence[tuple[Group | None, Group | None]]


def _paired(before: Sequence[Summary], after: Sequence[Summary], part: str) -> dict[str, Pairs]:
    """Return the groups of both sides by name, in the order in which the names first stand; None where one has none."""
    names = dict.fromkeys(name for summary in (*before, *after) for name in getattr(summary, part))
    return {
        name: [(getattr(b, part).get(name), getattr(a, part).get(name)) for b, a in zip(before, after, strict=True)]
        for name in names
    }


def _measured(pairs: Pairs) -> Differences:
    return tuple(
        _difference(
            measure.name,
            [(None if b is None else measure.of(b), None if a is None else measure.of(a)) for b, a in pairs],
        )
        for measure in MEASURES
    )


def _stopped(pairs: Pairs) -> Differences:
    counted = [tuple(_reasons(group) for group in pair) for pair in pairs]
    reasons = sorted({reason for pair in counted for side in pair for reason in side})
    return tuple(
        _difference(reason, [(before.get(reason, 0), after.get(reason, 0)) for before, after in counted])
        for reason in reasons
    )


def _reasons(group: Group | None) -> dict[str, int]:
    stopped = group.stopped if group is not None else ()
    return {each.reason: each.calls for each in stopped}


def _difference(measure: str, pairs: Iterable[tuple[float | None, float | None]]) -> Difference:
    """Compare one measure. A side that never has it says so, beside the other's mean."""
    pairs = list(pairs)
    both = [(before, after) for before, after in pairs if before is not None and after is not None]
    if not both:
        sides = ([value for value in side if value is not None] for side in zip(*pairs, strict=True))
        before, after = (mean_and_half_width(side)[0] if side else None for side in sides)
        return Difference(measure, before, after, None, None)
    before, after = (mean_and_half_width(side)[0] for side in zip(*both, strict=True))
    mean, half_width = mean_and_half_width([_without_noise(*pair) for pair in both])
    if half_width is not None and half_width <= NOISE * abs(mean):
        half_width = 0.0  # the same in every pair
    return Difference(measure, before, after, mean, half_width)


def _without_noise(before: float, after: float) -> float:
    difference = after - before
    return 0.0 if abs(difference) <= NOISE * max(abs(before), abs(after)) else difference


def _as_json(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "certain": difference.certain}

"""A comparison in one paragraph of plain words: what changed, how sure that is, and what cannot be told from chance."""

from collections.abc import Iterable, Sequence

from .comparison import Comparison, Difference, Differences
from .measures import MEASURE_BY_NAME, change_written, written
from .model import Ended
from .student import mean_and_half_width
from .summary import Summary

TOLD = (
    "p95_ms", "p50_ms", "in_time_share", "answered_share", "accuracy", "cost_usd_per_day", "cost_usd_per_1000_calls",
    "egress_usd_per_day",
)  # fmt: skip
OF_TENANTS = ("p95_ms", "p50_ms", "in_time_share", "answered_share", "cost_usd_per_day")
TENANTS_MAX = 3
REASONS_MAX = 6
LAWS = ("entry", "residency", "privacy")
"""Refusals by these rules are always told of: none more is news too."""


def in_words(comparison: Comparison) -> str:
    """Return the paragraph. It holds names from files as they are: whoever shows it escapes it."""
    return " ".join(sentence for sentence in _sentences(comparison) if sentence)


def said(difference: Difference) -> str:
    """Return one difference in words, as `p95 latency +31.0 ± 4.2 ms (89.0 ms → 120 ms)`."""
    measure = MEASURE_BY_NAME.get(difference.measure)
    label, unit = (measure.label, measure.unit) if measure else (difference.measure, "calls")
    if difference.difference is None:
        return f"{label} {written(difference.before, unit)} → {written(difference.after, unit)}"
    change = change_written(difference.difference, difference.half_width, unit)
    return f"{label} {change} ({written(difference.before, unit)} → {written(difference.after, unit)})"


def _sentences(comparison: Comparison) -> Iterable[str]:
    alone = comparison.pairs == 1
    yield _how(comparison.pairs)
    shown = [each for each in comparison.overall if each.measure in TOLD]
    shown.sort(key=lambda each: TOLD.index(each.measure))
    yield _changes(shown, alone=alone)
    yield _reasons(comparison.stopped, alone=alone)
    yield _laws(comparison)
    yield _tenants(comparison)
    if any(summary.stopped_early for summary in (*comparison.before, *comparison.after)):
        yield "Some runs were stopped before their last call: totals are of what had run by then."


def _how(pairs: int) -> str:
    if pairs == 1:
        return "One run of each: there is no uncertainty to give, and any of this may be chance."
    return f"{pairs} pairs of runs with the same seeds; ± is the 95% interval of the mean difference."


def _changes(shown: Sequence[Difference], *, alone: bool) -> str:
    moved = [each for each in shown if _moved(each, alone=alone)]
    still = [each for each in shown if each not in moved and (each.before, each.after) != (None, None)]
    names = ", ".join(MEASURE_BY_NAME[each.measure].label for each in still)
    if not moved:
        return f"Over all calls, no change{'' if alone else ' that could be told from chance'}."
    rest = f" No change{'' if alone else ' that could be told from chance'} in {names}." if names else ""
    return f"Over all calls: {'; '.join(said(each) for each in moved)}.{rest}"


def _moved(difference: Difference, *, alone: bool) -> bool:
    if difference.difference is None:
        return difference.before != difference.after
    return difference.difference != 0 if alone else difference.certain


def _reasons(stopped: Differences, *, alone: bool) -> str:
    moved = [each for each in stopped if _moved(each, alone=alone)]
    moved.sort(key=lambda each: -abs(each.difference or 0))
    if not moved:
        return ""
    more = f"; {len(moved) - REASONS_MAX} more reasons" if len(moved) > REASONS_MAX else ""
    return f"Calls without an answer, by reason: {'; '.join(said(each) for each in moved[:REASONS_MAX])}{more}."


def _laws(comparison: Comparison) -> str:
    """Say how many more refusals these rules made, also where it is none."""
    counted = [[_refusals(side) for side in pair] for pair in zip(comparison.before, comparison.after, strict=True)]
    mean, half_width = mean_and_half_width([after - before for before, after in counted])
    more = change_written(mean, half_width, "calls") if mean else "0 more"
    before, after = (written(mean_and_half_width(side)[0], "calls") for side in zip(*counted, strict=True))
    return f"Refusals by {_listed(LAWS)} rules: {more} ({before} → {after})."


def _refusals(summary: Summary) -> int:
    refused = summary.overall.stopped_by(Ended.REFUSED.name.lower())
    return sum(calls for rule, calls in refused.items() if rule.split(".")[0] in LAWS)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _tenants(comparison: Comparison) -> str:
    """Name the tenants whose measures moved most, where there are several tenants."""
    if len(comparison.tenants) < 2:
        return ""
    found = []
    for name, differences in comparison.tenants.items():
        moved = [
            each for each in differences if each.measure in OF_TENANTS and _moved(each, alone=comparison.pairs == 1)
        ]
        if moved:
            moved.sort(key=lambda each: OF_TENANTS.index(each.measure))
            found.append((max(_relative(each) for each in moved), name, moved))
    found.sort(key=lambda each: (-each[0], each[1]))
    told = "; ".join(f"{name}: {', '.join(said(each) for each in moved)}" for _, name, moved in found[:TENANTS_MAX])
    rest = f"; and {len(found) - TENANTS_MAX} more" if len(found) > TENANTS_MAX else ""
    return f"By tenant: {told}{rest}." if found else ""


def _relative(difference: Difference) -> float:
    before, after = difference.before or 0.0, difference.after or 0.0
    return abs(after - before) / max(abs(before), abs(after), 1e-12)

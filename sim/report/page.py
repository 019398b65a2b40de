"""The report: one HTML file that needs nothing else. It opens from a disk, without a network, and prints."""

from collections.abc import Sequence
from datetime import UTC, datetime

from ..comparison import Comparison, compare
from ..comparison_words import in_words
from ..measures import MEASURES, written
from ..summary import Summary
from .bars import changed, money_and_deadlines, reasons
from .curves import curves
from .frame import whole
from .markup import Markup, Part, joined, tag, unbroken
from .parts import Side, section, table
from .use import use
from .world import world

TENANTS_MAX = 12
"""Tenants that are drawn: those with most calls."""
CHANGES_MAX = 200
WORDS_MAX, WORDS_SHOWN = 200, 90


def report(
    title: str, before: Sequence[Summary], after: Sequence[Summary] = (), changes: Sequence[str] = (), about: str = ""
) -> str:
    """Return the report of a scenario, or of what changes from one to another, as HTML.

    `before` and `after` are replications with the same seeds; without `after` it is of one scenario alone. `changes` says
    in words what the scenario changes, `about` what the page's reader should know first. Any text may stand in any of them.
    Raises ValueError where there is nothing to report, or runs that are no pairs.
    """
    if not before:
        raise ValueError("there is no run to report on")
    comparison = compare(before, after) if after else None
    sides = (
        (Side("before", "before", comparison.before), Side("after", "after", comparison.after))
        if comparison
        else (Side("after", "this scenario", tuple(before)),)
    )
    tenants, hidden = _tenants(sides)
    parts = [
        tag("h1", title),
        tag("p", about) if about else None,
        tag("p", _ran(sides), class_="quiet"),
        _changes(changes),
        _numbers(sides, comparison),
        world(sides),
        tag("p", f"Of {hidden + len(tenants)} tenants, the {len(tenants)} with most calls are shown below.")
        if hidden
        else None,
        curves(sides, tenants),
        money_and_deadlines(sides, tenants, comparison),
        reasons(sides, comparison),
        use(sides),
    ]
    return whole(title, parts)


def _tenants(sides: Sequence[Side]) -> tuple[list[str], int]:
    names = dict.fromkeys(name for side in sides for run in side.runs for name in run.tenants)

    def calls(name: str) -> int:
        return max(run.tenants[name].calls for side in sides for run in side.runs if name in run.tenants)

    ordered = sorted(names, key=lambda name: (-calls(name), name))
    return ordered[:TENANTS_MAX], max(0, len(ordered) - TENANTS_MAX)


def _ran(sides: Sequence[Side]) -> str:
    first = sides[0].first
    starts = (
        datetime.fromtimestamp(first.starts_at_s, UTC).strftime("from %Y-%m-%d %H:%M UTC, ")
        if first.starts_at_s
        else ""
    )
    runs = len(sides[0].runs)
    stopped = any(run.stopped_early for side in sides for run in side.runs)
    return (
        f"Simulated: fleet {first.fleet}, {starts}{_length(first.span_s)}, "
        f"{runs} {'run' if runs == 1 else 'runs'}{' of each' if len(sides) > 1 else ''}, "
        f"seeds {', '.join(str(run.seed) for run in sides[0].runs[:20])}{'…' if runs > 20 else ''}."
        f"{' Some runs were stopped before their last call.' if stopped else ''}"
    )


def _length(span_s: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if span_s >= 2 * size:
            return f"{span_s / size:.3g} {unit}"
    return f"{span_s:.3g} seconds"


def _changes(changes: Sequence[str]) -> Markup | None:
    if not changes:
        return None
    more = [tag("li", f"and {len(changes) - CHANGES_MAX} more")] if len(changes) > CHANGES_MAX else []
    shown = (tag("li", _folded(each)) for each in changes[:CHANGES_MAX])
    return section("What the scenario changes", tag("ul", *shown, *more))


def _folded(words: str) -> Part:
    """Return words whose rest is closed until it is asked for, where they are many."""
    if len(words) <= WORDS_MAX:
        return words
    return tag("details", tag("summary", f"{words[:WORDS_SHOWN]}…"), words)


def _numbers(sides: Sequence[Side], comparison: Comparison | None) -> Markup:
    differences = {each.measure: each for each in comparison.overall} if comparison else {}
    rows: list[list[Part]] = []
    for measure in MEASURES:
        values = [side.mean(lambda run, of=measure.of: of(run.overall)) for side in sides]  # type: ignore[misc]
        if any(value is not None for value in values):
            cells = [written(value, measure.unit) for value in values]
            rows.append([measure.label, *cells, *([changed(differences[measure.name])] if comparison else [])])
    power = [side.mean(lambda run: run.joules) for side in sides]
    if any(value is not None for value in power):
        kwh = ["—" if value is None else f"{value / 3.6e6:.3g} kWh" for value in power]
        rows.append(["energy of servers", *kwh, *([""] if comparison else [])])
    head = ["All calls", *(side.label for side in sides), *(["Change"] if comparison else [])]
    words = tag("p", unbroken(in_words(comparison)), class_="words") if comparison else None
    return section(
        "In short", joined(part for part in (words, table(head, rows, name="All calls")) if part is not None)
    )

"""Bars side by side: money and deadlines by tenant, calls without an answer by reason."""

from collections.abc import Mapping, Sequence

from ..comparison import Comparison, Difference, Differences
from ..measures import MEASURE_BY_NAME, Unit, change_written, written
from ..summary import Summary
from .markup import Markup, Part, tag, unbroken
from .parts import WIDTH, Side, behind, label, legend, picture, section, table

LABELS_MAX = 42
BAR, GAP, VALUE = 13, 3, 96
Row = tuple[str, Mapping[str, float | None]]
"""A label, and the value of each side by its key."""


def bars(key: str, title: str, rows: Sequence[Row], sides: Sequence[Side], unit: Unit, high: float = 0.0) -> Markup:
    """Return a picture of rows of bars, each with its value written beside it; `high` is the length of the longest."""
    most = max([high, *(value or 0.0 for _, values in rows for value in values.values())])
    drawn: list[Markup] = []
    y = 0.0
    for name, values in rows:
        y += 17
        drawn.append(label(0, y - 3, _shortened(name)))
        for side in sides:
            value = values.get(side.key)
            length = (WIDTH - VALUE) * (value or 0.0) / most if most else 0.0
            drawn.append(tag("rect", x=1, y=y + 1, width=max(0.5, length), height=BAR - 2, class_=f"bar {side.key}"))
            drawn.append(label(length + 8, y + BAR - 3, written(value, unit), quiet=True))
            y += BAR + GAP
        y += 4
    words = "; ".join(
        f"{name}: {', '.join(f'{side.label} {written(values.get(side.key), unit)}' for side in sides)}"
        for name, values in rows
    )
    return tag("figure", tag("h3", title), picture(key, (WIDTH, max(y, 10)), title, words, *drawn))


def _shortened(name: str) -> str:
    return name if len(name) <= LABELS_MAX else f"{name[: LABELS_MAX - 1]}…"


def money_and_deadlines(sides: Sequence[Side], tenants: Sequence[str], comparison: Comparison | None) -> Markup:
    """Return what each tenant pays a day, and the share of its calls that were answered in time."""
    cost, kept = (_of_tenants(sides, tenants, name) for name in ("cost_usd_per_day", "in_time_share"))
    pictures = [bars("cost", "Cost a day, by tenant", cost, sides, "usd")]
    timed = [row for row in kept if any(value is not None for value in row[1].values())]
    if timed:
        pictures.append(bars("kept", "Calls answered within their deadline, by tenant", timed, sides, "share", 1.0))
    note = "Cost is compute and egress of all tries, at the rate of the runs. A call without an answer is not in time."
    if not timed:
        note += " No policy and no caller sets a deadline."
    return section(
        "Cost and deadlines",
        tag("p", note, class_="quiet"),
        legend(sides, "bar"),
        tag("div", *pictures, class_="grid"),
        behind("Cost and deadlines", _by_tenant(sides, tenants, comparison)),
    )


def _of_tenants(sides: Sequence[Side], tenants: Sequence[str], measure: str) -> list[Row]:
    return [(name, {side.key: _measured(side, name, measure) for side in sides}) for name in tenants]


def _measured(side: Side, tenant: str, measure: str) -> float | None:
    of = MEASURE_BY_NAME[measure].of
    return side.mean(lambda run: of(run.tenants[tenant]) if tenant in run.tenants else None)


MONEY = ("cost_usd_per_day", "cost_usd_per_1000_calls", "egress_usd_per_day", "in_time_share", "answered_share")


def _by_tenant(sides: Sequence[Side], tenants: Sequence[str], comparison: Comparison | None) -> Markup:
    rows: list[list[Part]] = []
    for name in tenants:
        for measure in (MEASURE_BY_NAME[each] for each in MONEY):
            values = [written(_measured(side, name, measure.name), measure.unit) for side in sides]
            changes = [changed(_found(comparison.tenants.get(name, ()), measure.name))] if comparison else []
            rows.append([name, measure.label, *values, *changes])
    head = ["Tenant", "Measure", *(side.label for side in sides), *(["Change"] if comparison else [])]
    return table(head, rows, words=(1,), name="Cost and deadlines by tenant")


def _found(differences: Differences, measure: str) -> Difference | None:
    return next((each for each in differences if each.measure == measure), None)


def changed(difference: Difference | None) -> Part:
    """Return a change with its interval, and in words whether it can be told from chance."""
    if difference is None or difference.difference is None:
        return "—"
    measure = MEASURE_BY_NAME.get(difference.measure)
    said = change_written(difference.difference, difference.half_width, measure.unit if measure else "calls")
    if difference.half_width is None or difference.certain:
        return unbroken(said)
    return unbroken(f"{said}, may be chance") if difference.difference else "none"


def reasons(sides: Sequence[Side], comparison: Comparison | None) -> Markup:
    """Return how many calls had no answer, by how they ended and the rule's own words."""
    found = {side.key: _by_reason(side.runs) for side in sides}
    names = dict.fromkeys(name for counts in found.values() for name in counts)
    ordered = sorted(names, key=lambda name: (-max(counts.get(name, 0.0) for counts in found.values()), name))
    if not ordered:
        return section("Calls without an answer", tag("p", "None."))
    rows: list[Row] = [(name, {key: counts.get(name, 0.0) for key, counts in found.items()}) for name in ordered]
    shown = bars("reasons", "Calls without an answer, by reason", rows[:ROWS_MAX], sides, "calls")
    changes = {each.measure: each for each in comparison.stopped} if comparison else {}
    cells: list[list[Part]] = [
        [
            name,
            *(written(values[side.key], "calls") for side in sides),
            *([changed(changes.get(name))] if comparison else []),
        ]
        for name, values in rows
    ]
    head = ["Reason", *(side.label for side in sides), *(["Change"] if comparison else [])]
    note = "How calls ended that had no answer, and the rule that stopped most of what they could have gone to."
    return section(
        "Calls without an answer",
        tag("p", note + _means(sides), class_="quiet"),
        legend(sides, "bar"),
        tag("div", shown, class_="grid"),
        behind("Calls without an answer", table(head, cells, name="Calls without an answer")),
    )


ROWS_MAX = 14


def _means(sides: Sequence[Side]) -> str:
    runs = len(sides[0].runs)
    return f" Means over {runs} runs." if runs > 1 else ""


def _by_reason(runs: Sequence[Summary]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for run in runs:
        for each in run.overall.stopped:
            counts[each.reason] = counts.get(each.reason, 0.0) + each.calls / len(runs)
    return counts

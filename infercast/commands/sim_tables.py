"""What runs of scenarios look like on a terminal: tables by tenant and by site, what differs, what a sweep found."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from infercast.policies.model import Rule
from infercast.sim.comparison import Comparison, Difference
from infercast.sim.comparison_words import in_words
from infercast.sim.frontier import Point, frontier
from infercast.sim.measures import MEASURE_BY_NAME, MEASURES, change_written, written
from infercast.sim.scenario import Scenario
from infercast.sim.settings import Setting
from infercast.sim.student import mean_and_half_width
from infercast.sim.summary import Group, Summary

from .app import out

REASONS_MAX = 4
OF_TENANTS = ("p50_ms", "p95_ms", "p99_ms", "in_time_share", "accuracy", "cost_usd_per_1000_calls", "cost_usd_per_day")
OF_SITES = ("p95_ms", "wait_mean_ms", "cost_usd_per_day")
OF_SWEEP = (
    "p50_ms",
    "p95_ms",
    "answered_share",
    "in_time_share",
    "accuracy",
    "cost_usd_per_1000_calls",
    "cost_usd_per_day",
)
Groups = Sequence[Group]


def show_run(scenario: Scenario, summaries: Sequence[Summary]) -> None:
    """Print what became of a scenario's calls: means over its runs."""
    _title(scenario)
    out.print(_tenants(summaries))
    out.print(_sites(summaries))
    span_s = mean_and_half_width([summary.span_s for summary in summaries])[0]
    seeds = ", ".join(str(summary.seed) for summary in summaries[:5]) + (", …" if len(summaries) > 5 else "")
    said = "one run" if len(summaries) == 1 else f"means of {len(summaries)} runs, ± is the 95% interval"
    out.print(f"{said}; {span_s:,.0f} s simulated; seeds {seeds}", highlight=False)


def _title(scenario: Scenario) -> None:
    out.print(f"[bold]{escape(scenario.path)}[/]", highlight=False, soft_wrap=True)
    if scenario.description:
        out.print(scenario.description, highlight=False, markup=False)


def _cell(groups: Groups, name: str) -> str:
    """Return the mean of a measure over the runs that have it, with its interval where there are several."""
    measure = MEASURE_BY_NAME[name]
    return _mean((measure.of(group) for group in groups), lambda value: written(value, measure.unit), measure.unit)


def _mean(values: Iterable[float | None], write: Callable[[float | None], str], unit: str) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return "—"
    mean, half_width = mean_and_half_width(found)
    if not half_width:
        return write(mean)
    margin = written(half_width, "ms").removesuffix(" ms") if unit != "share" else f"{100 * half_width:.1g}"
    return f"{write(mean)} ±{margin}"


def _count(values: Iterable[float]) -> str:
    return written(mean_and_half_width(list(values))[0], "calls")


def _table(first: str, columns: Iterable[str], last: str = "") -> Table:
    table = Table()
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    if last:
        table.add_column(last, overflow="fold")
    return table


def _labels(names: Iterable[str]) -> list[str]:
    short = {"in_time_share": "in time", "cost_usd_per_1000_calls": "per 1,000 calls", "cost_usd_per_day": "per day"}
    short |= {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99", "wait_mean_ms": "wait", "answered_share": "answered"}
    return [short.get(name, MEASURE_BY_NAME[name].label.split()[-1] if name != "accuracy" else name) for name in names]


def _tenants(summaries: Sequence[Summary]) -> Table:
    table = _table("tenant", ("calls", "answered", *_labels(OF_TENANTS)), "without an answer")
    names = dict.fromkeys(name for summary in summaries for name in summary.tenants)
    groups = {name: [each.tenants[name] for each in summaries if name in each.tenants] for name in names}
    groups["all"] = [summary.overall for summary in summaries]
    for name, each in groups.items():
        if name == "all":
            table.add_section()
        counts = _count(group.calls for group in each), _cell(each, "answered_share")
        table.add_row(name, *counts, *(_cell(each, measure) for measure in OF_TENANTS), _reasons(each))
    return table


def _reasons(groups: Groups) -> str:
    """Return why calls had no answer, most first: `refused residency.transit 12`."""
    counted: dict[tuple[str, str], int] = {}
    for group in groups:
        for stopped in group.stopped:
            key = (stopped.ended, stopped.rule)
            counted[key] = counted.get(key, 0) + stopped.calls
    most = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{_reason(*key)} {written(calls / len(groups), 'calls')}" for key, calls in most[:REASONS_MAX]]
    if len(most) > REASONS_MAX:
        said.append(f"{len(most) - REASONS_MAX} more reasons")
    return "\n".join(said)


def _reason(ended: str, rule: str) -> str:
    return ended if rule == Rule.NONE.word else f"{ended} {rule}"


def _sites(summaries: Sequence[Summary]) -> Table:
    table = _table("site", ("entered", "ended here", "answered", *_labels(OF_SITES), "utilisation"))
    for name in dict.fromkeys(name for summary in summaries for name in summary.sites):
        groups = [summary.sites[name] for summary in summaries if name in summary.sites]
        counts = (
            _count(summary.entered.get(name, 0) for summary in summaries),
            _count(group.calls for group in groups),
            _count(group.answered for group in groups),
        )
        busy = [summary.busy[name].utilisation if name in summary.busy else None for summary in summaries]
        used = _mean(busy, lambda value: written(value, "share"), "share")
        table.add_row(name, *counts, *(_cell(groups, measure) for measure in OF_SITES), used)
    return table


def show_comparison(base: Scenario, other: Scenario, comparison: Comparison) -> None:
    """Print what differs between two scenarios, in words and as a table by tenant."""
    _title(other)
    out.print(f"compared with {escape(base.path)}", highlight=False, soft_wrap=True)
    out.print(_differences(comparison))
    out.print(in_words(comparison), highlight=False, markup=False)


def _differences(comparison: Comparison) -> Table:
    table = _table("", ("measure", "before", "after", "difference"))
    sections = {"all calls": comparison.overall, **comparison.tenants}
    for name, differences in sections.items():
        shown = [each for each in differences if _differs(each)]
        for index, each in enumerate(shown):
            table.add_row(name if index == 0 else "", *_difference(each))
        if not shown:
            table.add_row(name, "no difference to speak of", "", "", "")
        table.add_section()
    return table


def _differs(each: Difference) -> bool:
    """Return whether a measure reads differently before and after."""
    unit = MEASURE_BY_NAME[each.measure].unit
    return written(each.before, unit) != written(each.after, unit)


def _difference(each: Difference) -> tuple[str, str, str, str]:
    measure = MEASURE_BY_NAME[each.measure]
    change = "—" if each.difference is None else change_written(each.difference, each.half_width, measure.unit)
    if each.certain and measure.better:
        colour = "green" if (each.difference or 0) * measure.better > 0 else "red"
        change = f"[{colour}]{change}[/]"
    return measure.label, written(each.before, measure.unit), written(each.after, measure.unit), change


def point_rows(
    settings: Sequence[tuple[Setting, ...]], runs: Sequence[Sequence[Summary]], latency: str
) -> list[dict[str, Any]]:
    """Return one row per point of a sweep: what was set, the means of its measures, and whether none beats it."""
    rows: list[dict[str, Any]] = []
    for each, summaries in zip(settings, runs, strict=True):
        groups = [summary.overall for summary in summaries]
        means = {measure.name: _plain_mean([measure.of(group) for group in groups]) for measure in MEASURES}
        seeds = [summary.seed for summary in summaries]
        rows.append({"set": {setting.text: setting.value for setting in each}, "seeds": seeds, **means})
    best = {point.name for point in frontier(points_in(rows, latency))}
    return [{**row, "on_frontier": _name(row) in best} for row in rows]


def points_in(rows: Sequence[dict[str, Any]], latency: str) -> list[Point]:
    """Return the points of a sweep that have a cost and a latency, named by what was set."""
    measured = [(row, row["cost_usd_per_day"], row[f"{latency}_ms"]) for row in rows]
    return [Point(_name(row), cost, took) for row, cost, took in measured if cost is not None and took is not None]


def _name(row: dict[str, Any]) -> str:
    return ", ".join(f"{text} = {value}" for text, value in row["set"].items())


def _plain_mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return mean_and_half_width(found)[0] if found else None


def show_sweep(scenario: Scenario, rows: Sequence[dict[str, Any]], latency: str) -> None:
    """Print the points of a sweep, those of the frontier marked."""
    _title(scenario)
    table = Table()
    table.add_column("")
    for text in rows[0]["set"]:
        table.add_column(text, overflow="fold", justify="right")
    for label in _labels(OF_SWEEP):
        table.add_column(label, justify="right")
    for row in rows:
        cells = [written(row[name], MEASURE_BY_NAME[name].unit) for name in OF_SWEEP]
        table.add_row(
            "[green]★[/]" if row["on_frontier"] else "", *(str(value) for value in row["set"].values()), *cells
        )
    out.print(table)
    best = sum(row["on_frontier"] for row in rows)
    out.print(
        f"★ no other point is cheaper a day and has a lower {latency} latency: {best} of {len(rows)}", highlight=False
    )

"""What runs of scenarios look like on a terminal: tables by tenant and by site, what differs, what a sweep found."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from infercast.sim.comparison import Comparison, Difference, Differences
from infercast.sim.comparison_words import in_words
from infercast.sim.frontier import Point, frontier
from infercast.sim.measures import MEASURE_BY_NAME, MEASURES, change_written, written
from infercast.sim.scenario import Scenario
from infercast.sim.settings import Setting
from infercast.sim.student import mean_and_half_width
from infercast.sim.summary import Busy, Group, Summary

from .app import out
from .sim_columns import Column, folded, stacked, width_of

OF_TENANTS = ("p50_ms", "p95_ms", "p99_ms", "in_time_share", "accuracy", "cost_usd_per_1000_calls", "cost_usd_per_day")
OF_SITES = ("answered_share", "p95_ms", "wait_mean_ms", "cost_usd_per_day")
OF_SWEEP = (
    "p50_ms",
    "p95_ms",
    "answered_share",
    "in_time_share",
    "accuracy",
    "cost_usd_per_1000_calls",
    "cost_usd_per_day",
)
WORD_MAX = max(len(word) for measure in MEASURES for word in measure.label.split())
Groups = Sequence[Group]


def show_run(scenario: Scenario, summaries: Sequence[Summary]) -> None:
    """Print what became of a scenario's calls: means over its runs."""
    _title(scenario)
    for table in (*_tenants(summaries), *_sites(summaries)):
        out.print(table, crop=False)
    stopped = unanswered(summaries)
    if stopped:
        out.print("without an answer:", highlight=False)
    for line in stopped:
        out.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
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


def _labels(names: Iterable[str]) -> list[str]:
    short = {"in_time_share": "in time", "cost_usd_per_1000_calls": "per 1,000 calls", "cost_usd_per_day": "per day"}
    short |= {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99", "wait_mean_ms": "wait", "answered_share": "answered"}
    return [short.get(name, MEASURE_BY_NAME[name].label.split()[-1] if name != "accuracy" else name) for name in names]


def _tenants(summaries: Sequence[Summary]) -> Iterable[Table]:
    names = dict.fromkeys(name for summary in summaries for name in summary.tenants)
    groups = {name: [each.tenants[name] for each in summaries if name in each.tenants] for name in names}
    groups["all"] = [summary.overall for summary in summaries]
    columns = [
        Column("calls", [_count(group.calls for group in each) for each in groups.values()]),
        *_measured(("answered_share", *OF_TENANTS), list(groups.values())),
    ]
    return stacked(Column("tenant", list(groups)), columns, out, last_apart=True)


def _measured(names: Sequence[str], groups: Sequence[Groups]) -> list[Column]:
    labels = _labels(names)
    return [Column(label, [_cell(each, name) for each in groups]) for name, label in zip(names, labels, strict=True)]


def unanswered(summaries: Sequence[Summary]) -> list[str]:
    """Return why calls had no answer, a line for each reason, most calls first: `refused residency.transit 12: bank 12`.

    Numbers are means over runs.
    """
    counted: dict[str, dict[str, int]] = {}
    for summary in summaries:
        for tenant, group in summary.tenants.items():
            for stopped in group.stopped:
                by_tenant = counted.setdefault(stopped.reason, {})
                by_tenant[tenant] = by_tenant.get(tenant, 0) + stopped.calls
    most = sorted(counted.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return [f"{reason} {_of_runs(by.values(), summaries)}: {_by_tenant(by, summaries)}" for reason, by in most]


def _by_tenant(calls: Mapping[str, int], summaries: Sequence[Summary]) -> str:
    ordered = sorted(calls.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{tenant} {_of_runs([each], summaries)}" for tenant, each in ordered)


def _of_runs(calls: Iterable[int], summaries: Sequence[Summary]) -> str:
    return written(sum(calls) / len(summaries), "calls")


def _sites(summaries: Sequence[Summary]) -> Iterable[Table]:
    names = list(dict.fromkeys(name for summary in summaries for name in summary.sites))
    groups = [[summary.sites[name] for summary in summaries if name in summary.sites] for name in names]
    columns = [
        Column("entered", [_count(summary.entered.get(name, 0) for summary in summaries) for name in names]),
        Column("ended here", [_count(group.calls for group in each) for each in groups]),
        *_measured(OF_SITES, groups),
        Column("utilisation", [_used([summary.busy.get(name) for summary in summaries]) for name in names]),
    ]
    busiest = [_busiest(name, summaries) for name in names]
    columns += [
        Column("busiest", [name for name, _ in busiest]),
        Column("its utilisation", [used for _, used in busiest]),
    ]
    return stacked(Column("site", names), columns, out)


def _busiest(site: str, summaries: Sequence[Summary]) -> tuple[str, str]:
    """Return the variant that was used most of those at a site, and how much; dashes where none stood ready."""
    used: dict[str, list[float]] = {}
    for summary in summaries:
        for name, busy in summary.deployments.items():
            if name.endswith(f"@{site}") and busy.utilisation is not None:
                used.setdefault(name, []).append(busy.utilisation)
    if not used:
        return "—", "—"
    most = max(used, key=lambda name: mean_and_half_width(used[name])[0])
    return most.removesuffix(f"@{site}"), _mean(used[most], lambda value: written(value, "share"), "share")


def _used(busy: Iterable[Busy | None]) -> str:
    found = [None if each is None else each.utilisation for each in busy]
    return _mean(found, lambda value: written(value, "share"), "share")


def show_comparison(base: Scenario, other: Scenario, comparison: Comparison) -> None:
    """Print what differs between two scenarios, in words and as a table by tenant."""
    _title(other)
    out.print(f"compared with {escape(base.path)}", highlight=False, soft_wrap=True)
    out.print(_differences(comparison), crop=False)
    if any(_may_be_chance(each) for part in _sections(comparison).values() for each in part if _differs(each)):
        out.print("~ may be chance: the 95% interval of the difference holds 0", highlight=False)
    out.print(in_words(comparison), highlight=False, markup=False)


def _sections(comparison: Comparison) -> dict[str, Differences]:
    return {"all calls": comparison.overall, **comparison.tenants}


def _may_be_chance(each: Difference) -> bool:
    return each.half_width is not None and not each.certain and each.difference != 0


def _differences(comparison: Comparison) -> Table:
    """Return what differs, as a table; where it finds no room, without the values before, then without those after."""
    heads = ["before", "after", "difference"]
    table = _difference_table(comparison, heads)
    while len(heads) > 1 and width_of(table, out) - _may_fold(table) > out.width:
        heads.pop(0)
        table = _difference_table(comparison, heads)
    return table


def _may_fold(table: Table) -> int:
    """Return by how many columns of the terminal the names of measures can be folded without breaking a word."""
    return max(max(len(str(label)) for label in table.columns[1].cells) - WORD_MAX, 0)


def _difference_table(comparison: Comparison, heads: Sequence[str]) -> Table:
    table = Table()
    table.add_column("", no_wrap=True)
    table.add_column("measure", overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, differences in _sections(comparison).items():
        shown = [each for each in differences if _differs(each)]
        for index, each in enumerate(shown):
            label, *cells = _difference(each)
            table.add_row(folded(name) if index == 0 else "", label, *cells[-len(heads) :])
        if not shown:
            table.add_row(folded(name), "no difference to speak of")
        table.add_section()
    return table


def _differs(each: Difference) -> bool:
    """Return whether a measure reads differently before and after."""
    unit = MEASURE_BY_NAME[each.measure].unit
    return written(each.before, unit) != written(each.after, unit)


def _difference(each: Difference) -> tuple[str, str, str, str]:
    measure = MEASURE_BY_NAME[each.measure]
    change = "—" if each.difference is None else change_written(each.difference, each.half_width, measure.unit)
    if _may_be_chance(each):
        change = f"~ {change}"
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
    shorts = tails(list(rows[0]["set"]))
    columns = [Column(short, [str(row["set"][text]) for row in rows]) for text, short in shorts.items()]
    for name, label in zip(OF_SWEEP, _labels(OF_SWEEP), strict=True):
        columns.append(Column(label, [written(row[name], MEASURE_BY_NAME[name].unit) for row in rows]))
    marks = Column("", ["[green]★[/]" if row["on_frontier"] else "" for row in rows])
    for table in stacked(marks, columns, out):
        out.print(table, crop=False)
    for text, short in shorts.items():
        if short != text:
            out.print(f"{short} is {text}", highlight=False, markup=False, soft_wrap=True)
    best = sum(row["on_frontier"] for row in rows)
    out.print(
        f"★ no other point is cheaper a day and has a lower {latency} latency: {best} of {len(rows)}", highlight=False
    )


def tails(paths: Sequence[str]) -> dict[str, str]:
    """Return a short name for each path: as few of its last steps as no other path ends with."""
    return {path: _tail(path, [other for other in paths if other != path]) for path in paths}


def _tail(path: str, others: Sequence[str]) -> str:
    steps = path.split(".")
    ends = (".".join(steps[-kept:]) for kept in range(1, len(steps)))
    return next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), path)

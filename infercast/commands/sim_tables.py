"""What runs of scenarios look like on a terminal: tables by tenant and by site, what differs."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from infercast.sim.comparison import Comparison, Difference, Differences
from infercast.sim.comparison_words import in_words
from infercast.sim.measures import MEASURE_BY_NAME, MEASURES, change_written, written
from infercast.sim.scenario import Scenario
from infercast.sim.student import mean_and_half_width
from infercast.sim.summary import Busy, Group, Summary

from .app import out
from .sim_columns import Column, folded, stacked, width_of

OF_TENANTS = ("p50_ms", "p95_ms", "p99_ms", "in_time_share", "accuracy", "cost_usd_per_1000_calls", "cost_usd_per_day")
OF_SITES = ("answered_share", "p95_ms", "wait_mean_ms", "cost_usd_per_day")
WORD_MAX = max(len(word) for measure in MEASURES for word in measure.label.split())
Groups = Sequence[Group]


def show_run(scenario: Scenario, summaries: Sequence[Summary]) -> None:
    """Print what became of a scenario's calls: means over its runs."""
    title(scenario)
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


def title(scenario: Scenario) -> None:
    """Print which scenario this is about."""
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


def labels(names: Iterable[str]) -> list[str]:
    """Return the heads of columns of measures."""
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
    heads = labels(names)
    return [Column(label, [_cell(each, name) for each in groups]) for name, label in zip(names, heads, strict=True)]


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
    title(other)
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

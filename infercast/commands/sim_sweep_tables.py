"""What a sweep found, on a terminal: its points, and which of them no other beats."""

from collections.abc import Iterable, Sequence
from typing import Any

from infercast.sim.frontier import Point, answer_enough, frontier
from infercast.sim.measures import MEASURE_BY_NAME, MEASURES, written
from infercast.sim.scenario import Scenario
from infercast.sim.settings import Setting
from infercast.sim.student import mean_and_half_width
from infercast.sim.summary import Summary

from .app import out
from .sim_columns import Column, stacked
from .sim_tables import labels, title

OF_SWEEP = (
    "p50_ms",
    "p95_ms",
    "answered_share",
    "in_time_share",
    "accuracy",
    "cost_usd_per_1000_calls",
    "cost_usd_per_day",
)


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
    return [
        Point(_name(row), cost, took, row["answered_share"] or 0.0)
        for row, cost, took in measured
        if cost is not None and took is not None
    ]


def _name(row: dict[str, Any]) -> str:
    return ", ".join(f"{text} = {value}" for text, value in row["set"].items())


def _plain_mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return mean_and_half_width(found)[0] if found else None


def show_sweep(scenario: Scenario, rows: Sequence[dict[str, Any]], latency: str) -> None:
    """Print the points of a sweep, those of the frontier marked."""
    title(scenario)
    shorts = tails(list(rows[0]["set"]))
    columns = [Column(short, [str(row["set"][text]) for row in rows]) for text, short in shorts.items()]
    for name, label in zip(OF_SWEEP, labels(OF_SWEEP), strict=True):
        columns.append(Column(label, [written(row[name], MEASURE_BY_NAME[name].unit) for row in rows]))
    marks = Column("", ["[green]★[/]" if row["on_frontier"] else "" for row in rows])
    for table in stacked(marks, columns, out):
        out.print(table, crop=False)
    for text, short in shorts.items():
        if short != text:
            out.print(f"{short} is {text}", highlight=False, markup=False, soft_wrap=True)
    best = sum(row["on_frontier"] for row in rows)
    for line in (
        f"★ no other point is cheaper a day and has a lower {latency} latency: {best} of {len(rows)}",
        *_beside(rows, latency),
    ):
        out.print(line, highlight=False)


def _beside(rows: Sequence[dict[str, Any]], latency: str) -> Iterable[str]:
    """Yield what there is to know of a sweep's frontier beside its points."""
    points = points_in(rows, latency)
    few = len(points) - len(answer_enough(points))
    if few:
        most = written(max(point.answered_share for point in points), "share")
        yield f"left out, for they answer over 1 point less than the {most} of the best: {few} of {len(rows)}"
    if len(rows) > 1 and all(row[each.name] == rows[0][each.name] for row in rows for each in MEASURES):
        yield "no point differs from another: what was set changes nothing here"


def tails(paths: Sequence[str]) -> dict[str, str]:
    """Return a short name for each path: as few of its last steps as no other path ends with."""
    return {path: _tail(path, [other for other in paths if other != path]) for path in paths}


def _tail(path: str, others: Sequence[str]) -> str:
    steps = path.split(".")
    ends = (".".join(steps[-kept:]) for kept in range(1, len(steps)))
    return next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), path)

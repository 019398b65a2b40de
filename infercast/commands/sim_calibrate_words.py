"""What `sim calibrate` found, as tables: for a terminal and for the documentation."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from infercast.sim.calibration import Comparison
from infercast.sim.calibration_world import p50_and_p95
from infercast.sim.measured import Profile
from infercast.sim.side_by_side import MEASURES, Line, Measure

LABELS = {
    "share": "share",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "cost_usd_per_1000_calls": "nUSD a call",
    "refused": "refused",
    "failed": "no answer in time",
}
Loads = tuple[float, float, float]
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A comparison and what belongs beside it: the profile of streams that came alone, reruns, calls in each, the machine."""

    comparison: Comparison
    alone: Profile
    reruns: int
    calls: int
    machine: str


def machine(date: str, before: Loads, after: Loads) -> str:
    """Return when and where it was measured, in words; load averages are those of one minute."""
    cores = os.cpu_count() or 1
    loads = f"load {before[0]:.1f} before, {after[0]:.1f} after"
    return f"{date}, {platform.machine()}, {cores} cores, Linux {platform.release()}; {loads}"


def lines_of(comparison: Comparison) -> list[Row]:
    """Return one row per figure: tenant, place, measure, live, simulated, error, goal, live spread, verdict."""
    return [_row(line, measure) for line in comparison.lines for measure in MEASURES if measure.name == line.measure]


def _row(line: Line, measure: Measure) -> Row:
    error = f"{100 * line.error / line.live:+.1f}%" if measure.relative and line.live else _change(line, measure)
    goal = f"{100 * measure.goal:g}%" if measure.relative else _plain(measure.goal, measure)
    verdict = "yes" if line.in_goal else "by spread" if line.passes else "no"
    figures = (_plain(line.live, measure), _plain(line.simulated, measure), error, goal, _plain(line.spread, measure))
    return (line.tenant, line.place or "—", LABELS[line.measure], *figures, verdict)


def _plain(value: float, measure: Measure) -> str:
    if measure.unit == "share":
        return f"{100 * value:.1f} points" if value == measure.goal else f"{100 * value:.1f}%"
    if measure.unit == "ms":
        return f"{value:.1f} ms"
    return f"{value * 1e6:,.1f}" if measure.unit == "usd" else f"{value:.1f}".removesuffix(".0")


def _change(line: Line, measure: Measure) -> str:
    return f"{100 * line.error:+.1f} points" if measure.unit == "share" else f"{line.error:+.1f}"


def profile_rows(profile: Profile, alone: Profile) -> list[dict[str, object]]:
    """Return p50 and p95 of everything that was measured, in microseconds, and of the same with streams coming alone."""
    rows: list[dict[str, object]] = []
    measured: list[tuple[str, str, tuple[int, ...], tuple[int, ...]]] = [
        *(("at", name, values, alone.server_us.get(name, ())) for name, values in profile.server_us.items()),
        *(("way", "~".join(ends), values, alone.trip_us.get(ends, ())) for ends, values in profile.trip_us.items()),
        *(("around", entry, values, alone.around_us.get(entry, ())) for entry, values in profile.around_us.items()),
    ]
    for what, name, values, others in sorted(measured):
        p50_us, p95_us = p50_and_p95(values)
        row: dict[str, object] = {"what": what, "name": name, "calls": len(values), "p50_us": p50_us, "p95_us": p95_us}
        if others:
            row["alone_p50_us"], row["alone_p95_us"] = p50_and_p95(others)
        rows.append(row)
    return rows


HEAD: Row = ("tenant", "ran at, or rule", "", "live", "simulated", "error", "goal", "live spread", "near enough")
PROFILE_HEAD: Row = ("measured", "calls", "p50 ms", "p95 ms", "p50 ms alone", "p95 ms alone")
WHAT = {"at": "time at", "way": "way", "around": "around the entry"}


def _profile_table(done: Calibrated) -> list[Row]:
    rows = []
    for row in profile_rows(done.comparison.profile, done.alone):
        times = [row.get(name) for name in ("p50_us", "p95_us", "alone_p50_us", "alone_p95_us")]
        said = (f"{time / 1000:.2f}" if isinstance(time, int) else "" for time in times)
        rows.append((f"{WHAT[str(row['what'])]} {row['name']}", str(row["calls"]), *said))
    return rows


def _said(done: Calibrated) -> list[str]:
    comparison = done.comparison
    lines = comparison.lines
    misses = sum(not line.passes for line in lines)
    inside = sum(line.in_goal for line in lines)
    halves = (
        "each even one is compared, simulated with the profile of the one before it"
        if comparison.held_out
        else "one rerun for both"
    )
    verdict = f"{inside} of {len(lines)} figures are within their goals, {len(lines) - inside - misses} more within 1.5 spreads of the live reruns, {misses} neither."
    cost = f"Answers named {comparison.told_usd:.6f} USD in all, foretold from median times; what they really cost is {comparison.real_usd:.6f} USD."
    return [f"{done.machine}. {done.reruns} reruns of {done.calls} calls: {halves}.", verdict, cost]


def as_markdown(done: Calibrated) -> str:
    """Return everything for the documentation."""
    tables = (_markdown(HEAD, lines_of(done.comparison)), _markdown(PROFILE_HEAD, _profile_table(done)))
    return "\n".join([*(f"{text}\n" for text in _said(done)), *(f"{table}\n" for table in tables)]).rstrip("\n") + "\n"


def _markdown(head: Row, rows: Sequence[Row]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))


def show(console: Console, done: Calibrated) -> None:
    """Print everything."""
    table = Table(title="The simulator beside the real system (distances emulated)")
    for number, name in enumerate(HEAD):
        table.add_column(name, justify="left" if number < 3 else "right", overflow="fold")
    colours = {"yes": "[green]yes[/]", "by spread": "[yellow]by spread[/]", "no": "[red]no[/]"}
    for row in lines_of(done.comparison):
        table.add_row(*row[:-1], colours[row[-1]])
    console.print(table)
    times = Table(title="The profile")
    for name in PROFILE_HEAD:
        times.add_column(name, justify="left" if name == "measured" else "right")
    for row in _profile_table(done):
        times.add_row(*row)
    console.print(times)
    for text in _said(done):
        console.print(text, highlight=False)

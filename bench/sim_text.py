"""The simulator's figures as the Markdown that docs/speed.md carries."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.machine import described

PACKAGES = ("infercast", "numpy", "numba", "simpy")


def text(report: dict[str, Any]) -> str:
    """Return all parts that were measured, one after the other."""
    lines = [described(report["machine"], PACKAGES), ""]
    for name, part in (
        ("kernel", _rates),
        ("calm", _rates),
        ("features", _rates),
        ("large", _large),
        ("linear", _linear),
    ):
        if name in report:
            lines += [*part(report[name]), ""]
    for name, part in (("peers", _peers), ("processes", _processes)):
        if name in report:
            lines += [*part(report[name]), ""]
    return "\n".join([*lines, *(f"Missed: {words}" for words in report["missed"])])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = "|".join("---" if at == 0 else "--:" for at in range(len(heads)))
    return [f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _rates(rows: list[dict[str, Any]]) -> list[str]:
    heads = (
        "features",
        "candidates",
        "best calls/s",
        "median",
        "by the clock",
        "bare, best",
        "of bare",
        "waited",
        "tries",
    )
    return _table(
        heads,
        [
            (
                row["what"],
                str(row["candidates"]),
                f"{row['best_cpu']:,}",
                f"{row['median_cpu']:,}",
                f"{row['median_wall']:,}",
                f"{row['bare_best_cpu']:,}",
                f"{row['of_bare']:.0%}",
                f"{row['waited']:.0%}",
                f"{row['tries']:.3f}",
            )
            for row in rows
        ],
    )


def _large(part: dict[str, Any]) -> list[str]:
    phases = dict(part["phases"])
    ended = phases.pop("of them", {})
    said = ", ".join(f"{name} {value}" for name, value in ended.items() if name not in ("cpu_s", "wall_s", "peak_mb"))
    rows = [
        (name, f"{one['cpu_s']:.1f}", f"{one['wall_s']:.1f}", f"{one['peak_mb']:,}") for name, one in phases.items()
    ]
    return [
        f"{part['sites']} sites, {part['tenants']} tenants, {part['calls']:,} calls ({said or 'not done in time'}):",
        "",
        *_table(("phase", "CPU s", "s", "peak MB"), rows),
    ]


def _linear(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("calls of a run", "ns a call, loop", "with building and gathering")
    return _table(heads, [(f"{row['calls']:,}", f"{row['loop_ns']:.0f}", f"{row['whole_ns']:.0f}") for row in rows])


def _peers(part: dict[str, Any]) -> list[str]:
    heads = (f"M/M/{part['servers']}, load {part['load']}", "calls", "calls/s", "by the clock", "mean wait µs")
    rows = [
        (row["fault"], "", "", "", "")
        if "fault" in row
        else (
            row["name"],
            f"{row['calls']:,}",
            f"{row['per_s']:,}",
            f"{row['calls'] / row['wall_s']:,.0f}",
            f"{row['mean_wait_us']:,.0f}",
        )
        for row in part["rows"]
    ]
    absent = ("YAFS", "on no package index", "", "", "")
    return [*_table(heads, [*rows, absent])]


def _processes(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("processes at once", "calls of each", "s", "calls/s in all", "times one")
    one = rows[0]["per_s"]
    return _table(
        heads,
        [
            (
                str(row["processes"]),
                f"{row['calls']:,}",
                f"{row['wall_s']:.2f}",
                f"{row['per_s']:,}",
                f"{row['per_s'] / one:.2f}",
            )
            for row in rows
        ],
    )

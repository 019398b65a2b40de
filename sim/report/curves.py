"""How long calls took, by tenant: the share of answered calls that took no longer than so many milliseconds."""

from collections.abc import Sequence
from math import log

from ..measures import written
from ..summary import Curve, Group
from .markup import Markup, tag
from .parts import WIDTH, Side, behind, decades, label, legend, path, picture, section, short, table

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 42, 14, 8, 36, 200
LEAST_MS = 0.001
STAIRS_MAX = 50
SHARES = (0.0, 0.5, 0.95, 1.0)


def curves(sides: Sequence[Side], tenants: Sequence[str]) -> Markup:
    """Return a picture for each tenant that had an answer."""
    shown = [name for name in tenants if any(side.first.curves.get(name) for side in sides)]
    pictures = [_picture(f"curve{index}", sides, name) for index, name in enumerate(shown)]
    seeds = sorted({side.first.seed for side in sides})
    return section(
        "Latency",
        tag(
            "p",
            "Share of answered calls that took no longer, from the caller's sending to the answer. The scale of times is "
            f"logarithmic. Drawn from the run with seed {', '.join(map(str, seeds))}; the table has means over all runs.",
            class_="quiet",
        ),
        legend(sides, "line"),
        tag("div", *pictures, class_="grid"),
        behind(
            "Latency", table(["Tenant", "", *QUANTILES], _rows(sides, tenants), words=(1,), name="Latency by tenant")
        ),
    )


QUANTILES = ("p50", "p90", "p95", "p99", "mean", "answered")


def _rows(sides: Sequence[Side], tenants: Sequence[str]) -> list[list[str]]:
    rows = []
    for name in tenants:
        for side in sides:
            groups = [run.tenants[name] for run in side.runs if name in run.tenants]
            values = [
                written(_mean(groups, field), "ms") for field in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms")
            ]
            answered = side.mean(lambda run, name=name: run.tenants[name].answered if name in run.tenants else None)  # type: ignore[misc]
            rows.append([name, side.label, *values, written(answered, "calls")])
    return rows


def _mean(groups: Sequence[Group], field: str) -> float | None:
    known = [float(getattr(group.latency, field)) for group in groups if group.latency is not None]
    return sum(known) / len(known) if known else None


def _picture(key: str, sides: Sequence[Side], name: str) -> Markup:
    drawn = {side.key: side.first.curves.get(name, ()) for side in sides}
    times = [max(LEAST_MS, at_ms) for curve in drawn.values() for at_ms, _ in curve]
    marks = decades(min(times), max(times))
    low, high = marks[0], marks[-1]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + width * _log_share(point[0], low, high), TOP + height * (1 - point[1])

    # Dashes on top: where both are the same, both are seen.
    lines = [path(map(at, _stairs(curve)), f"line {side}") for side, curve in reversed(drawn.items()) if curve]
    axes = []
    for share in SHARES:
        _, y = at((low, share))
        axes += [tag("path", d=f"M{LEFT} {y:.1f}h{width}", class_="rule")]
        # The two highest stand too near each other for both words.
        if share < 1:
            axes.append(label(LEFT - 6, y + 4, f"{100 * share:.0f}%", "end", quiet=True))
    for mark in _few(marks):
        x, y = at((mark, 0.0))
        axes += [
            tag("path", d=f"M{x:.1f} {TOP}v{height}", class_="rule"),
            label(x, y + 14, short(mark), "middle", quiet=True),
        ]
    axes.append(label(LEFT + width / 2, HEIGHT - 5, "milliseconds", "middle", quiet=True))
    words = "; ".join(f"{side.label}: {_said(side.first.tenants.get(name))}" for side in sides)
    svg = picture(key, (WIDTH, HEIGHT), f"Latency of {name}", words, *axes, *lines)
    return tag("figure", tag("h3", name), svg)


def _said(group: Group | None) -> str:
    if group is None or group.latency is None:
        return "no answers"
    return f"half within {written(group.latency.p50_ms, 'ms')}, 95% within {written(group.latency.p95_ms, 'ms')}"


def _few(marks: Sequence[float]) -> list[float]:
    """Return marks that do not stand in each other's way: powers of ten only, where there are many."""
    if len(marks) <= 7:
        return list(marks)
    tens = [mark for mark in marks if f"{mark:e}".startswith("1.0")]
    return tens[:: -(-len(tens) // 8)]


def _stairs(curve: Curve) -> list[tuple[float, float]]:
    """Return few points as what they are, a share that jumps where a call ended; of many, a line through them."""
    if len(curve) > STAIRS_MAX:
        return list(curve)
    points, before = [], 0.0
    for at_ms, share in curve:
        points += [(at_ms, before), (at_ms, share)]
        before = share
    return points


def _log_share(at_ms: float, low: float, high: float) -> float:
    return log(max(LEAST_MS, at_ms) / low) / log(high / low)

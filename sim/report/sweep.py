"""A sweep as a page: what each point costs and how fast it is, and which points no other beats in both."""

from collections.abc import Sequence

from ..frontier import Point, answer_enough, frontier
from ..measures import written
from .frame import whole
from .markup import Markup, tag
from .parts import WIDTH, behind, label, path, picture, section, short, steps, table

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 48, 16, 12, 40, 280
POINTS_MAX = 1000


def sweep_report(title: str, points: Sequence[Point], latency: str = "p95 latency", about: str = "") -> str:
    """Return the page of a sweep, as HTML. `latency` says which latency the points have. Any text may stand in names.

    Raises ValueError where there is no point.
    """
    if not points:
        raise ValueError("there is no point to report on")
    best = frontier(points)
    said = f"{len(best)} of {len(points)} points are beaten by no other in both cost and {latency}: the squares. "
    drawn = _picture(list(points)[:POINTS_MAX], best, latency)
    shown = tag("div", tag("figure", drawn, class_="lone"))
    note = tag(
        "p",
        said
        + "Circles are beaten, or answer over 1 point less of their calls than the best does. Less is better both ways.",
        class_="quiet",
    )
    parts = [
        tag("h1", title),
        tag("p", about) if about else None,
        section("Cost and latency", note, shown, behind("Points", _table(points, best, latency))),
    ]
    return whole(title, parts)


def _picture(points: Sequence[Point], best: Sequence[Point], latency: str) -> Markup:
    costs, times = (
        steps(max(of)) for of in zip(*((point.cost_usd_per_day, point.latency_ms) for point in points), strict=True)
    )
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(cost: float, time_ms: float) -> tuple[float, float]:
        return LEFT + width * cost / costs[-1], TOP + height * (1 - time_ms / times[-1])

    axes: list[Markup] = []
    for mark in times:
        _, y = at(0, mark)
        axes += [
            tag("path", d=f"M{LEFT} {y:.1f}h{width}", class_="rule"),
            label(LEFT - 6, y + 4, short(mark), "end", quiet=True),
        ]
    for mark in costs:
        x, _ = at(mark, 0)
        axes += [
            tag("path", d=f"M{x:.1f} {TOP}v{height}", class_="rule"),
            label(x, TOP + height + 14, f"${short(mark)}", "middle", quiet=True),
        ]
    axes.append(label(LEFT + width / 2, HEIGHT - 6, "cost a day", "middle", quiet=True))
    axes.append(label(2, 9, "ms", quiet=True))
    line = path((at(point.cost_usd_per_day, point.latency_ms) for point in best), "line after")
    chosen = set(best)
    marks = [_mark(point, at(point.cost_usd_per_day, point.latency_ms), kept=point in chosen) for point in points]
    words = "; ".join(f"{point.name}: {_said(point)}" for point in best[:20])
    return picture("sweep", (WIDTH, HEIGHT), f"Cost and {latency} of {len(points)} points", words, *axes, line, *marks)


def _mark(point: Point, at: tuple[float, float], *, kept: bool) -> Markup:
    x, y = at
    name = tag("title", f"{point.name}: {_said(point)}")
    if kept:
        return tag("rect", name, x=x - 4, y=y - 4, width=8, height=8, class_="bar after")
    return tag("circle", name, cx=x, cy=y, r=4.0, class_="site")


def _said(point: Point) -> str:
    return f"{written(point.cost_usd_per_day, 'usd')} a day, {written(point.latency_ms, 'ms')}, {written(point.answered_share, 'share')} answered"


def _table(points: Sequence[Point], best: Sequence[Point], latency: str) -> Markup:
    chosen, enough = set(best), set(answer_enough(points))
    ordered = sorted(points, key=lambda point: (point.cost_usd_per_day, point.latency_ms))
    rows = [
        [
            point.name,
            written(point.cost_usd_per_day, "usd"),
            written(point.latency_ms, "ms"),
            written(point.answered_share, "share"),
            "no other" if point in chosen else "another" if point in enough else "answers too few",
        ]
        for point in ordered[:POINTS_MAX]
    ]
    return table(
        ["Point", "cost a day", latency, "answered", "beaten by"], rows, words=(4,), name="Points of the sweep"
    )

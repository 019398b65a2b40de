"""How busy each site was, over time."""

import math
from collections.abc import Sequence

from ..measures import written
from ..summary import Busy
from .markup import Markup, tag
from .parts import WIDTH, Side, behind, label, legend, path, picture, section, short, steps, table

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 42, 14, 8, 34, 130
SITES_MAX = 12
ROWS_MAX = 200
POINTS_MAX = 120
Points = list[tuple[float, float]]


def use(sides: Sequence[Side]) -> Markup:
    """Return a picture for each site that had servers ready, the busiest first."""
    names = list(dict.fromkeys(name for side in sides for name in side.first.busy))
    ready = [name for name in names if any(_busy(side, name).ready_s for side in sides)]
    ready.sort(key=lambda name: -max(_busy(side, name).busy_s for side in sides))
    if not ready:
        return section("Use of servers", tag("p", "No server stood ready."))
    used = [name for name in ready if any(_busy(side, name).busy_s for side in sides)][:SITES_MAX]
    pictures = [_picture(f"use{index}", sides, name) for index, name in enumerate(used)]
    note = (
        "Server time in use, as a share of what stood ready. "
        f"{len(used)} of {len(ready)} sites are drawn: the busiest, of those that were used at all. "
        f"The table has {'all' if len(ready) <= ROWS_MAX else ROWS_MAX}."
    )
    rows = [_row(sides, name) for name in ready[:ROWS_MAX]]
    head = ["Site", *(f"{what}, {side.label}" for what in ("mean", "highest", "servers") for side in sides)]
    return section(
        "Use of servers",
        tag("p", note, class_="quiet"),
        legend(sides, "line"),
        tag("div", *pictures, class_="grid"),
        behind("Use of servers", table(head, rows, name="Use of servers by site")),
    )


NOTHING = Busy(0.0, 0.0, None)


def _busy(side: Side, name: str) -> Busy:
    return side.first.busy.get(name, NOTHING)


def _row(sides: Sequence[Side], name: str) -> list[str]:
    def of(side: Side, field: str) -> str:
        return written(side.mean(lambda run: getattr(run.busy.get(name, NOTHING), field)), "share")

    def highest(side: Side) -> str:
        return written(
            side.mean(
                lambda run: max((v for v in run.busy.get(name, NOTHING).over_time if v is not None), default=None)
            ),
            "share",
        )

    def servers(side: Side) -> str:
        mean = side.mean(lambda run: run.busy.get(name, NOTHING).ready_s / run.span_s if run.span_s else None)
        return "—" if mean is None else f"{mean:.2f}".removesuffix(".00")

    return [
        name,
        *(of(side, "utilisation") for side in sides),
        *(highest(side) for side in sides),
        *(servers(side) for side in sides),
    ]


def _picture(key: str, sides: Sequence[Side], name: str) -> Markup:
    # A server that runs on for nothing after its call was given up may count beyond what stands ready.
    high = max([1.0, *(v for side in sides for v in _busy(side, name).over_time if v is not None)])
    span_s = max(side.first.span_s for side in sides)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    axes = []
    for mark in steps(high, 2):
        y = TOP + height * (1 - mark / steps(high, 2)[-1])
        axes += [
            tag("path", d=f"M{LEFT} {y:.1f}h{width}", class_="rule"),
            label(LEFT - 6, y + 4, f"{100 * mark:.0f}%", "end", quiet=True),
        ]
    size, unit = _unit(span_s)
    for mark in steps(span_s / size, 4):
        x = LEFT + width * mark * size / span_s if span_s else LEFT
        if x <= LEFT + width + 0.5:
            axes.append(label(x, TOP + height + 14, short(mark), "middle", quiet=True))
    axes.append(label(LEFT + width / 2, HEIGHT - 4, unit, "middle", quiet=True))
    top = steps(high, 2)[-1]
    lines = [
        path(((LEFT + width * x, TOP + height * (1 - y / top)) for x, y in piece), f"line {side.key}")
        for side in reversed(sides)  # dashes on top: where both are the same, both are seen
        for piece in _pieces(side, name, span_s)
    ]
    words = "; ".join(f"{side.label}: mean {written(_busy(side, name).utilisation, 'share')}" for side in sides)
    svg = picture(key, (WIDTH, HEIGHT), f"Use of servers at {name}", words, *axes, *lines)
    return tag("figure", tag("h3", name), svg)


def _pieces(side: Side, name: str, span_s: float) -> list[Points]:
    """Return the line of one site, broken where no server stood ready; x and y as shares of the picture and of 1."""
    values = _busy(side, name).over_time
    size = max(1, math.ceil(len(values) / POINTS_MAX))
    pieces: list[Points] = [[]]
    step = size * side.first.interval_s / span_s if span_s else 0.0
    for index, value in enumerate(_thinned(values, size)):
        if index * step >= 1:  # the run ended before the time that its intervals were made for
            break
        if value is None:
            pieces.append([])
        else:
            pieces[-1] += [(index * step, value), (min(1.0, (index + 1) * step), value)]
    return [piece for piece in pieces if piece]


def _thinned(values: Sequence[float | None], size: int) -> list[float | None]:
    """Return means of so many neighbours."""
    thin: list[float | None] = []
    for start in range(0, len(values), size):
        known = [value for value in values[start : start + size] if value is not None]
        thin.append(sum(known) / len(known) if known else None)
    return thin


def _unit(span_s: float) -> tuple[float, str]:
    for size, unit in ((172_800.0, "days"), (7_200.0, "hours"), (120.0, "minutes")):
        if span_s >= size:
            return size / 2, unit
    return 1.0, "seconds"

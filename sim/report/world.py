"""A map of the sites and of the calls that flow to them, for each side."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ..measures import change_written, written
from ..summary import Place
from .land import LAND
from .markup import Markup, number, tag
from .parts import Side, behind, picture, section, table
from .projection import MAP_WIDTH, Box, View, room_for

FLOWS_MAX = 120
ROWS_MAX = 200
PLACES_MAX = 400
WIDTH_MOST = 8.0
NEAR = 8.0
"""Places nearer than this in the picture stand on one another: they share a label, and a flow between them is a ring."""
Flows = Mapping[tuple[str, str], float]
Point = tuple[float, float]


def world(sides: Sequence[Side]) -> Markup:
    """Return the maps, what their signs mean, and the flows as a table."""
    view = View.of([place for side in sides for place in side.first.places])
    flows: dict[str, Flows] = {side.key: flows_of(side) for side in sides}
    maps = [_map(side, view, flows[side.key]) for side in sides]
    return section(
        "Where calls come from, and where they are answered",
        tag(
            "p",
            "Squares are clouds, circles edge sites, triangles devices, crosses where calls come from. Each line leads from there to "
            "the site that answered, the wider the more calls; a ring is a site that answered calls from the same place. Lines "
            "do not show the network's way. Calls without an answer are not drawn.",
            class_="quiet",
        ),
        *maps,
        behind("Flows", _table(sides, flows)),
    )


def flows_of(side: Side) -> dict[tuple[str, str], float]:
    """Return the mean number of calls by origin and answering site ("" for none)."""
    found: dict[tuple[str, str], float] = {}
    for run in side.runs:
        for flow in run.flows:
            key = (flow.origin, flow.site)
            found[key] = found.get(key, 0.0) + flow.calls / len(side.runs)
    return found


def _map(side: Side, view: View, flows: Flows) -> Markup:
    at = {place.id: view.at(place) for place in side.first.places}
    total = sum(flows.values())
    drawn = [key for key, calls in flows.items() if key[1] and calls and key[0] in at and key[1] in at]
    drawn.sort(key=lambda key: (-flows[key], key))
    lines = [_flow(at[key[0]], at[key[1]], flows[key] / total, key) for key in drawn[:FLOWS_MAX]]
    busy = {place for key in drawn for place in key}
    places = sorted(side.first.places, key=lambda place: (place.id not in busy, place.tier == "zone"))[:PLACES_MAX]
    signs = [_sign(place, at[place.id]) for place in reversed(places)]
    words = [f"{origin} to {site}: {written(flows[origin, site], 'calls')} calls" for origin, site in drawn[:10]]
    degrees = number(view.scale / 2), number(-2 * view.west), number(2 * view.north)
    backdrop = [
        tag("rect", x=0, y=0, width=MAP_WIDTH, height=view.height, class_="sea"),
        tag(
            "path", d=LAND, transform=f"scale({view.scale / 2:.4f})translate({degrees[1]} {degrees[2]})", class_="land"
        ),
        *_graticule(view),
    ]
    svg = picture(
        f"map-{side.key}",
        (MAP_WIDTH, view.height),
        f"Map of sites and calls, {side.label}",
        "; ".join(words) or "No calls were answered.",
        *backdrop,
        tag("g", *lines, class_=side.key),
        *signs,
        *_labels(places, at, view.height),
    )
    unanswered = sum(calls for (_, site), calls in flows.items() if not site)
    caption = (
        f"{written(round(total), 'calls')} calls, {written(round(unanswered), 'calls')} of them without an answer."
    )
    if len(drawn) > FLOWS_MAX:
        caption += f" The {FLOWS_MAX} greatest of {len(drawn)} flows are drawn."
    if len(side.first.places) > len(places):
        caption += f" {len(places)} of {len(side.first.places)} places are drawn."
    return tag(
        "figure",
        tag("h3", side.label),
        tag("div", svg, class_="wide", role="region", tabindex=0, aria_label=f"Map, {side.label}"),
        tag("figcaption", caption),
    )


def _graticule(view: View) -> list[Markup]:
    step = next(size for size in (5, 10, 15, 30) if view.span / size <= 12)
    lines = []
    first = math.ceil(view.west / step) * step
    for lon in range(first, math.floor(view.west + view.span) + 1, step):
        x = (lon - view.west) * view.scale
        lines.append(tag("path", d=f"M{number(x)} 0v{number(view.height)}", class_="rule"))
    south = view.north - view.height / view.scale
    for lat in range(math.ceil(south / step) * step, math.floor(view.north) + 1, step):
        y = (view.north - lat) * view.scale
        lines.append(tag("path", d=f"M0 {number(y)}h{number(MAP_WIDTH)}", class_="rule"))
    return lines


def _flow(start: Point, end: Point, share: float, key: tuple[str, str]) -> Markup:
    """Return the line of one flow, with its tip: bent, so that there and back are two lines."""
    width = 1.0 + (WIDTH_MOST - 1.0) * math.sqrt(share)
    name = tag("title", f"{key[0]} to {key[1]}: {written(share, 'share')} of calls")
    far = math.dist(start, end)
    if far < NEAR:
        return tag("circle", name, cx=end[0], cy=end[1], r=8.0 + width / 2, class_="flow", stroke_width=width)
    (x1, y1), (x2, y2) = start, end
    bend = 0.16
    cx, cy = (x1 + x2) / 2 + (y2 - y1) * bend, (y1 + y2) / 2 - (x2 - x1) * bend
    ahead = math.atan2(y2 - cy, x2 - cx)
    tip = (x2 - 8 * math.cos(ahead), y2 - 8 * math.sin(ahead))
    size = 5.0 + width
    wings = [(tip[0] - size * math.cos(ahead + turn), tip[1] - size * math.sin(ahead + turn)) for turn in (0.45, -0.45)]
    stop = (tip[0] - size * 0.7 * math.cos(ahead), tip[1] - size * 0.7 * math.sin(ahead))
    line = f"M{_xy((x1, y1))}Q{_xy((cx, cy))} {_xy(stop)}"
    return tag(
        "g",
        name,
        tag("path", d=line, class_="flow", stroke_width=width),
        tag("path", d=f"M{_xy(tip)}L{_xy(wings[0])}L{_xy(wings[1])}z", class_="tip"),
    )


def _xy(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"


def _sign(place: Place, at: Point) -> Markup:
    x, y = at
    name = tag("title", f"{place.id} ({place.tier}, {place.country})")
    if place.tier == "zone":
        return tag("path", name, d=f"M{_xy((x - 5, y))}h10M{_xy((x, y - 5))}v10", class_="zone")
    if place.tier == "edge":
        return tag("circle", name, cx=x, cy=y, r=5.0, class_="site")
    if place.tier == "cloud":
        return tag("rect", name, x=x - 5, y=y - 5, width=10, height=10, class_="site")
    return tag("path", name, d=f"M{_xy((x, y - 6))}l6 10h-12z", class_="site")


def _labels(places: Iterable[Place], at: Mapping[str, Point], height: float) -> list[Markup]:
    """Return the names of places, sites first, those that stand on one another as one; none where there is no room."""
    groups: list[tuple[Point, list[str]]] = []
    for place in places:
        here = at[place.id]
        for there, names in groups:
            if math.dist(here, there) < NEAR:
                names.append(place.id)
                break
        else:
            groups.append((here, [place.id]))
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for (x, y), _ in groups]
    found = []
    for point, names in groups:
        words = ", ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more"
        own = (point[0] - 7, point[1] - 7, point[0] + 7, point[1] + 7)
        room = room_for(words, point, (box for box in taken if box != own), height)
        if room is not None:
            box, anchor = room
            taken.append(box)
            x = {"start": box[0], "end": box[2], "middle": (box[0] + box[2]) / 2}[anchor]
            found.append(tag("text", words, x=x, y=box[3] - 2, text_anchor=anchor, class_="halo"))
    return found


def _table(sides: Sequence[Side], flows: Mapping[str, Flows]) -> Markup:
    totals = {key: sum(of.values()) for key, of in flows.items()}
    keys = sorted({key for of in flows.values() for key in of})
    keys.sort(key=lambda key: -max(of.get(key, 0.0) for of in flows.values()))
    rows = []
    for key in keys[:ROWS_MAX]:
        shares = [flows[side.key].get(key, 0.0) / (totals[side.key] or 1.0) for side in sides]
        cells = [
            part
            for side, share in zip(sides, shares, strict=True)
            for part in (written(round(flows[side.key].get(key, 0.0)), "calls"), written(share, "share"))
        ]
        change = [change_written(shares[1] - shares[0], None, "share")] if len(sides) == 2 else []
        rows.append([key[0], key[1] or "no answer", *cells, *change])
    head = ["From", "Answered at", *(part for side in sides for part in (f"Calls, {side.label}", "share"))]
    head += ["Change of share"] if len(sides) == 2 else []
    return table(head, rows, words=(1,), name="Flows of calls")

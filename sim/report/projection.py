"""From latitudes and longitudes to the picture: which part of the world is shown, and where words find room on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..summary import Place

MAP_WIDTH = 720.0
ASPECT = 2.1
SPAN_LEAST_DEG = 40.0
PADDING = 1.3
SOUTH, NORTH = -62.0, 86.0
LETTER, LINE = 6.9, 13.0
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class View:
    """The part of the world shown: its west and north edges and its width in degrees. Degrees are as wide as high."""

    west: float
    north: float
    span: float

    @classmethod
    def of(cls, places: Sequence[Place]) -> "View":
        """Return the least part of the world that has all places well inside."""
        lons, lats = [place.lon for place in places] or [0.0], [place.lat for place in places] or [20.0]
        wide, high = max(lons) - min(lons), max(lats) - min(lats)
        span = min(360.0, max(SPAN_LEAST_DEG, wide * PADDING, high * PADDING * ASPECT))
        west = min(max(-180.0, (max(lons) + min(lons) - span) / 2), 180.0 - span)
        tall = span / ASPECT
        north = (max(lats) + min(lats) + tall) / 2
        north = max(min(north, NORTH), SOUTH + tall) if tall < NORTH - SOUTH else (NORTH + SOUTH + tall) / 2
        return cls(west, north, span)

    @property
    def scale(self) -> float:
        """How many units of the picture a degree has."""
        return MAP_WIDTH / self.span

    @property
    def height(self) -> float:
        """The picture's height."""
        return MAP_WIDTH / ASPECT

    def at(self, place: Place) -> tuple[float, float]:
        """Return where a place is in the picture."""
        return (place.lon - self.west) * self.scale, (self.north - place.lat) * self.scale


def room_for(words: str, at: tuple[float, float], taken: Iterable[Box], height: float) -> tuple[Box, str] | None:
    """Return a box beside a point that holds the words and hits nothing, and the words' anchor; None where none does."""
    x, y = at
    long = len(words) * LETTER
    sides = (
        ((x + 9, y - 7, x + 9 + long, y + 6), "start"),
        ((x - 9 - long, y - 7, x - 9, y + 6), "end"),
        ((x - long / 2, y - 22, x + long / 2, y - 9), "middle"),
        ((x - long / 2, y + 9, x + long / 2, y + 22), "middle"),
        ((x + 6, y - 20, x + 6 + long, y - 7), "start"),
        ((x + 6, y + 7, x + 6 + long, y + 20), "start"),
    )
    others = list(taken)
    for box, anchor in sides:
        inside = box[0] >= 0 and box[2] <= MAP_WIDTH and box[1] >= 0 and box[3] <= height
        if inside and not any(_hits(box, other) for other in others):
            return box, anchor
    return None


def _hits(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

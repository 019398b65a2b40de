"""Plain figures as SVG text: axes, lines, dots, bands. No more than the benches need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

INK, PALE, LINE = "#333333", "#dfeadf", "#3b6ea8"


@dataclass
class Panel:
    """One pair of axes. `x` and `y` are the ranges shown; `left`, `top`, `width` and `height` are in pixels."""

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    left: float
    top: float
    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point stands, in pixels; what is out of range stands at the edge."""
        across = min(max((x - self.x[0]) / (self.x[1] - self.x[0]), 0), 1)
        up = min(max((y - self.y[0]) / (self.y[1] - self.y[0]), 0), 1)
        return round(self.left + across * self.width, 1), round(self.top + (1 - up) * self.height, 1)

    def band(self, low: float, high: float) -> None:
        """Shade what lies between two heights: a goal."""
        x, top = self.at(self.x[0], high)
        _, bottom = self.at(self.x[0], low)
        self.parts.append(
            f'<rect x="{x}" y="{top}" width="{self.width}" height="{round(bottom - top, 1)}" fill="{PALE}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str = LINE, opacity: float = 1.0) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-opacity="{opacity}" stroke-width="1.3"/>'
        )

    def dot(self, x: float, y: float, colour: str = LINE) -> None:
        """Draw a dot."""
        across, down = self.at(x, y)
        self.parts.append(f'<circle cx="{across}" cy="{down}" r="4" fill="{colour}"/>')

    def x_label(self, x: float, words: str) -> None:
        """Write below the axis."""
        across, down = self.at(x, self.y[0])
        self.parts.append(_text(across, down + 16, words, "middle"))
        self.parts.append(_rule(across, down, across, down + 4))

    def y_label(self, y: float, words: str) -> None:
        """Write beside the axis."""
        across, down = self.at(self.x[0], y)
        self.parts.append(_text(across - 8, down + 4, words, "end"))
        self.parts.append(_rule(across - 4, down, across, down))

    def text(self) -> str:
        """Return the panel."""
        bottom, right = self.top + self.height, self.left + self.width
        frame = [
            _rule(self.left, self.top, self.left, bottom),
            _rule(self.left, bottom, right, bottom),
            _text(self.left, self.top - 12, self.title, "start", bold=True),
        ]
        return "\n".join([*self.parts, *frame])


def figure(width: int, height: int, panels: Sequence[Panel], caption: str) -> str:
    """Return a whole SVG document; `caption` is its description for those who do not see it."""
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
                'font-family="sans-serif" font-size="12">'
            ),
            f"<title>{escape(caption)}</title>",
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *(panel.text() for panel in panels),
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, words: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}"{weight}>{escape(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}"/>'

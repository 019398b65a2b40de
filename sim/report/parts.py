"""What every part of the report is made of: the sides compared, pictures with words, tables behind them, axes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..summary import Summary
from .markup import Markup, Part, joined, number, tag

WIDTH = 360
"""Pictures that stand side by side are this wide: as wide as a phone, so that their words keep their size there."""


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of one scenario. `key` is its class in the style sheet: dashed or hatched is before, solid after."""

    key: Literal["before", "after"]
    label: str
    runs: tuple[Summary, ...]

    @property
    def first(self) -> Summary:
        """The run whose curves are drawn: those of several runs would hide each other."""
        return self.runs[0]

    def mean(self, of: Callable[[Summary], float | None]) -> float | None:
        """Return the mean of a number over the runs that have it; None where none does."""
        known = [value for run in self.runs if (value := of(run)) is not None]
        return math.fsum(known) / len(known) if known else None


def picture(key: str, size: tuple[float, float], title: str, words: str, *parts: Part, top: float = 0) -> Markup:
    """Return an SVG that says in words what it shows. `key` is unique in the page, `size` its width and height."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", words, id=f"{key}-words"),
        *parts,
        viewBox=" ".join(number(value) for value in (0, top, *size)),
        role="img",
        aria_labelledby=f"{key}-title {key}-words",
    )


def legend(sides: Sequence[Side], shape: Literal["line", "bar"]) -> Markup:
    """Return what before and after look like; nothing for one side alone."""
    if len(sides) < 2:
        return Markup("")
    drawn: list[Markup] = []
    for index, side in enumerate(sides):
        x = 130 * index + 1
        sample = (
            tag("path", d=f"M{x} 9h28", class_=f"line {side.key}")
            if shape == "line"
            else tag("rect", x=x, y=3, width=28, height=12, class_=f"bar {side.key}")
        )
        drawn += [sample, label(x + 34, 13, side.label)]
    return tag("svg", *drawn, viewBox=f"0 0 {WIDTH} 18", aria_hidden="true", class_="legend")


def label(x: float, y: float, words: Part, anchor: str | None = None, *, quiet: bool = False) -> Markup:
    """Return text of a picture. `anchor` is SVG's: middle, end; left out for start."""
    return tag("text", words, x=float(x), y=float(y), text_anchor=anchor, class_="quiet" if quiet else None)


def path(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points."""
    return tag("path", d=f"M{'L'.join(f'{number(x)} {number(y)}' for x, y in points)}", class_=class_)


def table(head: Sequence[str], rows: Iterable[Sequence[Part]], words: Iterable[int] = (), name: str = "") -> Markup:
    """Return a table that scrolls sideways where it is too wide. Columns in `words` hold words; the first names its row."""
    wordy = set(words)
    kinds = ["word" if index in wordy else None for index in range(len(head))]
    heads = (tag("th", part, scope="col", class_=kind) for part, kind in zip(head, kinds, strict=True))
    body = []
    for first, *rest in rows:
        cells = (tag("td", part, class_=kind) for part, kind in zip(rest, kinds[1:], strict=True))
        body.append(tag("tr", tag("th", first, scope="row"), *cells))
    whole = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body))
    return tag("div", whole, class_="wide", role="region", tabindex=0, aria_label=name or "Table")


def behind(what: str, *parts: Part) -> Markup:
    """Return what stands behind a picture: closed until it is asked for."""
    return tag("details", tag("summary", f"{what} as a table"), *parts)


def section(title: str, *parts: Part) -> Markup:
    """Return one part of the page."""
    return tag("section", tag("h2", title), joined(parts))


def steps(high: float, count: int = 4) -> list[float]:
    """Return round numbers from 0 to at least `high`, about `count` of them; [0, 1] where there is nothing to show."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / count
    size: float = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * (1 - 1e-9))
    return [step * index for index in range(math.ceil(high / step - 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten from at most `low` to at least `high`, both positive."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    marks: list[float] = [factor * 10.0**power for power in range(first, last) for factor in (1, 2, 5)]
    start = max((index for index, mark in enumerate(marks) if mark <= low), default=0)
    end = min((index for index, mark in enumerate(marks) if mark >= high and index > start), default=len(marks) - 1)
    return marks[start : end + 1]


def short(value: float) -> str:
    """Return an axis mark: `0.5`, `20`, `2k`, `1.5M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"

"""HTML and SVG, put together so that nothing is ever in it that was not escaped."""

import re
from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "br", "col"})
UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, halves of surrogate pairs, and marks that turn the direction of the text around them."""
FIGURE = re.compile(r"([\u2212+]?\$?\d[\d.,]*(?: ± [\d.,]*\d)?)")
NAME = re.compile(r"^[a-zA-Z][a-zA-Z0-9-]*$")


class Markup(str):
    """Text that is markup already. Only this module makes it."""

    __slots__ = ()


Part = str | int | float
"""Markup stands as it is; everything else is text, and is escaped."""


def text(value: object) -> Markup:
    """Return any text, escaped; characters that cannot be seen are shown as U+FFFD."""
    return value if isinstance(value, Markup) else Markup(escape(UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", str(value))))


def tag(name: str, /, *parts: Part | None, **attributes: object) -> Markup:
    """Return an element. `class_` stands for class, `stroke_width` for stroke-width; attributes that are None are left out.

    Raises ValueError for a name that is none: names come from our own code only.
    """
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not NAME.match(attribute):
            raise ValueError(f"{attribute!r} is no attribute")
        if value is not None:
            words.append(f'{attribute}="{text(number(value) if isinstance(value, float) else value)}"')
    if not NAME.match(name):
        raise ValueError(f"{name!r} is no element")
    start = f"<{' '.join(words)}>"
    return Markup(start if name in VOID else f"{start}{joined(part for part in parts if part is not None)}</{name}>")


def unbroken(value: str) -> Markup:
    """Return text whose numbers stay whole at the end of a line, with their sign and margin."""
    pieces = FIGURE.split(value)  # figures stand at odd places
    return joined(tag("span", part, class_="whole") if index % 2 else part for index, part in enumerate(pieces))


def joined(parts: Iterable[Part]) -> Markup:
    """Return parts one after another."""
    return Markup("".join(text(part) for part in parts))


def trusted(source: str) -> Markup:
    """Return a constant of our own (the style sheet) as markup. Never anything that came from elsewhere."""
    return Markup(source)


def number(value: float) -> str:
    """Return a coordinate with at most one decimal place: a tenth of a pixel is enough for anybody."""
    short = f"{value:.1f}".removesuffix(".0")
    return "0" if short == "-0" else short

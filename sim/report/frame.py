"""What stands around every page: what it is called, how it looks, and what it may not do."""

from collections.abc import Iterable

from .markup import Markup, Part, tag, trusted
from .style import SECURITY, STYLE


def whole(title: str, parts: Iterable[Part | None]) -> str:
    """Return a page of these parts."""
    body = tag("main", _patterns(), *parts)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=SECURITY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", trusted(STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _patterns() -> Markup:
    """Return the hatching of bars, which every picture may use. Not hidden: some browsers then draw none."""
    lines = tag("path", d="M0 0v6", class_="hatch")
    hatch = tag(
        "pattern", lines, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse", patternTransform="rotate(45)"
    )
    return tag("svg", tag("defs", hatch), width=0, height=0, aria_hidden="true", class_="none")

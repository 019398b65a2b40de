"""Documents that are changed after reading: every value keeps the file and the line that it comes from.

A change takes parts of one file (a scenario) into another (the fleet). What the loader then finds wrong in such a part
is said with the place in the scenario, where its author can mend it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infercast.policies.documents import Document, Location, dotted
from infercast.policies.faults import Fault


@dataclass(slots=True)
class Part:
    """A value with where it stands. `value` is a dict of parts, a list of parts, or a plain value.

    `said` is what faults name instead of the place, for a value that its author wrote in other words.
    """

    value: Any
    file: str
    line: int
    said: str = ""

    def plain(self) -> Any:
        """Return the value without its places."""
        if isinstance(self.value, dict):
            return {key: part.plain() for key, part in self.value.items()}
        if isinstance(self.value, list):
            return [part.plain() for part in self.value]
        return self.value

    def made(self, value: Any) -> "Part":
        """Return a plain value as a part that stands where this one does."""
        if isinstance(value, dict):
            return Part({key: self.made(inner) for key, inner in value.items()}, self.file, self.line, self.said)
        if isinstance(value, list | tuple):
            return Part([self.made(inner) for inner in value], self.file, self.line, self.said)
        return Part(value, self.file, self.line, self.said)

    def get(self, key: str) -> Any:
        """Return the plain value under a key; None where there is none."""
        inner = self.value.get(key) if isinstance(self.value, dict) else None
        return None if inner is None else inner.plain()

    def at(self, *steps: str | int) -> "Part":
        """Return an inner part. Raises KeyError or IndexError where there is none."""
        part = self
        for step in steps:
            part = part.value[step]
        return part

    def items(self, key: str) -> "list[Part]":
        """Return the list of mappings under a key, to be changed in place; it is made where there is none.

        What is no mapping is left for the loader to refuse.
        """
        inner = self.value.setdefault(key, Part([], self.file, self.line))
        if not isinstance(inner.value, list):
            return []
        found: list[Part] = inner.value
        return found

    def walk(self, at: Location = ()) -> "Iterator[tuple[Location, Part]]":
        """Yield this part and all within it, with their places."""
        yield at, self
        if isinstance(self.value, dict | list):
            inner = self.value.items() if isinstance(self.value, dict) else enumerate(self.value)
            for step, part in inner:
                yield from part.walk((*at, step))


def part_of(document: Document) -> Part:
    """Return a read document as parts. Raises nothing: its faults stay with the document."""
    return _part(document, document.value, ())


def _part(document: Document, value: Any, at: Location) -> Part:
    if isinstance(value, dict):
        value = {key: _part(document, inner, (*at, key)) for key, inner in value.items()}
    elif isinstance(value, list):
        value = [_part(document, inner, (*at, index)) for index, inner in enumerate(value)]
    return Part(value, document.file, document.line_of(at))


def merge_patch(target: Part, patch: Part) -> Part:
    """Return `target` with a JSON merge patch (RFC 7386): mappings merge, null removes, all else takes the place."""
    if not isinstance(patch.value, dict):
        return patch
    kept = dict(target.value) if isinstance(target.value, dict) else {}
    for key, inner in patch.value.items():
        if inner.value is None:
            kept.pop(key, None)
        else:
            kept[key] = merge_patch(kept.get(key, Part(None, inner.file, inner.line)), inner)
    where = target if isinstance(target.value, dict) else patch
    return Part(kept, where.file, where.line)


class Edited(Document):
    """A document made of parts of several files. `file` is the one that most of it comes from. `part` stays with it."""

    def __init__(self, part: Part, faults: list[Fault]) -> None:
        super().__init__(part.file, "")
        self.part = part
        self.value = part.plain()
        self.faults = list(faults)
        self._files: dict[Location, str] = {}
        self._said: dict[Location, str] = {}
        for at, inner in part.walk():
            self.lines[at] = inner.line
            self._files[at] = inner.file
            self._said[at] = inner.said

    def fault(self, at: Location, message: str, remedy: str = "") -> Fault:
        """Return a fault at a place, in the file that the place comes from."""
        near = at
        while near and near not in self._files:
            near = near[:-1]
        return Fault(self._files[near], self.line_of(near), self._said[near] or dotted(at), message, remedy)

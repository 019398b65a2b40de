"""What is wrong with an input, said so that its author can mend it: where, what, remedy. All faults at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in one place of one input.

    `line` counts from 1; 0 where the input has no lines. `field` is the dotted path inside the document.
    """

    file: str
    line: int
    field: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{place}: {self.field}: {self.message}{remedy}" if self.field else f"{place}: {self.message}{remedy}"


class BadInput(Exception):  # noqa: N818 - a caller's mistake, not our error; the name says whose fault it is
    """An input was refused whole; nothing of it took effect. `faults` lists every reason, sorted by place."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type["BadInput"], tuple[tuple[Fault, ...]]]:
        """Travel between processes whole: an exception would be rebuilt from its text."""
        return BadInput, (self.faults,)


KNOWN_MAX = 60
"""How many known words are listed."""
WORD_CHARS_MAX = 100
"""How much of a word is compared: the time that this takes grows with its square."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return a remedy naming the nearest known word, or the known words themselves when none is near."""
    words, said = sorted(set(known)), str(word)[:WORD_CHARS_MAX]
    if said in words:
        return f"it is written {said}, without quotes"
    alike = [each for each in words if each.casefold() == said.casefold()]
    near = alike or get_close_matches(said, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    more = f" and {len(words) - KNOWN_MAX} more" if len(words) > KNOWN_MAX else ""
    return f"known: {', '.join(words[:KNOWN_MAX])}{more}" if words else "none are declared"

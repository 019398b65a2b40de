"""Times of scenarios as people write them: `90s`, `10m`, `1h30m`. Whole microseconds inside."""

from re import findall, fullmatch
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from infercast.policies.units import US_PER_MS, US_PER_S, to_int

UNITS_US = {
    "d": 86_400 * US_PER_S,
    "h": 3_600 * US_PER_S,
    "m": 60 * US_PER_S,
    "s": US_PER_S,
    "ms": US_PER_MS,
}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
PATTERN = "^" + "".join(f"({_NUMBER}{unit})?" for unit in UNITS_US) + "$"
LONGEST_US = 366 * UNITS_US["d"]


def microseconds(value: Any) -> int:
    """Return the microseconds of a duration such as `1h30m`. Raises ValueError in words."""
    if not isinstance(value, str) or not value or fullmatch(PATTERN, value) is None:
        raise ValueError("a duration is written with its units, such as 90s, 10m, 1h30m or 1d")
    found = sum(to_int(number, UNITS_US[unit]) for number, unit in findall(rf"({_NUMBER})([a-z]+)", value))
    if found > LONGEST_US:
        raise ValueError("a duration is at most 366 days")
    return found


def in_words(us: int) -> str:
    """Return a duration as `microseconds` reads it, in whole units: `1h30m`; what is below a millisecond is left out."""
    said = ""
    for unit, size in UNITS_US.items():
        count, us = divmod(us, size)
        said += f"{count}{unit}" if count else ""
    return said or "0s"


Duration = Annotated[
    int, BeforeValidator(microseconds), WithJsonSchema({"type": "string", "minLength": 2, "pattern": PATTERN})
]
"""A field that is written as a duration and holds microseconds."""

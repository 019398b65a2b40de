"""What a caller says of kept answers: the header `cache-control` of a request (RFC 9111, section 5.2.1)."""

from functools import lru_cache
from typing import NamedTuple

WORDS_MAX = 16
CHARS_MAX = 1024
"""A header with more than that may say anything further on: it counts as the strictest."""
SECONDS_MAX = 2**31
"""What a longer time counts as (RFC 9111, section 1.2.2)."""


class Wish(NamedTuple):
    """It may only narrow what the policy allows. Times in seconds, None where nothing is said."""

    looks: bool = True
    """Whether a kept answer will do."""
    keeps: bool = True
    """Whether the answer may be kept. Where not, the call does not come near the cache."""
    only: bool = False
    """Whether nothing but a kept answer will do."""
    age_max_s: int | None = None
    left_min_s: int = 0


NO_WISH = Wish()
NO_STORE = Wish(looks=False, keeps=False)


def wish_of(control: str | None) -> Wish:
    """Return what a header says; words that nobody knows say nothing.

    A time that is none is the strictest one, and so is a header that is too long to be read.
    """
    if control is None:
        return NO_WISH
    return _read(control) if len(control) <= CHARS_MAX else _strictest(control)


def _strictest(control: str) -> Wish:
    """Return the strictest wish. With `only-if-cached` it is a refusal, and without it none: that word is looked for."""
    return NO_STORE._replace(only="only-if-cached" in control.lower())


@lru_cache(maxsize=256)
def _read(control: str) -> Wish:
    wish, parts = NO_WISH, control.lower().split(",")
    if len(parts) > WORDS_MAX:
        return _strictest(control)
    for part in parts:
        word, _, value = (each.strip() for each in part.partition("="))
        match word:
            case "no-cache":
                wish = wish._replace(looks=False)
            case "no-store":
                wish = wish._replace(looks=False, keeps=False)
            case "only-if-cached":
                wish = wish._replace(only=True)
            case "max-age":
                age_max_s = _seconds(value, 0)
                wish = wish._replace(age_max_s=age_max_s if wish.age_max_s is None else min(age_max_s, wish.age_max_s))
                # No answer is younger than that: to look, or to wait for one that is being made, would be in vain.
                wish = wish if age_max_s else wish._replace(looks=False)
            case "min-fresh":
                wish = wish._replace(left_min_s=max(wish.left_min_s, _seconds(value, SECONDS_MAX)))
    return wish


def _seconds(text: str, otherwise: int) -> int:
    text = text.strip('"')
    return min(int(text), SECONDS_MAX) if text.isascii() and text.isdigit() and len(text) <= 20 else otherwise

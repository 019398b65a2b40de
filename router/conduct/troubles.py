"""The troubles that a call on its way may end in, in words."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from infercast.policies.engine import Unknown
from infercast.policies.faults import did_you_mean
from infercast.policies.units import US_PER_S

from ..errors import Kind, Trouble

T = TypeVar("T")


def unknown(error: Unknown) -> Trouble:
    """Return a name that nobody declared as the trouble it is."""
    kind = Kind.NOT_FOUND if error.field in ("model", "version") else Kind.BAD_REQUEST
    return Trouble(kind, f"no {error.field} is called {error.value!r}", did_you_mean(error.value, error.known))


def not_kept() -> Trouble:
    """Return that a call asks for a kept answer or none, and none is kept that it may have."""
    return Trouble(Kind.NOT_KEPT, "no answer to this is kept", "without `only-if-cached` it is run")


def no_room(retry_after_s: int, attempts: list[str]) -> Trouble:
    """Return that what was tried had no room."""
    message = f"{', '.join(attempts)} gave no answer, the last for want of room"
    remedy = f"repeat the call in {retry_after_s} s"
    return Trouble(Kind.SATURATED, message, remedy, {"retry_after_s": retry_after_s})


def no_place() -> Trouble:
    """Return that a call that waits for no turn found no place free."""
    return Trouble(Kind.SATURATED, "no place is free for it, and it waits for none", "the call may be repeated")


def too_late(limit_us: int, attempts: list[str]) -> Trouble:
    """Return that the deadline has passed."""
    tried = ", ".join(attempts) or "nothing"
    return Trouble(
        Kind.DEADLINE, f"no answer within {limit_us / 1000:.0f} ms; tried {tried}", "the call may be repeated"
    )


async def within(waiting: Awaitable[T], left_us: int, late: Trouble) -> T:
    """Wait for something as long as time is left. Raises `late` then."""
    try:
        async with asyncio.timeout(max(0, left_us) / US_PER_S):
            return await waiting
    except TimeoutError:
        raise late from None

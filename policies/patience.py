"""How long a try is waited for before the next candidate is tried. One rule, live and simulated; whole microseconds."""

PATIENCE_FACTOR = 4
PATIENCE_FLOOR_US = 150_000
"""A candidate is given up for the next one after 4 times its estimate, yet never before this."""
DEADLINE_DEFAULT_US = 30_000_000
"""What a call may take when neither its policy nor its caller says: nothing waits for ever."""
NOTHING_BEHIND = -1


def patience_us(own_us: int, next_us: int, left_us: int) -> int:
    """Return how long to wait for a candidate whose estimate is `own_us`, with one of `next_us` behind it.

    All that is left (`left_us`) where nothing stands behind it (NOTHING_BEHIND), or where what does could not make it
    any more; else a multiple of its own estimate, held down so that the next one still has one and a half times its own.
    """
    if next_us < 0:
        return left_us
    room_us = left_us - next_us * 3 // 2
    if room_us <= own_us * 3 // 2:
        return left_us
    return min(room_us, max(PATIENCE_FLOOR_US, PATIENCE_FACTOR * own_us))

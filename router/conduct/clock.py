"""The clock that the conduct of calls goes by: monotonic, so no step of the wall's shortens or stretches a deadline."""

import time


def now_us() -> int:
    """Return microseconds since some moment in the past."""
    return time.monotonic_ns() // 1000

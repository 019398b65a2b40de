"""When a call is tried once more where it has just failed: how soon, and out of which budget.

Nothing here decides where a call goes: who may be asked once more is only not shut for the call's next decision.
"""

BACKOFF_US, BACKOFF_US_MAX = 25_000, 1_000_000
"""The first pause is up to this long, each further one up to twice as long as the last."""
NEWS_US = 300_000
"""Behind a Retry-After: that a place has room again is in the snapshot one exchange later."""
PER_CALL_MILLI = 200
"""Each call of a tenant's earns a fifth of a retry for it: so retries add a fifth to its calls at most."""
PER_S_MILLI = 1000
"""Each second earns one: who calls seldom may repeat as well."""
KEPT_MILLI = 10_000
"""No more than ten retries are kept for later."""


def backoff_us(failures: int, luck: float) -> int:
    """Return how long to wait after so many failures at one place, `luck` being from 0 up to 1.

    Anything from nothing to twice the last limit ("full jitter", AWS Architecture Blog, Exponential Backoff And Jitter, 2015):
    callers that failed together do not come back together.
    """
    return int(luck * min(BACKOFF_US_MAX, BACKOFF_US << min(failures - 1, 10)))


class Budget:
    """The retries that one tenant has left at one entry, in thousandths. The caller brings the clock."""

    __slots__ = ("_at_us", "_milli")

    def __init__(self, now_us: int) -> None:
        self._milli = KEPT_MILLI
        self._at_us = now_us

    def called(self) -> None:
        """Count a call."""
        self._milli = min(KEPT_MILLI, self._milli + PER_CALL_MILLI)

    def take(self, now_us: int) -> bool:
        """Take one retry, if there is one."""
        earned = max(0, now_us - self._at_us) * PER_S_MILLI // 1_000_000
        self._at_us += earned * 1_000_000 // PER_S_MILLI
        self._milli = min(KEPT_MILLI, self._milli + earned)
        if self._milli < 1000:
            return False
        self._milli -= 1000
        return True

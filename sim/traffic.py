"""What a scenario changes of its traffic: more or fewer calls of some kinds for a time, or the same calls from elsewhere.

Changes act one after the other: a scaling that stands behind a shift sees calls where the shift has put them.
"""

from dataclasses import dataclass

FACTOR_MAX = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which calls a change is for; a part left out means all. Every part that is given must hold.

    `from_us` and `until_us` are from the scenario's start, `[from, until)`. `hours` is `HH:MM-HH:MM` by the clock of each
    call's origin, and may go past midnight.
    """

    tenants: frozenset[str] | None = None
    models: frozenset[str] | None = None
    origins: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    from_us: int = 0
    until_us: int | None = None
    hours: str | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """So many times the calls. Those that were there stay as they are; above 1 others are added, below 1 some leave.

    Factors that act on the same calls are multiplied. Raises ValueError beyond 0 to FACTOR_MAX.
    """

    factor: float
    which: Which = Which()

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= FACTOR_MAX:
            raise ValueError(f"a factor is from 0 to {FACTOR_MAX:.0f}, not {self.factor}")


@dataclass(frozen=True, slots=True)
class Shift:
    """A share of the calls comes from `to` instead of where `which` finds them. Raises ValueError beyond 0 to 1."""

    share: float
    to: str
    which: Which = Which()

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {self.share}")


TrafficChange = Scale | Shift

"""What may be asked of a ledger. Nothing here needs a database: devices load it, and have none."""

from dataclasses import dataclass

from infercast.policies.faults import BadInput

DIMENSIONS = ("tenant", "model", "site", "day", "entry", "deployment", "outcome")
"""What sums may be by. `site` is where a call ran, `entry` where it came in, `day` the UTC day on which it began."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: of calls begun from `since_s` on, before `until_s`, of one tenant; None and empty are no bounds."""

    since_s: float | None = None
    until_s: float | None = None
    tenant: str = ""


class MiddleOfDay(BadInput):
    """A bound lies in the middle of a day of which only the sum is known."""

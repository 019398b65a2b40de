"""For how long an answer may be kept in a country, by what files say: the one question that every cache asks."""

from collections.abc import Iterable

from .constraints import outside
from .fleet import Fleet
from .parts import Constraints

DAY_S = 86_400


def keeping_s(blocks: Iterable[Constraints], country: str, ttl_s: int, fleet: Fleet) -> int:
    """Return for how many seconds an answer to a call that these blocks bind may be kept; 0 for not at all.

    What is kept of a call is stored where it is kept: that country must be one that `residency.storage` of every block
    permits (an unknown one never is), and nothing is kept for longer than any block's `retention_days_max`.
    """
    lifetime_s = ttl_s
    for block in blocks:
        if outside(block.residency.storage, [country], fleet):
            return 0
        if block.privacy.retention_days_max is not None:
            lifetime_s = min(lifetime_s, block.privacy.retention_days_max * DAY_S)
    return lifetime_s

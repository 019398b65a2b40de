"""By when each call of a workload had to be answered: what its policy says at that time, and what its caller asks."""

import numpy as np

from infercast.policies.engine import tighter
from infercast.policies.policy import Policy
from infercast.policies.units import US_PER_S, deadline_us

from .model import Ints, Kind, World


def deadlines_us(world: World, calls: int) -> Ints:
    """Return the deadline of each of the first `calls` calls, int64[calls] in microseconds; 0 where there is none.

    A call is judged by the windows that are open when it is sent.
    """
    kinds = world.calls.kinds
    kind = world.calls.kind[:calls]
    if not calls or not kinds:
        return np.zeros(calls, dtype=np.int64)
    at_us = world.calls.at_us
    last_s = world.starts_at_s + int(at_us[calls - 1]) // US_PER_S
    at_s = world.starts_at_s + int(at_us[0]) // US_PER_S
    policies = {kind.tenant: world.policies[kind.tenant] for kind in kinds}
    found = np.empty(calls, dtype=np.int64)
    first = 0
    while first < calls:
        until_s = min(policy.period(at_s)[1] for policy in policies.values())
        last = calls
        if until_s <= last_s:
            last = int(np.searchsorted(at_us[:calls], (until_s - world.starts_at_s) * US_PER_S, side="left"))
        of_kind = np.array([_deadline_us(world, policies[each.tenant], each, at_s) for each in kinds], dtype=np.int64)
        found[first:last] = of_kind[kind[first:last]]
        first, at_s = last, until_s
    return found


def _deadline_us(world: World, policy: Policy, kind: Kind, at_s: int) -> int:
    blocks = policy.terms(world.fleet, kind.classes, kind.model, kind.origin, at_s).blocks
    said = [deadline_us(block.deadline_ms) for block in blocks if block.deadline_ms is not None]
    return tighter(min(said, default=0), kind.deadline_us)

"""Tenants' limits, and which calls ask the same question, as the kernel's tables have them."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.policy import Policy
from infercast.policies.units import US_PER_S, nusd, ppm

from ..kernel import layout as at
from ..model import NEVER_EQUAL, Calls, Ints, World

NEVER_US = -(1 << 62)
"""When an answer came that never did."""


def tenants_of(world: World) -> list[str]:
    """Return the tenants that send calls, in order."""
    return sorted({kind.tenant for kind in world.calls.kinds})


def tenants(world: World) -> Ints:
    """Return the tenants' table, int64[tenants, U_COLS], nothing used yet."""
    names = tenants_of(world)
    table = np.zeros((max(1, len(names)), at.U_COLS), dtype=np.int64)
    for row, name in zip(table, names, strict=False):
        policy = world.policies[name]
        limits, hedge, cache = policy.limits, policy.behaviour.hedge, policy.behaviour.cache
        row[at.U_PER_MINUTE_MAX] = _or_none(limits.requests_per_minute)
        row[at.U_RUNNING_MAX] = _or_none(limits.concurrent_max)
        row[at.U_DAY_MAX_NUSD] = at.NONE if limits.budget_usd_per_day is None else nusd(limits.budget_usd_per_day)
        row[at.U_MONTH_MAX_NUSD] = at.NONE if limits.budget_usd_per_month is None else nusd(limits.budget_usd_per_month)
        row[[at.U_MINUTE, at.U_DAY, at.U_MONTH]] = at.NONE
        row[at.U_HEDGE_PPM] = 0 if hedge is None else ppm(hedge.budget_share)
        row[at.U_HEDGE_Z] = at.NONE if hedge is None else QUANTILE_COLUMN[hedge.after_quantile]
        row[at.U_TTL_US] = 0 if cache is None else cache.ttl_s * US_PER_S
        limited = row[[at.U_PER_MINUTE_MAX, at.U_RUNNING_MAX, at.U_DAY_MAX_NUSD, at.U_MONTH_MAX_NUSD]] != at.NONE
        row[at.U_TRACKED] = limited.any() or hedge is not None
    return table


def _or_none(limit: int | None) -> int:
    return at.NONE if limit is None else limit


def questions(
    calls: Calls, rows: list[tuple[int, str]], row: npt.NDArray[np.int32], policies: Mapping[str, Policy]
) -> npt.NDArray[np.int32]:
    """Number the questions whose answers are kept: int32[n], NONE for calls whose answers are not.

    Equal are calls of one group and content at one entry; a group is a kind, or a tenant's calls of one model and data
    classes, as its policy says.
    """
    groups: dict[tuple[object, ...], int] = {}
    group_of_row = np.full(len(rows) + 1, at.NONE, dtype=np.int64)  # the last is for calls that found no entry
    for number, (kind_number, entry) in enumerate(rows):
        kind = calls.kinds[kind_number]
        cache = policies[kind.tenant].behaviour.cache
        if cache is not None:
            shared = (kind.tenant, kind.model, tuple(sorted(set(kind.classes))))
            group = (entry, kind_number) if cache.scope == "key" else (entry, *shared)
            group_of_row[number] = groups.setdefault(group, len(groups))
    asked = np.full(len(calls), at.NONE, dtype=np.int32)
    if groups:
        group_of_call = group_of_row[row]
        kept = np.flatnonzero((group_of_call >= 0) & (calls.content != NEVER_EQUAL))
        pairs = np.stack([group_of_call[kept], calls.content[kept]])
        asked[kept] = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    return asked

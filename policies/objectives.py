"""Preferences in the kernel's units. Every one of them is the same sum with other rates: what is not asked for counts 0.

`score = per_price x price + per_s x latency + per_error x error + exposure`, lower wins.
"""

import numpy as np

from . import kernel
from .fleet import Fleet, Site
from .jurisdictions import UNKNOWN
from .model import Preference, Quantile, Tier
from .parts import Exposure, Objective
from .tables import Table
from .units import PPM, US_PER_S, nusd

SCORE_UNIT = {
    Preference.BALANCED: "nUSD",
    Preference.CHEAPEST: "nUSD",
    Preference.FASTEST: "us",
    Preference.MOST_ACCURATE: "error ppm",
    Preference.MOST_PRIVATE: "exposures",
}
QUANTILE_COLUMN = {quantile: column for column, quantile in enumerate(Quantile)}


def form(objective: Objective) -> dict[int, int]:
    """Return the kernel parameters that an objective sets: what each part counts in its score."""
    columns = {
        kernel.P_WAIT_Z: QUANTILE_COLUMN[objective.waiting.quantile],
        kernel.P_PER_PRICE: int(objective.preference in (Preference.BALANCED, Preference.CHEAPEST)),
        kernel.P_SECOND_PRICE: int(objective.preference is Preference.FASTEST),
    }
    if objective.preference is Preference.BALANCED:
        columns[kernel.P_PER_S] = nusd(objective.waiting.usd_per_second)
        columns[kernel.P_PER_ERROR] = nusd(objective.usd_per_error)
    if objective.preference is Preference.FASTEST:
        columns[kernel.P_PER_S] = US_PER_S
    if objective.preference is Preference.MOST_ACCURATE:
        columns[kernel.P_PER_ERROR] = PPM
    return columns


def exposures(objective: Objective, origin: str, fleet: Fleet) -> Table:
    """Return what a call from `origin` is charged for running at each site: int64[sites], in the score's unit."""
    if objective.preference is Preference.MOST_PRIVATE:
        charged = [sum(_left(origin, site, fleet)) for site in fleet.sites]
    elif objective.preference is Preference.BALANCED:
        charged = [_priced(objective.exposure, _left(origin, site, fleet)) for site in fleet.sites]
    else:
        charged = [0] * len(fleet.sites)
    return np.array(charged, dtype=np.int64)


def _left(origin: str, site: Site, fleet: Fleet) -> tuple[bool, bool, bool]:
    """Return whether a call leaves the device, the country and the operator that it comes from.

    A client zone is no device and has no operator of its own: there, what counts is the country. An unknown country
    or operator counts as left.
    """
    source = fleet.site_by_id.get(origin)
    return (
        site.tier is not Tier.DEVICE,
        site.country != fleet.country_of(origin) or site.country == UNKNOWN,
        source is None or source.operator is None or site.operator != source.operator,
    )


def _priced(rates: Exposure, left: tuple[bool, bool, bool]) -> int:
    usd = (rates.usd_leaving_device, rates.usd_leaving_country, rates.usd_leaving_operator)
    return sum(nusd(rate) for gone, rate in zip(left, usd, strict=True) if gone)

"""Preferences in the kernel's units: exchange rates, sort order, and what leaving a place costs."""

from dataclasses import dataclass

from . import kernel
from .fleet import Fleet, Site
from .model import Preference, Quantile, Tier
from .parts import Exposure, Objective
from .units import nusd

PREFERENCE_CODE = {
    Preference.BALANCED: kernel.BALANCED,
    Preference.CHEAPEST: kernel.CHEAPEST,
    Preference.FASTEST: kernel.FASTEST,
    Preference.MOST_ACCURATE: kernel.MOST_ACCURATE,
    Preference.MOST_PRIVATE: kernel.MOST_PRIVATE,
}
SCORE_UNIT = {
    Preference.BALANCED: "nUSD",
    Preference.CHEAPEST: "nUSD",
    Preference.FASTEST: "us",
    Preference.MOST_ACCURATE: "error ppm",
    Preference.MOST_PRIVATE: "exposures",
}
QUANTILE_Z = {
    Quantile.P50: kernel.Z_P50,
    Quantile.P90: kernel.Z_P90,
    Quantile.P95: kernel.Z_P95,
    Quantile.P99: kernel.Z_P99,
}


@dataclass(frozen=True, slots=True)
class Exposed:
    """What a candidate's place exposes, relative to where the call comes from: how many kinds, and their price."""

    count: int
    nusd: int


def exposure(origin: str, site: Site, rates: Exposure, fleet: Fleet) -> Exposed:
    """Return what leaving the device, the country and the operator costs at a site.

    A client zone is no device and has no operator of its own: there, what counts is the country. An unknown country
    or operator counts as left.
    """
    source = fleet.site_by_id.get(origin)
    left = (
        (site.tier is not Tier.DEVICE, rates.usd_leaving_device),
        (site.country != fleet.country_of(origin) or site.country == "ZZ", rates.usd_leaving_country),
        (source is None or source.operator is None or site.operator != source.operator, rates.usd_leaving_operator),
    )
    return Exposed(sum(1 for gone, _ in left if gone), sum(nusd(rate) for gone, rate in left if gone))


def rates(objective: Objective) -> dict[int, int]:
    """Return the kernel parameters that an objective sets."""
    return {
        kernel.P_WAIT_Z: QUANTILE_Z[objective.waiting.quantile],
        kernel.P_NUSD_PER_S: nusd(objective.waiting.usd_per_second),
        kernel.P_NUSD_PER_ERROR: nusd(objective.usd_per_error),
        kernel.P_PREFERENCE: PREFERENCE_CODE[objective.preference],
    }

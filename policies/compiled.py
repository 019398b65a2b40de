"""A policy worked out for one kind of call: (data classes, entry, origin, model) made into flat arrays, once."""

import hashlib
from dataclasses import dataclass

import numpy as np

from . import kernel
from .constraints import Veto, accuracy_floor_ppm, candidate_veto, entry_veto
from .fleet import Fleet
from .model import Rule
from .network import HERE_KBPS
from .objectives import QUANTILE_Z, exposure, rates
from .parts import Constraints
from .policy import Policy
from .snapshot import Table
from .units import nusd, ppm, us_from_ms


@dataclass(frozen=True, slots=True)
class Compiled:
    """Arrays for the kernel, and the words for the explanation. `out` and `order` are its scratch, reused per call."""

    policy: Policy
    entry: str
    origin: str
    deployments: tuple[int, ...]
    static: Table
    params: Table
    out: Table
    order: Table
    vetoes: tuple[Veto | None, ...]
    accuracy_ppm: tuple[int | None, ...]
    assumed_error_ppm: int | None
    gate: Veto | None
    deadline_us: int
    accuracy_floor_ppm: int | None


def compile_policy(
    fleet: Fleet, policy: Policy, classes: tuple[str, ...], entry: str, origin: str, model: str
) -> Compiled:
    """Return the arrays for all calls of these data classes that enter at `entry`, come from `origin`, ask `model`."""
    blocks = policy.blocks(classes)
    way_in = fleet.network.path(origin, entry)
    gate = _others_device(fleet, policy, entry) or entry_veto(blocks, fleet.site_by_id[entry], way_in, fleet)
    chosen = [(i, d) for i, d in enumerate(fleet.deployments) if fleet.model_of[d.variant] == model]
    measured = [_accuracy_ppm(fleet, deployment.variant) for _, deployment in chosen]
    catalogue = [_accuracy_ppm(fleet, variant.id) for variant in fleet.model_by_id[model].variants]
    known = [value for value in catalogue if value is not None]
    assumed = 1_000_000 - min(known) if known else None
    static = np.zeros((len(chosen), kernel.S_COLS), dtype=np.int64)
    vetoes: list[Veto | None] = []
    for row, (index, deployment) in enumerate(chosen):
        site = fleet.site_by_id[deployment.site]
        path = fleet.network.path(entry, site.id)
        veto = gate or candidate_veto(blocks, site, path, measured[row], model, fleet)
        exposed = exposure(origin, site, policy.objective.exposure, fleet)
        accuracy = measured[row]
        vetoes.append(veto)
        static[row, kernel.S_DEPLOYMENT] = index
        static[row, kernel.S_SITE] = fleet.sites.index(site)
        static[row, kernel.S_RULE] = veto.rule if veto else Rule.NONE
        static[row, kernel.S_KBPS] = path.kbps if path else HERE_KBPS
        static[row, kernel.S_EGRESS] = path.egress_nusd_per_gb if path else 0
        static[row, kernel.S_EGRESS_BACK] = path.egress_back_nusd_per_gb if path else 0
        static[row, kernel.S_EXPOSURE] = exposed.nusd
        static[row, kernel.S_EXPOSURES] = exposed.count
        static[row, kernel.S_ERROR_PPM] = (assumed or 0) if accuracy is None else 1_000_000 - accuracy
        static[row, kernel.S_TIE] = draw_of(deployment.id)
    params = _params(fleet, policy, blocks, entry, origin, model)
    return Compiled(
        policy=policy,
        entry=entry,
        origin=origin,
        deployments=tuple(index for index, _ in chosen),
        static=static,
        params=params,
        out=np.zeros((len(chosen), kernel.O_COLS), dtype=np.int64),
        order=np.zeros(policy.behaviour.fallbacks_max + 1, dtype=np.int64),
        vetoes=tuple(vetoes),
        accuracy_ppm=tuple(measured),
        assumed_error_ppm=assumed,
        gate=gate,
        deadline_us=int(params[kernel.P_DEADLINE_US]),
        accuracy_floor_ppm=accuracy_floor_ppm(blocks, model),
    )


def _others_device(fleet: Fleet, policy: Policy, entry: str) -> Veto | None:
    """Return why a tenant's calls may not enter at a device: nothing leads into one, so this keeps others off it whole."""
    if fleet.site_by_id[entry].tenant in (None, policy.tenant):
        return None
    return Veto(Rule.ENTRY_PRIVACY, f"{entry} is another tenant's device")


def draw_of(text: str) -> int:
    """Return a stable digest of a word as a number below 2**31 - 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % kernel.FIELD


def _accuracy_ppm(fleet: Fleet, variant: str) -> int | None:
    accuracy = fleet.cards[variant].accuracy
    return None if accuracy is None else ppm(accuracy.value)


def _params(
    fleet: Fleet, policy: Policy, blocks: tuple[Constraints, ...], entry: str, origin: str, model: str
) -> Table:
    params = np.zeros(kernel.P_COLS, dtype=np.int64)
    way_in = fleet.network.path(origin, entry)
    deadlines = [us_from_ms(block.deadline_ms) for block in blocks if block.deadline_ms is not None]
    ceilings = [nusd(block.price_max_usd) for block in blocks if block.price_max_usd is not None]
    params[kernel.P_RESPONSE_BYTES] = fleet.model_by_id[model].response_bytes
    params[kernel.P_ACCESS_US] = way_in.rtt_us if way_in else 0
    params[kernel.P_ACCESS_SPREAD_US] = way_in.spread_us if way_in else 0
    params[kernel.P_ACCESS_KBPS] = way_in.kbps if way_in else HERE_KBPS
    params[kernel.P_ACCESS_EGRESS] = way_in.egress_nusd_per_gb if way_in else 0
    params[kernel.P_ACCESS_EGRESS_BACK] = way_in.egress_back_nusd_per_gb if way_in else 0
    params[kernel.P_DEADLINE_US] = min(deadlines, default=0)
    params[kernel.P_DEADLINE_Z] = QUANTILE_Z[policy.deadline_quantile]
    params[kernel.P_PRICE_MAX] = min(ceilings, default=-1)
    params[kernel.P_MARGIN] = nusd(policy.behaviour.spread_margin_usd)
    for column, value in rates(policy.objective).items():
        params[column] = value
    return params

"""Deployments, sites, ways and views as the kernel's tables have them at time 0."""

import numpy as np

from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.snapshot import Report, Snapshot
from infercast.policies.units import PPM

from ..kernel import layout as at
from ..model import Ints, Truth, World
from ..shapes import shape_of, shape_of_trip
from .pool import Pool
from .scaling import replicas_at_first, scaled_of
from .upheaval import Steps, Upheaval

FAR_US = 1 << 62


def deployments(world: World, shapes: Pool) -> Ints:
    """Return the deployments' table, int64[deployments, D_COLS]; each tells the declared times, and that it is idle."""
    fleet, tables = world.fleet, world.fleet.tables
    numbers = {model.id: number for number, model in enumerate(fleet.models)}
    scaled = {name: number for number, name in enumerate(scaled_of(world))}
    table = np.zeros((len(fleet.deployments), at.D_COLS), dtype=np.int64)
    table[:, at.D_HEAD : at.D_TAIL + at.PRIORITIES] = at.NONE
    table[:, at.D_LOOK_US] = FAR_US
    for d, deployment in enumerate(fleet.deployments):
        model = fleet.model_of[deployment.variant]
        p50_us, p95_us = tables.priors_us[d].tolist()
        truth = world.truth.get(deployment.id, Truth(p50_us, p95_us))
        shape = shape_of(truth)
        row = table[d]
        row[at.D_SITE] = tables.site_index[deployment.site]
        row[at.D_MODEL] = numbers[model]
        row[at.D_AT] = tables.row_of(model)[d]
        row[at.D_SERVERS] = row[at.D_STOOD] = replicas_at_first(world, deployment) * deployment.concurrency
        row[at.D_SCALED] = scaled.get(deployment.id, at.NONE)
        row[at.D_BATCH_MAX] = deployment.batch_max
        row[at.D_MARGINAL_PPM] = round(world.batch_marginal.get(deployment.variant, 1.0) * PPM)
        row[at.D_SHAPE] = shapes.place(shape.tobytes(), shape)
        row[at.D_P50_US] = truth.p50_us
        row[at.D_NUSD_PER_S] = tables.live[d, kernel.L_NUSD_PER_S]
        row[at.D_CALL_NUSD] = tables.call_nusd[d]
        row[at.D_CONCURRENCY] = tables.live[d, kernel.L_CONCURRENCY]
        row[at.D_PRIOR_P50_US], row[at.D_PRIOR_P95_US] = p50_us, p95_us
        row[at.D_TOLD_P50 : at.D_TOLD_P50 + 2 * kernel.SIZES] = p50_us
        row[at.D_TOLD_P95 : at.D_TOLD_P95 + 2 * kernel.SIZES] = p95_us
    return table


def sites(world: World, entries: list[str]) -> Ints:
    """Return the sites' table, int64[sites, S_COLS]."""
    fleet = world.fleet
    table = np.zeros((len(fleet.sites), at.S_COLS), dtype=np.int64)
    table[:, at.S_SLOW_PPM] = PPM
    table[:, at.S_ENTRY] = at.NONE
    table[:, [at.S_CLEARED_US, at.S_TICK_US, at.S_SYNCED_US]] = at.NONE
    for number, entry in enumerate(entries):
        table[fleet.tables.site_index[entry], at.S_ENTRY] = number
    table[:, at.S_NEXT_US] = world.exchange_us * np.arange(len(table)) // len(table)
    return table


def ways(world: World, entries: list[str], shapes: Pool) -> Ints:
    """Return the table of ways, int64[entries, sites, W_COLS]; a site that no way leads to is never chosen."""
    fleet = world.fleet
    table = np.zeros((max(1, len(entries)), len(fleet.sites), at.W_COLS), dtype=np.int64)
    table[:, :, at.W_HEARD_US] = at.NONE
    for number, entry in enumerate(entries):
        declared = fleet.tables.rtt(entry)
        for site, (rtt_us, spread_us) in enumerate(declared.tolist()):
            path = fleet.network.path(entry, fleet.sites[site].id)
            row = table[number, site]
            row[at.W_RTT_US] = row[at.W_TRUE_US] = row[at.W_BELIEVED_P50_US] = rtt_us
            row[at.W_SPREAD_US] = row[at.W_BELIEVED_SPREAD_US] = spread_us
            if path is not None and len(path.via) > 1:
                row[at.W_PS_PER_BYTE], row[at.W_EGRESS], row[at.W_EGRESS_BACK] = _facts(fleet, entry, path.via[-1])
                shape = shape_of_trip(path)
                row[at.W_SHAPE] = shapes.place(id(shape), shape)
    return table


def _facts(fleet: Fleet, entry: str, site: str) -> tuple[int, int, int]:
    _, _, ps_per_byte, egress, back = fleet.tables.access(entry, site)
    return ps_per_byte, egress, back


def views(world: World, entries: list[str], wanted: set[tuple[str, str]], width: int) -> tuple[Ints, Ints]:
    """Return all views at time 0, int64[views, V_ROWS, width], and which is whose: int64[entries, models], NONE for none.

    Every site has told at time 0 that it is idle, and every entry believes it.
    """
    fleet = world.fleet
    snapshot = Snapshot(fleet)
    for d, (p50_us, p95_us) in enumerate(fleet.tables.priors_us.tolist()):
        snapshot.hear(d, Report(0, p50_us, p95_us), 0)
    for (entry, deployment), z_milli in world.surprises.items():
        snapshot.hear_z(entry, fleet.deployment_index[deployment], z_milli)
    snapshot.believe(0)
    whose = np.full((max(1, len(entries)), len(fleet.models)), at.NONE, dtype=np.int64)
    laid = np.zeros((max(1, len(wanted)), kernel.V_ROWS, width), dtype=np.int64)
    laid[:, kernel.V_CONCURRENCY] = 1  # something divides by it, in columns that are no candidate's too
    end = 0
    for number, entry in enumerate(entries):
        for model_number, model in enumerate(fleet.models):
            if (entry, model.id) in wanted:
                whose[number, model_number] = end
                view = snapshot.view(entry, model.id)
                laid[end, :, : view.shape[1]] = view
                end += 1
    return laid, whose


def changes(world: World, upheaval: Upheaval, entries: list[str]) -> Ints:
    """Return what happens to the world, int64[changes + 1, X_COLS] in order of time; the last never comes."""
    fleet = world.fleet
    found: list[tuple[int, int, int, int]] = []

    def add(what: int, target: int, steps: Steps) -> None:
        found.extend((at_us, what, target, value) for at_us, value in steps)

    if not upheaval.nothing:
        for number, site in enumerate(fleet.sites):
            add(at.CH_SITE_DOWN, number, upheaval.down("site_down", site.id))
            add(at.CH_SITE_SLOW, number, upheaval.slow_ppm(site.id))
            for place, entry in enumerate(entries):
                cut, trips = upheaval.way(fleet.network.path(entry, site.id))
                add(at.CH_WAY_DOWN, place * len(fleet.sites) + number, cut)
                add(at.CH_WAY_RTT, place * len(fleet.sites) + number, trips)
        for d, deployment in enumerate(fleet.deployments):
            add(at.CH_DEP_DOWN, d, upheaval.down("deployment_down", deployment.id))
    return np.array([*sorted(found), (FAR_US, 0, 0, 0)], dtype=np.int64)

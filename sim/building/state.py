"""A world laid out in the kernel's tables: everything that can be worked out before the first call is."""

import numpy as np

from infercast.policies import calibration, kernel
from infercast.policies.estimator import Times

from ..kernel import layout as at
from ..model import SHAPE_POINTS, Ints, World
from .entering import Entering, entering, rows_of
from .places import changes, deployments, sites, views, ways
from .pool import Pool, flat, offsets
from .scaling import scaled_tables
from .tenants import NEVER_US, questions, tenants, tenants_of
from .terms import Terms
from .upheaval import Upheaval

TRIES_AT_FIRST = 1024
LOOK_US = 1_000_000
"""How often loads are looked at for autoscaling."""
NEVER_COMES_US = 1 << 62


def build(world: World) -> at.State:
    """Lay a world out. Raises ValueError or policies.engine.Unknown for names that nobody declared."""
    fleet, calls = world.fleet, world.calls
    numbers = fleet.tables.site_index
    rows = rows_of(calls)
    entries = sorted({entry for _, entry in rows if entry in numbers}, key=numbers.__getitem__)
    upheaval = Upheaval(fleet, world.disturbances)
    come = entering(fleet, upheaval, calls)
    last_us = int(come.enter_us[come.order].max(initial=-1))
    terms = Terms(world, rows, last_us)
    shapes = Pool(SHAPE_POINTS)
    dep, way = deployments(world, shapes), ways(world, entries, shapes)
    candidates = [fleet.tables.candidates(model.id) for model in fleet.models]
    width = max(map(len, candidates))
    laid, whose = views(world, entries, {(entry, calls.kinds[kind].model) for kind, entry in rows}, width)
    deps_of: list[list[int]] = [[] for _ in fleet.sites]
    for d, site in enumerate(dep[:, at.D_SITE].tolist()):
        deps_of[site].append(d)
    batch_max = int(dep[:, at.D_BATCH_MAX].max())
    clock = _clock(world, come, last_us, batch_max)
    tries = np.zeros((TRIES_AT_FIRST + 2 * int(clock[at.N_ROOM]), at.T_COLS), dtype=np.int64)
    free(tries, 0)
    learned = _learned(world, way, entries)
    question = questions(calls, rows, come.row, world.policies)
    n, count = len(calls), len(fleet.deployments)
    return at.State(
        clock=clock,
        dep=dep,
        site=sites(world, entries),
        way=way,
        cell=_cells(world, len(way), entries),
        kind=_kinds(world, rows, terms),
        terms=terms.table(),
        tries=tries,
        heap=np.zeros((2 * len(tries), 2), dtype=np.int64),
        changes=changes(world, upheaval, entries),
        deps_of=flat(deps_of),
        deps_from=offsets(deps_of),
        views=laid,
        view_of=whose,
        view_tick_us=np.full_like(whose, at.NONE),
        candidates=flat(candidates),
        candidates_from=offsets(candidates),
        codes=terms.codes(width),
        params=terms.params.table(),
        exposures=terms.exposures.table(),
        plans=terms.plans(width),
        no_plan=np.zeros((kernel.SIZES, kernel.PLAN_ORDER), dtype=np.int64),
        answer=np.zeros((kernel.A_ROWS, 2), dtype=np.int64),
        answer_alone=np.zeros((kernel.A_ROWS, 1), dtype=np.int64),
        out=np.zeros((width, kernel.O_COLS), dtype=np.int64),
        shapes=shapes.table(),
        at_us=calls.at_us,
        enter_us=come.enter_us,
        access_us=come.access_us,
        order=come.order,
        call_kind=come.row,
        periods_s=np.array(terms.periods_s, dtype=np.int64),
        payload_bytes=calls.payload_bytes,
        work_ppm=calls.work_ppm,
        luck=calls.luck,
        draw=terms.draws(calls),
        ended=np.zeros(n, dtype=np.uint8),
        rule=np.zeros(n, dtype=np.uint8),
        deployment=np.full(n, at.NONE, dtype=np.int32),
        entry=np.full(n, at.NONE, dtype=np.int32),
        latency_us=np.zeros(n, dtype=np.int64),
        wait_us=np.zeros(n, dtype=np.int64),
        cost_nusd=np.zeros(n, dtype=np.int64),
        egress_nusd=np.zeros(n, dtype=np.int64),
        attempts=np.zeros(n, dtype=np.uint8),
        hedged=np.zeros(n, dtype=np.bool_),
        busy_us=np.zeros((count, world.bins), dtype=np.int64),
        replica_us=np.zeros((count, world.bins), dtype=np.int64),
        tenant=tenants(world),
        question=question,
        kept_us=np.full(max(1, int(question.max(initial=-1)) + 1), NEVER_US, dtype=np.int64),
        **scaled_tables(world),
        **learned,
    )


def free(tries: Ints, first: int) -> None:
    """Make the tries from a place on free, each hanging on the one before; the last hangs on nothing."""
    tries[first:, at.T_STATE] = at.FREE
    tries[first:, at.T_CALL] = at.NONE
    tries[first:, at.T_NEXT] = np.arange(first + 1, len(tries) + 1)
    tries[-1, at.T_NEXT] = at.NONE


def _clock(world: World, come: Entering, last_us: int, batch_max: int) -> Ints:
    clock = np.zeros(at.N_COLS, dtype=np.int64)
    clock[at.N_CALLS] = len(come.order)
    clock[at.N_EXCHANGE_US] = world.exchange_us
    clock[at.N_JITTER] = world.jitter
    clock[at.N_LEARNS] = world.estimates == "learned"
    clock[at.N_BINS] = world.bins
    clock[at.N_BIN_US] = max(1, -(-(last_us + 1) // world.bins))
    clock[at.N_BIN_ENDS_US] = clock[at.N_BIN_US] if world.bins > 1 else NEVER_COMES_US
    clock[at.N_STARTS_AT_S] = world.starts_at_s
    clock[at.N_LAST_SENT_US] = world.calls.at_us.max(initial=-1)
    clock[at.N_TELLS] = clock[at.N_LEARNS] or bool(world.scaling)
    clock[at.N_SCALE_US] = LOOK_US if world.scaling else NEVER_COMES_US
    grown = max((scaling.replicas_max for scaling in world.scaling.values()), default=0)
    clock[at.N_ROOM] = 8 + 2 * batch_max + len(world.scaling) * grown
    return clock


def _kinds(world: World, rows: list[tuple[int, str]], terms: Terms) -> Ints:
    fleet = world.fleet
    numbers = {model.id: number for number, model in enumerate(fleet.models)}
    numbers_of_tenants = {tenant: number for number, tenant in enumerate(tenants_of(world))}
    table = np.zeros((max(1, len(rows)), at.K_COLS), dtype=np.int64)
    for number, (kind_number, entry) in enumerate(rows):
        kind = world.calls.kinds[kind_number]
        _, _, ps_per_byte, egress, back = fleet.tables.access(kind.origin, entry)
        row = table[number]
        row[at.K_ENTRY] = fleet.tables.site_index[entry]
        row[at.K_MODEL] = numbers[kind.model]
        row[at.K_PRIORITY] = kind.priority
        row[at.K_RESPONSE_BYTES] = fleet.model_by_id[kind.model].response_bytes
        row[at.K_ACCESS_PS_PER_BYTE], row[at.K_ACCESS_EGRESS], row[at.K_ACCESS_EGRESS_BACK] = ps_per_byte, egress, back
        row[at.K_TENANT] = numbers_of_tenants[kind.tenant]
        row[at.K_TERMS] = terms.first(number)
    return table


def _cells(world: World, count: int, entries: list[str]) -> Ints:
    cell = np.zeros((count, len(world.fleet.deployments), at.C_COLS), dtype=np.int64)
    cell[:, :, at.C_Z :] = kernel.Z_NORMAL
    for (entry, deployment), z_milli in world.surprises.items():
        if entry in entries:
            cell[entries.index(entry), world.fleet.deployment_index[deployment], at.C_Z :] = z_milli
    return cell


def _learned(world: World, way: Ints, names: list[str]) -> dict[str, Ints]:
    """Return the tables of what is learned; small ones where nothing is."""
    learns = world.estimates == "learned"
    priors = [(p50, p95) for p50, p95 in world.fleet.tables.priors_us.tolist() for _ in range(kernel.SIZES)]
    trips = [(max(1, p50), max(1, p50 + spread)) for p50, spread in way[:, :, : at.W_SHAPE].reshape(-1, 2).tolist()]
    services, ways_learned = Times(priors if learns else []), Times(trips if learns else [])
    entries, count = len(way), len(world.fleet.deployments)
    surprise = calibration.Calibration(entries * count if learns else 1)
    for (entry, deployment), z_milli in world.surprises.items():
        if learns and entry in names:
            surprise.begin(names.index(entry) * count + world.fleet.deployment_index[deployment], z_milli)
    return {
        "service_bins": services.bins,
        "service_meta": services.meta,
        "service_recent": services.recent,
        "trip_bins": ways_learned.bins,
        "trip_meta": ways_learned.meta,
        "trip_recent": ways_learned.recent,
        "surprise": surprise.state,
        "fresh": np.zeros((entries, 1 + count), dtype=np.int64),
    }

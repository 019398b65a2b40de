"""What entries believe of deployments elsewhere: told at exchanges, taken in when an entry next needs it.

An entry hears at its own tick. What it would have worked out then is worked out at its first decision, or first change of
what it has sent, after that tick: nothing that it depends on has changed in between, because a site tells at most once
between two ticks of another, and what it had told before is kept.
"""

from typing import Any

from infercast.policies import calibration, estimator, kernel
from infercast.policies.snapshot import DEAD_US, FRESH_US, RTT_FRESH_US, Z_MAX

from .compiling import apart, inlined
from .layout import (
    C_HUSH_US,
    C_NEW,
    C_OLD,
    C_SENT,
    C_Z,
    D_AT,
    D_CALL_NUSD,
    D_CONCURRENCY,
    D_DOWN,
    D_LOAD,
    D_MODEL,
    D_NUSD_PER_S,
    D_PRIOR_P50_US,
    D_PRIOR_P95_US,
    D_SCALED,
    D_SITE,
    D_TOLD_DOWN,
    D_TOLD_EXTRA_US,
    D_TOLD_LOAD,
    D_TOLD_P50,
    D_TOLD_P95,
    G_COLD_US,
    G_READY,
    N_LEARNS,
    N_TELLS,
    NONE,
    S_DOWN,
    S_SYNCED_US,
    S_TICK_US,
    S_TOLD_US,
    W_BELIEVED_P50_US,
    W_BELIEVED_SPREAD_US,
    W_HEARD_US,
    W_NEW,
    W_RTT_US,
    W_SPREAD_US,
    W_TOLD_P50_US,
    W_TOLD_SPREAD_US,
    State,
)
from .telling import told_times

SIZES, QUANTILES = kernel.SIZES, kernel.QUANTILES
refloor, quantiles = kernel.refloor, estimator.quantiles
FINE = calibration.FINE
FIRST_Z = calibration.C_Z


@inlined
def width_of(w: State, model: int) -> int:
    """Return how many candidates a model has: the first columns of each view of it."""
    width: int = w.candidates_from[model + 1] - w.candidates_from[model]
    return width


@inlined
def tick(w: State, site: int, now_us: int) -> None:
    """A site's exchange: it tells what its deployments' load is now; what it hears is taken in when it is needed."""
    places = w.site
    if places[site, S_DOWN] > 0:
        return
    places[site, S_TOLD_US + 1] = places[site, S_TOLD_US]
    places[site, S_TOLD_US] = now_us
    places[site, S_TICK_US] = now_us
    for place in range(w.deps_from[site], w.deps_from[site + 1]):
        d = w.deps_of[place]
        row = w.dep[d]
        row[D_TOLD_LOAD + 1] = row[D_TOLD_LOAD]
        row[D_TOLD_LOAD] = row[D_LOAD]
        row[D_TOLD_DOWN + 1] = row[D_TOLD_DOWN]
        row[D_TOLD_DOWN] = row[D_DOWN]
        if w.clock[N_LEARNS]:
            told_times(w, d)
        if row[D_SCALED] != NONE:
            row[D_TOLD_EXTRA_US + 1] = row[D_TOLD_EXTRA_US]
            scaled = w.scaled[row[D_SCALED]]
            row[D_TOLD_EXTRA_US] = scaled[G_COLD_US] if scaled[G_READY] == 0 else 0


@inlined
def follow_entry(w: State, entry: int, site: int) -> None:
    """Take in what an entry has learned of ways and of surprises up to its last tick."""
    tick_us = w.site[site, S_TICK_US]
    if w.site[site, S_SYNCED_US] == tick_us:
        return
    w.site[site, S_SYNCED_US] = tick_us
    if not w.clock[N_LEARNS]:
        return
    for other in range(w.site.shape[0]):
        way = w.way[entry, other]
        if way[W_NEW]:
            p50_us, _, p95_us, _ = quantiles(w.trip_bins, w.trip_meta, entry * w.site.shape[0] + other)
            way[W_TOLD_P50_US] = min(p50_us, kernel.LATENCY_MAX_US)
            way[W_TOLD_SPREAD_US] = min(p95_us - p50_us, kernel.LATENCY_MAX_US)
            way[W_NEW] = 0
        if way[W_HEARD_US] >= 0:
            p50_us, spread_us = way[W_TOLD_P50_US], way[W_TOLD_SPREAD_US]
            if tick_us - way[W_HEARD_US] > RTT_FRESH_US:
                p50_us, spread_us = max(p50_us, way[W_RTT_US]), max(spread_us, way[W_SPREAD_US])
            way[W_BELIEVED_P50_US] = p50_us
            way[W_BELIEVED_SPREAD_US] = spread_us
    for place in range(1, 1 + w.fresh[entry, 0]):
        d = w.fresh[entry, place]
        w.cell[entry, d, C_NEW] = 0
        _told_z(w, entry, d)
    w.fresh[entry, 0] = 0


@inlined
def _told_z(w: State, entry: int, d: int) -> None:
    """Keep a deployment's learned quantiles as of now, in order of size."""
    state = w.surprise[entry * w.dep.shape[0] + d]
    z = w.cell[entry, d]
    for q in range(QUANTILES):
        value = state[FIRST_Z + q] // FINE
        at = q
        while at > 0 and z[C_Z + at - 1] > value:
            z[C_Z + at] = z[C_Z + at - 1]
            at -= 1
        z[C_Z + at] = value


@inlined
def follow_view(w: State, entry: int, site: int, model: int) -> None:
    """Bring an entry's view of a model's candidates up to its last tick."""
    follow_entry(w, entry, site)
    tick_us = w.site[site, S_TICK_US]
    if w.view_tick_us[entry, model] == tick_us:
        return
    w.view_tick_us[entry, model] = tick_us
    _hear_all(w, entry, site, model, tick_us)


@apart
def _hear_all(w: State, entry: int, site: int, model: int, tick_us: int) -> None:
    view = w.views[w.view_of[entry, model]]
    changed = False
    first = w.candidates_from[model]
    tells = w.clock[N_TELLS]
    for at in range(width_of(w, model)):
        d = w.candidates[first + at]
        s = w.dep[d, D_SITE]
        back = 1 if w.site[s, S_TOLD_US] > tick_us else 0
        told_us = w.site[s, S_TOLD_US + back]
        age_us = tick_us - told_us
        said = told_us >= w.cell[entry, d, C_HUSH_US]
        well = said and age_us <= DEAD_US and w.dep[d, D_TOLD_DOWN + back] == 0
        view[kernel.V_SHUT, at] = 0 if well else kernel.SHUT_HEALTH
        if said:
            if s == site:
                in_flight = w.dep[d, D_LOAD]
            else:
                in_flight = w.dep[d, D_TOLD_LOAD + back]
                if age_us > FRESH_US:
                    in_flight = max(in_flight, w.dep[d, D_CONCURRENCY])
                in_flight = max(in_flight, w.cell[entry, d, C_SENT])
            view[kernel.V_IN_FLIGHT, at] = in_flight
        old = age_us > FRESH_US
        if tells or old or w.cell[entry, d, C_OLD]:
            changed = True
            w.cell[entry, d, C_OLD] = old
            if said:
                _hear_times(w, view, at, d, back, old)
            _hear_way(w, view, at, entry, d, s)
    if changed:
        refloor(view)


@inlined
def _hear_times(w: State, view: Any, at: int, d: int, back: int, old: bool) -> None:
    """Believe told service times; old ones are never better than those declared, nor than the declared p95."""
    row = w.dep[d]
    extra_us = row[D_TOLD_EXTRA_US + back]
    prior_p50_us, prior_p95_us = row[D_PRIOR_P50_US], row[D_PRIOR_P95_US]
    for size in range(SIZES):
        p50_us = min(row[D_TOLD_P50 + SIZES * back + size] + extra_us, kernel.LATENCY_MAX_US)
        spread_us = min(row[D_TOLD_P95 + SIZES * back + size] + extra_us, kernel.LATENCY_MAX_US) - p50_us
        if old:
            p50_us = max(p50_us, prior_p95_us)
            spread_us = max(spread_us, prior_p95_us - prior_p50_us)
        view[kernel.V_P50_US + size, at] = p50_us
        view[kernel.V_SQUARE + size, at] = min(spread_us * spread_us, kernel.SQUARE_MAX)
        view[kernel.V_COMPUTE_NUSD + size, at] = row[D_NUSD_PER_S] * p50_us // 1_000_000 + row[D_CALL_NUSD]


@inlined
def _hear_way(w: State, view: Any, at: int, entry: int, d: int, site: int) -> None:
    way = w.way[entry, site]
    spread_us = way[W_BELIEVED_SPREAD_US]
    view[kernel.V_RTT_SQUARE, at] = min(spread_us * spread_us, kernel.SQUARE_MAX)
    for size in range(SIZES):
        view[kernel.V_IDLE_US + size, at] = way[W_BELIEVED_P50_US] + view[kernel.V_P50_US + size, at]
    for q in range(QUANTILES):
        view[kernel.V_Z + q, at] = min(max(w.cell[entry, d, C_Z + q], 0), Z_MAX)


@inlined
def count(w: State, entry: int, d: int, calls: int) -> None:
    """Count tries at a deployment, begun or (below 0) ended, in an entry's view, if it has one."""
    model = w.dep[d, D_MODEL]
    view = w.view_of[entry, model]
    if view != NONE:
        w.views[view, kernel.V_IN_FLIGHT, w.dep[d, D_AT]] += calls


@inlined
def distrust(w: State, entry: int, site: int, d: int, now_us: int) -> None:
    """Take a deployment that gave no answer, and its whole site if that is another, for not healthy until it is heard of."""
    at_site = w.dep[d, D_SITE]
    for place in range(w.deps_from[at_site], w.deps_from[at_site + 1]):
        other = w.deps_of[place]
        model = w.dep[other, D_MODEL]
        if (other == d or at_site != site) and w.view_of[entry, model] != NONE:
            follow_view(w, entry, site, model)
            w.cell[entry, other, C_HUSH_US] = max(w.cell[entry, other, C_HUSH_US], now_us)
            w.views[w.view_of[entry, model], kernel.V_SHUT, w.dep[other, D_AT]] |= kernel.SHUT_HEALTH

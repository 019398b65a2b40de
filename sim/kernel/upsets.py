"""What happens to the world: sites, deployments and links go down, come back, slow down. Rare, so nothing here is hurried."""

from ..model import Ended
from .belief import count, follow_view
from .compiling import apart, inlined
from .ending import abandon, end_call, free_slot
from .heap import schedule_timer
from .layout import (
    CH_DEP_DOWN,
    CH_SITE_DOWN,
    CH_SITE_SLOW,
    CH_WAY_DOWN,
    D_BUSY,
    D_DOWN,
    D_HEAD,
    D_LOAD,
    D_SITE,
    D_TAIL,
    D_WAITING,
    FREE,
    K_ENTRY,
    LOST,
    N_CHANGE,
    NONE,
    PRIORITIES,
    QUEUED,
    RUNNING,
    S_CLEARED_US,
    S_DOWN,
    S_ENTRY,
    S_SLOW_PPM,
    T_ARRIVED_US,
    T_CALL,
    T_DEP,
    T_GONE,
    T_KIND,
    T_LEADS,
    T_NUMBER,
    T_PATIENCE_US,
    T_SERVICE_US,
    T_SIBLING,
    T_STARTED_US,
    T_STATE,
    T_TIMED,
    W_DOWN,
    W_TRUE_US,
    X_TARGET,
    X_VALUE,
    X_WHAT,
    State,
)
from .limits import settle
from .scaling import stand
from .series import add
from .servers import charge

LOST_CALL = int(Ended.LOST)


@inlined
def _try_dies(w: State, slot: int, now_us: int) -> None:
    row = w.tries[slot]
    if row[T_STATE] == RUNNING:
        charge(w, slot, now_us - row[T_STARTED_US], now_us)
        if row[T_LEADS]:
            add(w, w.busy_us, row[T_DEP], now_us, row[T_STARTED_US] + row[T_SERVICE_US], -1)
    elif not row[T_GONE]:
        w.wait_us[row[T_CALL]] += now_us - row[T_ARRIVED_US]
    if row[T_GONE]:
        free_slot(w, slot)
        return
    row[T_STATE] = LOST
    if not row[T_TIMED]:
        row[T_TIMED] = 1
        schedule_timer(w, row[T_PATIENCE_US], row[T_CALL], row[T_NUMBER], slot)


@apart
def _deployment_dies(w: State, d: int, now_us: int) -> None:
    for slot in range(w.tries.shape[0]):
        row = w.tries[slot]
        if row[T_DEP] == d and (row[T_STATE] == QUEUED or row[T_STATE] == RUNNING):
            _try_dies(w, slot, now_us)
    row = w.dep[d]
    entry = w.site[row[D_SITE], S_ENTRY]
    if entry != NONE:
        count(w, entry, d, -row[D_LOAD])
    row[D_LOAD] = 0
    row[D_BUSY] = 0
    row[D_WAITING] = 0
    for priority in range(PRIORITIES):
        row[D_HEAD + priority] = NONE
        row[D_TAIL + priority] = NONE


@apart
def _site_dies(w: State, site: int, now_us: int) -> None:
    """Its tries are lost, then the calls that entered there."""
    entry = w.site[site, S_ENTRY]
    if entry != NONE:
        for model in range(w.view_of.shape[1]):
            if w.view_of[entry, model] != NONE:
                follow_view(w, entry, site, model)  # it hears nothing more: what it has heard is to be kept as of now
    for place in range(w.deps_from[site], w.deps_from[site + 1]):
        _deployment_dies(w, w.deps_of[place], now_us)
    if entry == NONE:
        return
    w.site[site, S_CLEARED_US] = now_us
    for slot in range(w.tries.shape[0]):
        row = w.tries[slot]
        if row[T_STATE] != FREE and not row[T_GONE] and w.kind[row[T_KIND], K_ENTRY] == site:
            call = row[T_CALL]
            settle(w, slot)
            if row[T_SIBLING] != NONE:
                abandon(w, row[T_SIBLING], now_us)
            abandon(w, slot, now_us)
            end_call(w, call, LOST_CALL, 0, now_us - w.at_us[call])


@apart
def upset(w: State, now_us: int) -> None:
    """Let the next change happen."""
    change = w.changes[w.clock[N_CHANGE]]
    w.clock[N_CHANGE] += 1
    what, target, value = change[X_WHAT], change[X_TARGET], change[X_VALUE]
    if what == CH_SITE_DOWN:
        if value:
            _site_dies(w, target, now_us)
        w.site[target, S_DOWN] = value
        for place in range(w.deps_from[target], w.deps_from[target + 1]):
            stand(w, w.deps_of[place], now_us)
    elif what == CH_DEP_DOWN:
        if value:
            _deployment_dies(w, target, now_us)
        w.dep[target, D_DOWN] = value
        stand(w, target, now_us)
    elif what == CH_SITE_SLOW:
        w.site[target, S_SLOW_PPM] = value
    else:
        entry, site = target // w.site.shape[0], target % w.site.shape[0]
        w.way[entry, site, W_DOWN if what == CH_WAY_DOWN else W_TRUE_US] = value

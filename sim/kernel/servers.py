"""What happens at a site: tries take a server or stand in a queue, are served one by one or in batches, and leave."""

from infercast.policies.units import LATENCY_MAX_US

from ..shapes import ONE_BITS
from ..shapes import point as plain_point
from ..shapes import service_purpose as plain_service_purpose
from .compiling import apart, inlined
from .ending import answered, free_slot, load
from .heap import schedule, schedule_look, schedule_timer
from .layout import (
    BACK,
    D_BATCH_MAX,
    D_BUSY,
    D_CALL_NUSD,
    D_DOWN,
    D_HEAD,
    D_LOOK_US,
    D_MARGINAL_PPM,
    D_NUSD_PER_S,
    D_P50_US,
    D_SERVERS,
    D_SHAPE,
    D_SITE,
    D_TAIL,
    D_WAITING,
    EV_FINISH,
    EV_RETURN,
    K_ENTRY,
    K_PRIORITY,
    LOST,
    N_LEARNS,
    NONE,
    PRIORITIES,
    QUEUED,
    RUNNING,
    S_DOWN,
    S_SLOW_PPM,
    T_ARRIVED_US,
    T_BACK_US,
    T_BATCH,
    T_CALL,
    T_DEP,
    T_FINISH,
    T_GONE,
    T_KIND,
    T_LEADS,
    T_NEXT,
    T_NUMBER,
    T_PATIENCE_US,
    T_SERVICE_US,
    T_STARTED_US,
    T_STATE,
    T_TIMED,
    State,
)
from .learning import served
from .limits import spend
from .series import add_from_now

PPM = 1_000_000
NEVER_US = 1 << 62
point, service_purpose = inlined(plain_point), inlined(plain_service_purpose)


@inlined
def time_out(w: State, slot: int) -> None:
    """See to it that the end of a try's patience comes up."""
    row = w.tries[slot]
    if not row[T_TIMED]:
        row[T_TIMED] = 1
        schedule_timer(w, row[T_PATIENCE_US], row[T_CALL], row[T_NUMBER], slot)


@inlined
def _first(w: State, d: int) -> int:
    """Take the next try that nobody has given up out of a deployment's queues: by priority, then in order of coming."""
    row = w.dep[d]
    for priority in range(PRIORITIES):
        while row[D_HEAD + priority] != NONE:
            slot: int = row[D_HEAD + priority]
            row[D_HEAD + priority] = w.tries[slot, T_NEXT]
            if row[D_HEAD + priority] == NONE:
                row[D_TAIL + priority] = NONE
            w.tries[slot, T_NEXT] = NONE
            if not w.tries[slot, T_GONE]:
                row[D_WAITING] -= 1
                return slot
            free_slot(w, slot)
    return NONE


@inlined
def _service_us(w: State, slot: int, d: int) -> int:
    """Draw what a try will take by its call's luck."""
    call = w.tries[slot, T_CALL]
    at = point(w.luck[call], service_purpose(w.tries[slot, T_NUMBER]))
    took_us: int = min((w.dep[d, D_P50_US] * w.shapes[w.dep[d, D_SHAPE], at]) >> ONE_BITS, LATENCY_MAX_US)
    took_us = min(took_us * w.work_ppm[call] // PPM, LATENCY_MAX_US)
    took_us = min(took_us * w.site[w.dep[d, D_SITE], S_SLOW_PPM] // PPM, LATENCY_MAX_US)
    return max(1, took_us)


@inlined
def _take(w: State, d: int, now_us: int) -> None:
    """One free server begins on up to `batch_max` waiting tries."""
    row = w.dep[d]
    size = min(row[D_WAITING], row[D_BATCH_MAX])
    leader, last, longest_us = NONE, NONE, 0
    for _ in range(size):
        slot = _first(w, d)
        if leader == NONE:
            leader = slot
        else:
            w.tries[last, T_NEXT] = slot
        last = slot
        longest_us = max(longest_us, _service_us(w, slot, d))
    service_us = longest_us
    if size > 1:
        service_us = min(longest_us * (PPM + (size - 1) * row[D_MARGINAL_PPM]) // PPM, LATENCY_MAX_US)
    row[D_BUSY] += 1
    sequence = schedule(w, now_us + service_us, EV_FINISH, leader)
    add_from_now(w, w.busy_us, d, now_us + service_us, 1)
    slot = leader
    while slot != NONE:
        one = w.tries[slot]
        one[T_STATE] = RUNNING
        one[T_LEADS] = slot == leader
        one[T_FINISH] = sequence
        one[T_BATCH] = size
        one[T_STARTED_US] = now_us
        one[T_SERVICE_US] = service_us
        w.wait_us[one[T_CALL]] += now_us - one[T_ARRIVED_US]
        if now_us + service_us + one[T_BACK_US] > one[T_PATIENCE_US]:
            time_out(w, slot)
        slot = one[T_NEXT]


@inlined
def serve(w: State, d: int, now_us: int) -> None:
    """Let free servers of a deployment take what waits."""
    row = w.dep[d]
    while row[D_WAITING] > 0 and row[D_BUSY] < row[D_SERVERS]:
        _take(w, d, now_us)


@inlined
def _watch(w: State, d: int, patience_us: int) -> None:
    """See to it that a deployment's queue is looked at when a try's patience ends: one look watches over all of it."""
    if patience_us < w.dep[d, D_LOOK_US]:
        w.dep[d, D_LOOK_US] = patience_us
        schedule_look(w, patience_us, d)


@apart
def look_at_queue(w: State, d: int, now_us: int) -> None:
    """Have the patience of queued tries end that does so now, and look again when the next one's does."""
    if w.dep[d, D_LOOK_US] != now_us:
        return  # an earlier look has seen to it
    next_us = NEVER_US
    for priority in range(PRIORITIES):
        slot = w.dep[d, D_HEAD + priority]
        while slot != NONE:
            row = w.tries[slot]
            if not row[T_GONE]:
                if row[T_PATIENCE_US] <= now_us:
                    time_out(w, slot)
                else:
                    next_us = min(next_us, row[T_PATIENCE_US])
            slot = row[T_NEXT]
    w.dep[d, D_LOOK_US] = next_us
    if next_us != NEVER_US:
        schedule_look(w, next_us, d)


@inlined
def arrive(w: State, slot: int, now_us: int) -> None:
    """A try reaches its site: it is served at once, waits, or is lost where all is dark."""
    row = w.tries[slot]
    d = row[T_DEP]
    if row[T_GONE]:
        free_slot(w, slot)
        return
    if w.dep[d, D_DOWN] or w.site[w.dep[d, D_SITE], S_DOWN]:
        row[T_STATE] = LOST
        time_out(w, slot)
        return
    load(w, d, 1)
    row[T_ARRIVED_US] = now_us
    row[T_NEXT] = NONE
    row[T_STATE] = QUEUED
    priority = w.kind[row[T_KIND], K_PRIORITY]
    deployment = w.dep[d]
    if deployment[D_TAIL + priority] == NONE:
        deployment[D_HEAD + priority] = slot
    else:
        w.tries[deployment[D_TAIL + priority], T_NEXT] = slot
    deployment[D_TAIL + priority] = slot
    deployment[D_WAITING] += 1
    if deployment[D_BUSY] >= deployment[D_SERVERS]:
        _watch(w, d, row[T_PATIENCE_US])
    else:
        serve(w, d, now_us)


@inlined
def charge(w: State, slot: int, ran_us: int, now_us: int) -> None:
    """Add what a try computed, its share of a batch's time, to its call's cost."""
    row = w.tries[slot]
    deployment = w.dep[row[T_DEP]]
    cost_nusd = deployment[D_NUSD_PER_S] * (ran_us // row[T_BATCH]) // PPM + deployment[D_CALL_NUSD]
    spend(w, slot, cost_nusd, now_us)


@inlined
def finish(w: State, leader: int, now_us: int) -> None:
    """A service ends: its tries leave, their answers go, and the server takes what waits."""
    d = w.tries[leader, T_DEP]
    site = w.dep[d, D_SITE]
    w.dep[d, D_BUSY] -= 1
    slot = leader
    while slot != NONE:
        row = w.tries[slot]
        following = row[T_NEXT]
        load(w, d, -1)
        charge(w, slot, row[T_SERVICE_US], now_us)
        if row[T_GONE]:
            free_slot(w, slot)
        else:
            if w.clock[N_LEARNS] and row[T_ARRIVED_US] == row[T_STARTED_US]:
                served(w, d, w.payload_bytes[row[T_CALL]], row[T_SERVICE_US])
            if w.kind[row[T_KIND], K_ENTRY] == site:
                answered(w, slot, now_us)
            else:
                row[T_STATE] = BACK
                schedule(w, now_us + row[T_BACK_US], EV_RETURN, slot)
        slot = following
    serve(w, d, now_us)

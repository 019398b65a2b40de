"""How tries and calls end: each call exactly once."""

from infercast.policies import kernel

from ..model import Ended
from .belief import count, follow_entry, follow_view
from .compiling import inlined
from .layout import (
    C_SENT,
    D_LOAD,
    D_MODEL,
    D_SITE,
    D_WAITING,
    FREE,
    K_ACCESS_EGRESS,
    K_ACCESS_EGRESS_BACK,
    K_ACCESS_PS_PER_BYTE,
    K_ENTRY,
    K_RESPONSE_BYTES,
    LOST,
    N_FREE,
    N_GOING,
    N_LEARNS,
    N_TRIES,
    NONE,
    QUEUED,
    S_ENTRY,
    T_ARRIVED_US,
    T_CALL,
    T_DEP,
    T_GONE,
    T_KIND,
    T_MEDIAN_US,
    T_NEXT,
    T_SENT_US,
    T_SIBLING,
    T_SPREAD_US,
    T_STATE,
    T_TRIP_US,
    W_EGRESS,
    W_EGRESS_BACK,
    State,
)
from .learning import carried, travelled
from .limits import settle, spend

ANSWERED = int(Ended.ANSWERED)
egress_nusd, transfer_us = kernel.egress_nusd, kernel.transfer_us


@inlined
def take_slot(w: State) -> int:
    """Return a free place in the tries' table; the kernel has seen to it that there is one."""
    slot: int = w.clock[N_FREE]
    w.clock[N_FREE] = w.tries[slot, T_NEXT]
    w.clock[N_TRIES] += 1
    return slot


@inlined
def free_slot(w: State, slot: int) -> None:
    """Give a try's place back: nothing of it is still to come."""
    row = w.tries[slot]
    row[T_STATE] = FREE
    row[T_CALL] = NONE
    row[T_NEXT] = w.clock[N_FREE]
    w.clock[N_FREE] = slot
    w.clock[N_TRIES] -= 1


@inlined
def end_call(w: State, call: int, ended: int, rule: int, latency_us: int) -> None:
    """Write down how a call ended."""
    w.ended[call] = ended
    w.rule[call] = rule
    w.latency_us[call] = latency_us
    w.clock[N_GOING] -= 1


@inlined
def unanswered_us(w: State, call: int, now_us: int) -> int:
    """Return the latency of a call that ends now without an answer: the caller hears of it."""
    access_us = w.access_us[call]
    latency_us: int = now_us - w.at_us[call] + access_us - access_us // 2
    return latency_us


@inlined
def home(w: State, slot: int) -> None:
    """The entry has no try of this place out any more: what it has sent there counts one less."""
    row = w.tries[slot]
    d = row[T_DEP]
    site = w.kind[row[T_KIND], K_ENTRY]
    if w.dep[d, D_SITE] != site:
        entry = w.site[site, S_ENTRY]
        follow_view(w, entry, site, w.dep[d, D_MODEL])
        w.cell[entry, d, C_SENT] -= 1
        count(w, entry, d, -1)


@inlined
def load(w: State, d: int, calls: int) -> None:
    """Count tries that came to a deployment or (below 0) left it; its own site sees it at once."""
    site = w.dep[d, D_SITE]
    w.dep[d, D_LOAD] += calls
    if w.site[site, S_ENTRY] != NONE:
        count(w, w.site[site, S_ENTRY], d, calls)


@inlined
def abandon(w: State, slot: int, now_us: int) -> None:
    """Nobody waits for a try any more: a queued one leaves, one in service keeps its server to the end, for nothing."""
    row = w.tries[slot]
    home(w, slot)
    row[T_GONE] = 1
    if row[T_SIBLING] != NONE:
        w.tries[row[T_SIBLING], T_SIBLING] = NONE
        row[T_SIBLING] = NONE
    if row[T_STATE] == LOST:
        free_slot(w, slot)
    elif row[T_STATE] == QUEUED:
        d = row[T_DEP]
        load(w, d, -1)
        w.dep[d, D_WAITING] -= 1
        w.wait_us[row[T_CALL]] += now_us - row[T_ARRIVED_US]


@inlined
def answered(w: State, slot: int, now_us: int) -> None:
    """A try's answer is back at its entry: the call ends, and its entry learns."""
    row = w.tries[slot]
    call, d, kind = row[T_CALL], row[T_DEP], w.kind[row[T_KIND]]
    site, at_site = kind[K_ENTRY], w.dep[d, D_SITE]
    entry = w.site[site, S_ENTRY]
    payload_bytes, response_bytes = w.payload_bytes[call], kind[K_RESPONSE_BYTES]
    if row[T_SIBLING] != NONE:
        abandon(w, row[T_SIBLING], now_us)
    home(w, slot)
    if w.clock[N_LEARNS]:
        follow_entry(w, entry, site)
        if at_site != site:
            travelled(w, entry, at_site, payload_bytes, row[T_TRIP_US], now_us)
        carried(w, entry, d, now_us - row[T_SENT_US], row[T_MEDIAN_US], row[T_SPREAD_US])
    way = w.way[entry, at_site]
    egress = egress_nusd(way[W_EGRESS], way[W_EGRESS_BACK], payload_bytes, response_bytes)
    egress += egress_nusd(kind[K_ACCESS_EGRESS], kind[K_ACCESS_EGRESS_BACK], payload_bytes, response_bytes)
    w.egress_nusd[call] = egress
    spend(w, slot, egress, now_us)
    if w.question[call] != NONE:
        w.kept_us[w.question[call]] = now_us
    settle(w, slot)
    w.deployment[call] = d
    back_us = transfer_us(kind[K_ACCESS_PS_PER_BYTE], response_bytes)
    end_call(w, call, ANSWERED, 0, unanswered_us(w, call, now_us) + back_us)
    free_slot(w, slot)

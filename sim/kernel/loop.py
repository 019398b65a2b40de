"""The event loop: what comes next, at what time, until every call has ended.

One thread, one clock, no randomness and no floats: the same world gives the same bytes on every machine. The decision in it
is `policies.kernel.decide`, the very function that the live router calls.
"""

from collections.abc import Callable

from .belief import tick
from .compiling import COMPILED, apart, inlined
from .conduct import enter, hedge, lose_patience, place
from .ending import answered, free_slot
from .heap import drop_first
from .layout import (
    CALL_SHIFT,
    DONE,
    EV_ARRIVE,
    EV_BITS,
    EV_FINISH,
    EV_HEDGE,
    EV_MASK,
    EV_QUEUE,
    EV_READY,
    EV_RETURN,
    FREE,
    FULL,
    LAST_BIT,
    LATE_BIT,
    N_BIN,
    N_BIN_ENDS_US,
    N_BIN_US,
    N_BINS,
    N_CALL,
    N_CALLS,
    N_CHANGE,
    N_EXCHANGE_US,
    N_GOING,
    N_HEAP,
    N_LAST_SENT_US,
    N_NOW_US,
    N_PERIOD,
    N_ROOM,
    N_SCALE_US,
    N_STARTS_AT_S,
    N_TICK,
    N_TICK_US,
    N_TRIES,
    NONE,
    PAUSED,
    RUNNING,
    S_NEXT_US,
    SEQUENCE_SHIFT,
    SLOT_MASK,
    T_CALL,
    T_FINISH,
    T_GONE,
    T_NUMBER,
    T_SERVICE_US,
    T_STATE,
    T_TIMED,
    X_AT_US,
    State,
)
from .scaling import look, ready
from .servers import arrive, charge, finish, look_at_queue
from .upsets import upset

NEVER_US = 1 << 62
NUMBER_MASK = (1 << (CALL_SHIFT - SEQUENCE_SHIFT)) - 1


@inlined
def _happen(w: State, code: int, now_us: int) -> tuple[int, int]:
    """Let a scheduled event happen. Returns a try that is to be placed, and one that arrives at a site; NONE for none."""
    event, slot = code & EV_MASK, (code >> EV_BITS) & SLOT_MASK
    if event == EV_READY:
        ready(w, slot, now_us)
        return NONE, NONE
    if event == EV_QUEUE:
        look_at_queue(w, slot, now_us)
        return NONE, NONE
    row = w.tries[slot]
    if event == EV_ARRIVE:
        return NONE, slot
    if event == EV_HEDGE:
        return hedge(w, slot, code >> SEQUENCE_SHIFT), NONE
    if event == EV_FINISH:
        if row[T_STATE] == RUNNING and row[T_FINISH] == code >> SEQUENCE_SHIFT:
            finish(w, slot, now_us)
    elif event == EV_RETURN:
        if row[T_GONE]:
            free_slot(w, slot)
        else:
            answered(w, slot, now_us)
    else:
        call, number = (code & ~(LATE_BIT | LAST_BIT)) >> CALL_SHIFT, (code >> SEQUENCE_SHIFT) & NUMBER_MASK
        if row[T_CALL] == call and row[T_NUMBER] == number and row[T_TIMED] and not row[T_GONE]:
            return lose_patience(w, slot, now_us), NONE
    return NONE, NONE


@inlined
def _next_tick(w: State) -> None:
    """Go on to the exchange of the next site; after the last comes the first again."""
    site = w.clock[N_TICK] + 1
    if site == w.site.shape[0]:
        site = 0
        for each in range(w.site.shape[0]):
            w.site[each, S_NEXT_US] += w.clock[N_EXCHANGE_US]
    w.clock[N_TICK] = site
    w.clock[N_TICK_US] = w.site[site, S_NEXT_US]


@inlined
def _next_bin(w: State) -> None:
    w.clock[N_BIN] += 1
    last = w.clock[N_BIN] == w.clock[N_BINS] - 1
    w.clock[N_BIN_ENDS_US] = NEVER_US if last else w.clock[N_BIN_ENDS_US] + w.clock[N_BIN_US]


@inlined
def _turn_period(w: State, now_us: int) -> None:
    """Go on to the policies' terms of the hour."""
    at_s = w.clock[N_STARTS_AT_S] + now_us // 1_000_000 if w.clock[N_STARTS_AT_S] else 0
    while w.clock[N_PERIOD] < w.periods_s.shape[0] and at_s >= w.periods_s[w.clock[N_PERIOD]]:
        w.clock[N_PERIOD] += 1


@inlined
def _wind_up(w: State) -> None:
    """Every call has ended: what still computes, computes to its end for nothing."""
    for slot in range(w.tries.shape[0]):
        row = w.tries[slot]
        if row[T_STATE] == RUNNING:
            charge(w, slot, row[T_SERVICE_US], w.clock[N_NOW_US])
        if row[T_STATE] != FREE:
            free_slot(w, slot)


def _advance(w: State, until_call: int) -> int:
    """Run the world until so many calls have entered, or to its end. Returns DONE, PAUSED, or FULL when a table is."""
    clock, heap = w.clock, w.heap
    while True:
        tries_room, heap_room = w.tries.shape[0] - clock[N_TRIES], heap.shape[0] - clock[N_HEAP]
        if tries_room < clock[N_ROOM] or heap_room < clock[N_ROOM]:
            return FULL
        more = clock[N_CALL] < clock[N_CALLS]
        if clock[N_CALL] >= until_call and more:
            return PAUSED
        call_us = w.enter_us[w.order[clock[N_CALL]]] if more else NEVER_US
        event_us = heap[0, 0] if clock[N_HEAP] else NEVER_US
        tick_us = clock[N_TICK_US]
        change_us = w.changes[clock[N_CHANGE], X_AT_US]
        scale_us = clock[N_SCALE_US]
        if not more and clock[N_GOING] == 0 and min(change_us, tick_us, scale_us) > clock[N_LAST_SENT_US]:
            _wind_up(w)
            return DONE
        now_us = min(change_us, tick_us, scale_us, event_us, call_us)
        clock[N_NOW_US] = now_us
        while now_us >= clock[N_BIN_ENDS_US]:
            _next_bin(w)
        slot, arriving = NONE, NONE
        if now_us == change_us:
            if heap_room < clock[N_ROOM] + clock[N_TRIES]:
                return FULL
            upset(w, now_us)
        elif now_us == tick_us:
            tick(w, clock[N_TICK], now_us)
            _next_tick(w)
        elif now_us == scale_us:
            look(w, now_us)
        elif now_us == event_us:
            code = heap[0, 1]
            drop_first(w)
            slot, arriving = _happen(w, code, now_us)
        else:
            if w.periods_s.shape[0]:
                _turn_period(w, now_us)
            slot = enter(w, w.order[clock[N_CALL]], now_us)
            clock[N_CALL] += 1
        if slot != NONE:
            arriving = place(w, slot, now_us)
        if arriving != NONE:
            arrive(w, arriving, now_us)


def _with_parts(parts: int) -> Callable[[State, int], int]:
    """Return the loop with a digest of all its parts in it: numba's cache watches one file, and what a function encloses."""

    def advance(w: State, until_call: int) -> int:
        return _advance(w, until_call) if parts else DONE

    return advance


interpreted: Callable[[State, int], int] = _advance
"""The loop as written, for the test that compares compiled with interpreted."""
advance = interpreted
if COMPILED:
    from numba import njit

    from .compiling import digest_of

    _advance = apart(_advance)
    advance = njit(cache=True, error_model="numpy", _nrt=False)(_with_parts(digest_of(interpreted)))

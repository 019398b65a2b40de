"""What is scheduled, soonest first: a four-way heap of (time, code) pairs, int64[capacity, 2].

A code holds the event's place in line, its try and its type (see `layout`), so no two entries are equal and the order is
total. Four children side by side are one line of the processor's cache.
"""

from typing import Any

from .compiling import inlined
from .layout import (
    CALL_SHIFT,
    EV_BITS,
    EV_QUEUE,
    EV_TIMER,
    LAST_BIT,
    LATE_BIT,
    N_HEAP,
    N_SEQUENCE,
    SEQUENCE_SHIFT,
    State,
)


@inlined
def _rise(heap: Any, at: int, time_us: int, code: int) -> None:
    while at > 0:
        above = (at - 1) >> 2
        if heap[above, 0] < time_us or (heap[above, 0] == time_us and heap[above, 1] < code):
            break
        heap[at, 0] = heap[above, 0]
        heap[at, 1] = heap[above, 1]
        at = above
    heap[at, 0] = time_us
    heap[at, 1] = code


@inlined
def _sooner(heap: Any, one: int, other: int) -> int:
    """Return which of two entries is sooner, without a branch: which it is, nobody can foretell."""
    one_us, other_us = heap[one, 0], heap[other, 0]
    later: int = (other_us < one_us) | ((other_us == one_us) & (heap[other, 1] < heap[one, 1]))
    return one + later * (other - one)


@inlined
def schedule(w: State, time_us: int, event: int, slot: int) -> int:
    """Put an event of a try into the line, behind what was put there before for the same time; return its number."""
    sequence: int = w.clock[N_SEQUENCE]
    w.clock[N_SEQUENCE] = sequence + 1
    _rise(w.heap, w.clock[N_HEAP], time_us, (sequence << SEQUENCE_SHIFT) | (slot << EV_BITS) | event)
    w.clock[N_HEAP] += 1
    return sequence


@inlined
def schedule_timer(w: State, time_us: int, call: int, number: int, slot: int) -> None:
    """Put the end of a try's patience into the line, behind all else of its time, in the order of calls and tries."""
    code = LATE_BIT | LAST_BIT | (call << CALL_SHIFT) | (number << SEQUENCE_SHIFT) | (slot << EV_BITS) | EV_TIMER
    _rise(w.heap, w.clock[N_HEAP], time_us, code)
    w.clock[N_HEAP] += 1


@inlined
def schedule_look(w: State, time_us: int, d: int) -> None:
    """Put a look at a deployment's queue into the line, behind all else of its time but ends of patience."""
    _rise(w.heap, w.clock[N_HEAP], time_us, LATE_BIT | (d << EV_BITS) | EV_QUEUE)
    w.clock[N_HEAP] += 1


@inlined
def drop_first(w: State) -> None:
    """Take the soonest event out: the gap sinks to the bottom, and the last event rises from there, seldom far."""
    heap = w.heap
    size = w.clock[N_HEAP] - 1
    w.clock[N_HEAP] = size
    if size == 0:
        return
    time_us, code = heap[size, 0], heap[size, 1]
    at, child = 0, 1
    while child + 3 < size:
        least = _sooner(heap, _sooner(heap, child, child + 1), _sooner(heap, child + 2, child + 3))
        heap[at, 0] = heap[least, 0]
        heap[at, 1] = heap[least, 1]
        at, child = least, 4 * least + 1
    if child < size:
        least = child
        for other in range(child + 1, size):
            least = _sooner(heap, least, other)
        heap[at, 0] = heap[least, 0]
        heap[at, 1] = heap[least, 1]
        at = least
    _rise(heap, at, time_us, code)

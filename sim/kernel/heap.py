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
    """Take the soonest event out."""
    heap = w.heap
    size = w.clock[N_HEAP] - 1
    w.clock[N_HEAP] = size
    if size == 0:
        return
    time_us, code = heap[size, 0], heap[size, 1]
    at = 0
    while True:
        child = 4 * at + 1
        if child >= size:
            break
        least, least_us, least_code = child, heap[child, 0], heap[child, 1]
        for other in range(child + 1, min(child + 4, size)):
            if heap[other, 0] < least_us or (heap[other, 0] == least_us and heap[other, 1] < least_code):
                least, least_us, least_code = other, heap[other, 0], heap[other, 1]
        if least_us > time_us or (least_us == time_us and least_code > code):
            break
        heap[at, 0] = least_us
        heap[at, 1] = least_code
        at = least
    heap[at, 0] = time_us
    heap[at, 1] = code

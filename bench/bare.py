"""What simulating costs at the least: each call goes where fewest calls are, and nothing is decided, learned or counted.

A loop over live queue lengths and a heap of ends of service, compiled as the simulator is: no entry, no way, no policy, no
price, no patience, no signals, no results but the sum of waits. The simulator's speed is told as a share of this one's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
NEVER_US = 1 << 62


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _push(heap: Any, size: int, time_us: int, place: int) -> None:
    at = size
    while at > 0:
        above = (at - 1) >> 2
        if heap[above, 0] <= time_us:
            break
        heap[at, 0] = heap[above, 0]
        heap[at, 1] = heap[above, 1]
        at = above
    heap[at, 0] = time_us
    heap[at, 1] = place


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _drop(heap: Any, size: int) -> None:
    """Take the soonest of `size` entries out: the last one sinks from the top."""
    last = size - 1
    time_us, place = heap[last, 0], heap[last, 1]
    at = 0
    while 4 * at + 1 < last:
        child = 4 * at + 1
        least = child
        for other in range(child + 1, min(child + 4, last)):
            if heap[other, 0] < heap[least, 0]:
                least = other
        if heap[least, 0] >= time_us:
            break
        heap[at, 0] = heap[least, 0]
        heap[at, 1] = heap[least, 1]
        at = least
    heap[at, 0] = time_us
    heap[at, 1] = place


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _shortest(load: Any) -> int:
    """Return the first place with the fewest calls; a loop that vector instructions can take was slower."""
    least, least_at = load[0], 0
    for at in range(1, load.shape[0]):
        if load[at] < least:
            least, least_at = load[at], at
    return least_at


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def run(at_us: Any, service_us: Any, servers: Any, heap: Any) -> int:
    """Serve all calls; return the number of them that had to wait.

    `at_us` int64[n] rising; `service_us` int64[n], call i's service if it starts as the i-th; `servers` int64[places];
    `heap` int64[room, 2], room for as many rows as there are servers in all.
    """
    load = np.zeros(servers.shape[0], dtype=np.int64)
    calls = at_us.shape[0]
    size, came, started, waited = 0, 0, 0, 0
    while came < calls or size > 0:
        call_us = at_us[came] if came < calls else NEVER_US
        if size > 0 and heap[0, 0] <= call_us:
            end_us, place = heap[0, 0], heap[0, 1]
            _drop(heap, size)
            size -= 1
            load[place] -= 1
            if load[place] >= servers[place]:
                _push(heap, size, end_us + service_us[started], place)
                size += 1
                started += 1
        else:
            place = _shortest(load)
            load[place] += 1
            came += 1
            if load[place] <= servers[place]:
                _push(heap, size, call_us + service_us[started], place)
                size += 1
                started += 1
            else:
                waited += 1
    return waited


def room(servers: Ints) -> Ints:
    """Return a heap for `run` with room for all servers."""
    return np.zeros((int(servers.sum()) + 1, 2), dtype=np.int64)

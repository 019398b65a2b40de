"""Replicas that follow the load, and how many servers stand ready over time."""

from .compiling import apart, inlined
from .heap import schedule
from .layout import (
    D_DOWN,
    D_LOAD,
    D_SERVERS,
    D_SITE,
    D_STOOD,
    D_STOOD_US,
    EV_READY,
    G_ABOVE_US,
    G_BEGUN,
    G_BELOW_US,
    G_CAME,
    G_COLD_US,
    G_CONCURRENCY,
    G_DEP,
    G_DOWN_US,
    G_FIRST,
    G_LOOKS,
    G_MAX,
    G_MIN,
    G_READY,
    G_SAMPLES,
    G_STARTING,
    G_SUM,
    G_TARGET_PPM,
    G_UP_US,
    N_SCALE_US,
    NONE,
    S_DOWN,
    State,
)
from .series import add
from .servers import serve

PPM, LOOK_US = 1_000_000, 1_000_000


@inlined
def stand(w: State, d: int, now_us: int) -> None:
    """Write down how many servers of a deployment stand ready from now on."""
    row = w.dep[d]
    servers = 0 if row[D_DOWN] or w.site[row[D_SITE], S_DOWN] else row[D_SERVERS]
    if servers != row[D_STOOD]:
        add(w, w.replica_us, d, row[D_STOOD_US], now_us, row[D_STOOD])
        row[D_STOOD] = servers
        row[D_STOOD_US] = now_us


@inlined
def _changed(w: State, g: int, now_us: int) -> None:
    d = w.scaled[g, G_DEP]
    w.dep[d, D_SERVERS] = w.scaled[g, G_READY] * w.scaled[g, G_CONCURRENCY]
    stand(w, d, now_us)
    serve(w, d, now_us)


@inlined
def _wish(w: State, g: int) -> int:
    """Take a look at the load, and return how many replicas the mean of the latest looks asks for."""
    row = w.scaled[g]
    place = row[G_SAMPLES] % row[G_LOOKS]
    load = w.dep[row[G_DEP], D_LOAD]
    row[G_SUM] += load - (w.loads[g, place] if row[G_SAMPLES] >= row[G_LOOKS] else 0)
    w.loads[g, place] = load
    row[G_SAMPLES] += 1
    count = min(row[G_SAMPLES], row[G_LOOKS])
    wish = -((-row[G_SUM] * PPM) // (count * row[G_TARGET_PPM]))
    return int(min(max(wish, row[G_MIN]), row[G_MAX]))


@apart
def look(w: State, now_us: int) -> None:
    """Look at every scaled deployment's load, and grant wishes that have held long enough."""
    w.clock[N_SCALE_US] = now_us + LOOK_US
    for g in range(w.scaled.shape[0]):
        row = w.scaled[g]
        wish, there = _wish(w, g), row[G_READY] + row[G_STARTING]
        if wish <= there:
            row[G_ABOVE_US] = NONE
        elif row[G_ABOVE_US] == NONE:
            row[G_ABOVE_US] = now_us
        if wish >= there:
            row[G_BELOW_US] = NONE
        elif row[G_BELOW_US] == NONE:
            row[G_BELOW_US] = now_us
        if row[G_ABOVE_US] != NONE and now_us - row[G_ABOVE_US] >= row[G_UP_US]:
            row[G_ABOVE_US] = NONE
            for _ in range(wish - there):
                _begin(w, g, now_us)
        if row[G_BELOW_US] != NONE and now_us - row[G_BELOW_US] >= row[G_DOWN_US]:
            row[G_BELOW_US] = NONE
            dropped = min(there - wish, row[G_STARTING])
            row[G_STARTING] -= dropped
            row[G_READY] -= there - wish - dropped
            _changed(w, g, now_us)


@inlined
def _begin(w: State, g: int, now_us: int) -> None:
    row, room = w.scaled[g], w.starting.shape[1]
    w.starting[g, (row[G_FIRST] + row[G_STARTING]) % room] = row[G_BEGUN]
    row[G_STARTING] += 1
    row[G_BEGUN] += 1
    schedule(w, now_us + row[G_COLD_US], EV_READY, g)


@apart
def ready(w: State, g: int, now_us: int) -> None:
    """A replica's cold start is over. They come in the order in which they were begun; the newest are dropped first."""
    row, room = w.scaled[g], w.starting.shape[1]
    number = row[G_CAME]
    row[G_CAME] += 1
    if row[G_STARTING] > 0 and w.starting[g, row[G_FIRST]] == number:
        row[G_FIRST] = (row[G_FIRST] + 1) % room
        row[G_STARTING] -= 1
        row[G_READY] += 1
        _changed(w, g, now_us)

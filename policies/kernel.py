"""The decision itself: estimate, veto, score and pick over integer arrays, one call at a time.

The same source runs compiled (numba, where it is installed) and interpreted (where it is not). All of it stands in
this one file because numba's cache watches only the file that a function is defined in. No floats but one correctly
rounded square root, no transcendentals: the same bytes on every machine.

Latency is estimated as a whole at the asked quantile. Each part has a median and a spread (p95 - p50); medians add,
spreads add as roots of squares, as standard deviations of independent parts do, and a quantile is
`median + z * spread`, z in thousandths as it was learned for the deployment (see `estimator`), starting from the normal
distribution's. Summing the parts' p95s instead would overstate the p95 of the whole.

What a call cannot change stands ready in a *view*: one column of numbers per property, one place per candidate, worked
out anew by `refresh` whenever signals change. `decide` is the hot path; `evaluate` says of every candidate what `decide`
needs to know of the best ones only.
"""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

SIZES = 4
"""Payload sizes that service times are told apart by: up to 4 KiB, 64 KiB, 1 MiB, and above."""
QUANTILES = 4
"""p50, p90, p95, p99: the order of z columns, and of Quantile's members."""

# Rows of the fixed table of an (entry, model): one column per candidate, made once per fleet.
F_DEPLOYMENT, F_SITE, F_PS_PER_BYTE, F_EGRESS, F_EGRESS_BACK, F_ERROR_PPM, F_TIE, F_CALL_NUSD, F_ROWS = range(9)
# Columns of the live table: one row per deployment of the fleet. P50 and SPREAD have one column per payload size.
L_IN_FLIGHT, L_CONCURRENCY, L_QUEUE_MAX, L_HEALTHY, L_NUSD_PER_S, L_P50_US = range(6)
L_SPREAD_US = L_P50_US + SIZES
L_COLS = L_SPREAD_US + SIZES
# Columns of the round-trip table: one row per site, seen from one entry.
R_P50_US, R_SPREAD_US, R_COLS = range(3)
# Rows of a view: one column per candidate. Those from V_IDLE_US on have one row per payload size.
(
    V_DEPLOYMENT,
    V_SITE,
    V_SHUT,
    V_IN_FLIGHT,
    V_FREE,
    V_CONCURRENCY,
    V_QUEUE_MAX,
    V_PS_PER_BYTE,
    V_EGRESS,
    V_EGRESS_BACK,
    V_ERROR_PPM,
    V_TIE,
    V_RTT_SQUARE,
    V_Z,
) = range(14)
V_IDLE_US = V_Z + QUANTILES
V_P50_US = V_IDLE_US + SIZES
V_SQUARE = V_P50_US + SIZES
V_COMPUTE_NUSD = V_SQUARE + SIZES
V_IDLE_FLOOR = V_COMPUTE_NUSD + SIZES
V_SQUARE_FLOOR = V_IDLE_FLOOR + SIZES
V_COMPUTE_FLOOR = V_SQUARE_FLOOR + SIZES
V_Z_FLOOR = V_COMPUTE_FLOOR + SIZES
V_STEP_FLOOR = V_Z_FLOOR + QUANTILES
V_VERSION = V_STEP_FLOOR + SIZES
V_ROWS = V_VERSION + 1
"""Decisions depend on the rows before V_IDLE_FLOOR only. Floors are what idle times, their squared spreads, compute, z and
what a call ahead adds have not been below since V_VERSION (its first place) last counted up; plans are made from them."""
SHUT_HEALTH, SHUT_TRIED, SHUT_VERSION = 1, 2, 4
"""Why a candidate is shut for the time being: bits of V_SHUT."""
# What a kind of call brings along, worked out once.
(
    P_RESPONSE_BYTES,
    P_ACCESS_US,
    P_ACCESS_SQUARE,
    P_ACCESS_PS_PER_BYTE,
    P_ACCESS_EGRESS,
    P_ACCESS_EGRESS_BACK,
    P_DEADLINE_Z,
    P_WAIT_Z,
    P_PRICE_MAX,
    P_PER_PRICE,
    P_PER_S,
    P_PER_ERROR,
    P_SECOND_PRICE,
    P_MARGIN,
    P_COLS,
) = range(15)
# Columns of a plan, one row per payload size: the candidates that files let pass, least possible score first (numbers, then
# scores, then what decides between equal scores), as of a view's version; how often the row was out of date when it
# was asked for; what the way in takes and costs in these scores; and the best two candidates of the last call, with which
# the next one's search begins.
PLAN_VERSION, PLAN_COUNT, PLAN_MISSES, PLAN_WAY_US, PLAN_WAY_NUSD, PLAN_BEST, PLAN_NEXT, PLAN_ORDER = range(8)
PLAN_SEEDS = PLAN_ORDER - PLAN_BEST
PLAN_EACH = 5
"""From PLAN_ORDER on, one column per candidate of each: number, least score, what decides between equal ones, and by how much
each call ahead makes the two worse, at the least."""
PLAN_AFTER = 4
"""A row is put in order the fourth time that it is missed: what is asked for less often is not worth sorting for."""
SCORE_MIN = -(2**62)
"""Below every score: what is not known to have a least score."""
BYTES_LEAST = (0, 4_097, 65_537, 1_048_577)
"""The smallest payload of each size."""
# Rows of the answer: one column per place of the order, best first. Median and spread are those from the entry on.
A_DEPLOYMENT, A_LATENCY_US, A_PRICE, A_MEDIAN_US, A_SPREAD_US, A_PRIMARY, A_SECONDARY, A_TIE, A_AT, A_ROWS = range(10)
# Columns of the outcome table: one row per candidate.
(
    O_RULE,
    O_LATENCY_US,
    O_DEADLINE_LATENCY_US,
    O_PRICE,
    O_PRIMARY,
    O_SECONDARY,
    O_WAITING,
    O_ERROR,
    O_EXPOSURE,
    O_MEDIAN_US,
    O_SPREAD_US,
    O_COLS,
) = range(12)

# Codes of Rule that the kernel itself gives (numba reads plain integers; a test holds them equal to Rule).
PRICE, DEADLINE, HEALTH, DEADLINE_LOAD, CAPACITY, TRIED, VERSION = 15, 16, 17, 18, 19, 20, 21

Z_NORMAL = (0, 779, 1000, 1414)
"""Normal quantiles relative to the p95's 1.6449, in thousandths: 0, 1.2816, 1.6449 and 2.3263 over 1.6449."""

LATENCY_MAX_US = 600_000_000
AHEAD_SURE, QUEUE_SURE_US = 64, LATENCY_MAX_US // 4
"""As far as calls ahead, and the time that they take, are counted in the least score that a loaded candidate can have."""
SQUARE_MAX = 2**60
"""Ceiling of a squared spread: its root is above LATENCY_MAX_US, and sums of four stay below 2**63."""
EGRESS_MAX_NUSD_PER_GB = 800_000_000_000
"""Egress along one way is priced at 800 USD/GB at most (eight links at the dearest that the fleet file takes), so that
10 GB of it and 1 GB back stay below 2**63."""
PS_PER_BYTE_MAX = 800_000_000
"""10 kbit/s, the slowest link that the fleet file takes: keeps 10 GB of it below 2**63 picoseconds."""
FIELD = 2_147_483_647
"""The prime 2**31 - 1: arithmetic of the draw stays below 2**63 in every language."""


def _isqrt(square: int) -> int:
    root = int(math.sqrt(square))
    while root * root > square:
        root -= 1
    while (root + 1) * (root + 1) <= square:
        root += 1
    return root


def _mix(draw: int, tie: int) -> int:
    mixed = (draw * 48_271 + tie) % FIELD
    mixed = (mixed * 69_621 + 40_692) % FIELD
    mixed = mixed ^ (mixed >> 15)
    return (mixed * 16_807 + draw) % FIELD


def size_of(payload_bytes: int) -> int:
    """Return the size class of a payload, 0 to SIZES - 1."""
    return int(payload_bytes > 4_096) + int(payload_bytes > 65_536) + int(payload_bytes > 1_048_576)


def egress_nusd(out: int, back: int, sent_bytes: int, received_bytes: int) -> int:
    """Return what traffic costs in nUSD, at rates in nUSD/GB. Split at a thousand bytes, to stay below 2**63."""
    if out == 0 and back == 0:
        return 0
    whole = out * (sent_bytes // 1000) + back * (received_bytes // 1000)
    rest = out * (sent_bytes % 1000) + back * (received_bytes % 1000)
    return whole // 1_000_000 + rest // 1_000_000_000


def transfer_us(ps_per_byte: int, total_bytes: int) -> int:
    """Return how long so many bytes take on a link, in microseconds, rounded up."""
    return (ps_per_byte * total_bytes + 999_999) // 1_000_000


def _square(view: Any, at: int, size: int, ahead: int) -> int:
    """Return the squared spread from the entry on: network, own service, and that of the calls `ahead` in the queue."""
    own = view[V_SQUARE + size, at]
    square: int = view[V_RTT_SQUARE, at] + own
    if ahead > 0:
        concurrency = view[V_CONCURRENCY, at]
        servers_square = concurrency * concurrency
        if (own < 2**40 and ahead < 2**20) or own <= SQUARE_MAX // ahead:  # most need no division to tell
            square += own * ahead // servers_square
        else:  # no room for the product: rounded up, so that a long queue never looks steadier than it is
            each = own // servers_square + 1
            square += each * ahead if each <= SQUARE_MAX // ahead else SQUARE_MAX
    return square


def refresh(fixed: Any, live: Any, rtt: Any, z: Any, view: Any) -> None:
    """Work a view out anew from the signals.

    `fixed` int64[F_ROWS, n], `live` int64[deployments, L_COLS], `rtt` int64[sites, R_COLS], `z` int64[deployments,
    QUANTILES]; writes `view` int64[V_ROWS, n].
    """
    for at in range(fixed.shape[1]):
        d, s = fixed[F_DEPLOYMENT, at], fixed[F_SITE, at]
        view[V_DEPLOYMENT, at] = d
        view[V_SITE, at] = s
        view[V_SHUT, at] = 0 if live[d, L_HEALTHY] != 0 else SHUT_HEALTH
        view[V_IN_FLIGHT, at] = live[d, L_IN_FLIGHT]
        view[V_FREE, at] = live[d, L_CONCURRENCY] - 1
        view[V_CONCURRENCY, at] = live[d, L_CONCURRENCY]
        view[V_QUEUE_MAX, at] = live[d, L_QUEUE_MAX]
        view[V_PS_PER_BYTE, at] = fixed[F_PS_PER_BYTE, at]
        view[V_EGRESS, at] = fixed[F_EGRESS, at]
        view[V_EGRESS_BACK, at] = fixed[F_EGRESS_BACK, at]
        view[V_ERROR_PPM, at] = fixed[F_ERROR_PPM, at]
        view[V_TIE, at] = fixed[F_TIE, at]
        view[V_RTT_SQUARE, at] = min(rtt[s, R_SPREAD_US] * rtt[s, R_SPREAD_US], SQUARE_MAX)
        for q in range(QUANTILES):
            view[V_Z + q, at] = z[d, q]
        for size in range(SIZES):
            p50_us, spread_us = live[d, L_P50_US + size], live[d, L_SPREAD_US + size]
            view[V_IDLE_US + size, at] = rtt[s, R_P50_US] + p50_us
            view[V_P50_US + size, at] = p50_us
            view[V_SQUARE + size, at] = min(spread_us * spread_us, SQUARE_MAX)
            view[V_COMPUTE_NUSD + size, at] = live[d, L_NUSD_PER_S] * p50_us // 1_000_000 + fixed[F_CALL_NUSD, at]
    refloor(view)


def refloor(view: Any) -> None:
    """Set the floors anew where a value has come below its floor, or gone far above: plans made on the old ones are void.

    A floor is fifteen sixteenths of what it bounds, so that signals may waver without any plan's becoming void.
    """
    stale = False
    for at in range(view.shape[1]):
        for size in range(SIZES):
            square = view[V_RTT_SQUARE, at] + view[V_SQUARE + size, at]
            stale |= _off(_step_us(view, at, size), view[V_STEP_FLOOR + size, at])
            stale |= _off(view[V_IDLE_US + size, at], view[V_IDLE_FLOOR + size, at])
            stale |= _off(square, view[V_SQUARE_FLOOR + size, at])
            stale |= _off(view[V_COMPUTE_NUSD + size, at], view[V_COMPUTE_FLOOR + size, at])
        for q in range(QUANTILES):
            stale |= _off(view[V_Z + q, at], view[V_Z_FLOOR + q, at])
    if stale:
        least = 16 if view[V_VERSION, 0] % 2**32 == 0 else 15
        for at in range(view.shape[1]):
            for size in range(SIZES):
                square = view[V_RTT_SQUARE, at] + view[V_SQUARE + size, at]
                view[V_IDLE_FLOOR + size, at] = view[V_IDLE_US + size, at] * least // 16
                view[V_SQUARE_FLOOR + size, at] = square - square // 16 * (16 - least)
                view[V_COMPUTE_FLOOR + size, at] = view[V_COMPUTE_NUSD + size, at] * least // 16
                view[V_STEP_FLOOR + size, at] = _step_us(view, at, size) * least // 16
            for q in range(QUANTILES):
                view[V_Z_FLOOR + q, at] = max(0, view[V_Z + q, at]) * least // 16
        view[V_VERSION, 0] += 1


def _step_us(view: Any, at: int, size: int) -> int:
    """Return by how much each call ahead makes a median later, at the least."""
    step_us: int = view[V_P50_US + size, at] // view[V_CONCURRENCY, at]
    return step_us


def _off(value: int, floor: int) -> bool:
    """A value is off its floor when it is below it, or so far above that the floor says little."""
    return value < floor or value // 2 - 8 > floor


def _sink(passing: Any, least: Any, second: Any, root: int, count: int) -> None:
    """Let a place of a heap sink to where it belongs, the last in order on top: heapsort, in place."""
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and _sooner(passing, least, second, child, child + 1):
            child += 1
        if not _sooner(passing, least, second, root, child):
            return
        _swap(passing, least, second, root, child)
        root = child


def _swap(passing: Any, least: Any, second: Any, one: int, other: int) -> None:
    passing[one], passing[other] = passing[other], passing[one]
    least[one], least[other] = least[other], least[one]
    second[one], second[other] = second[other], second[one]


def _sooner(passing: Any, least: Any, second: Any, one: int, other: int) -> bool:
    if least[one] != least[other]:
        return bool(least[one] < least[other])
    if second[one] != second[other]:
        return bool(second[one] < second[other])
    return bool(passing[one] < passing[other])


def arrange(view: Any, rules: Any, exposure: Any, params: Any, plan: Any, size: int) -> None:
    """Put a plan's row in order: each candidate that files let pass, by the least score that a call of this size can have.

    `plan` int64[SIZES, PLAN_ORDER + PLAN_EACH * n]. Everything in a score but its floors grows with load, payload and age.
    """
    n = view.shape[1]
    payload_bytes, response_bytes = BYTES_LEAST[size], params[P_RESPONSE_BYTES]
    total_bytes = payload_bytes + response_bytes
    access_us = params[P_ACCESS_US] + transfer_us(params[P_ACCESS_PS_PER_BYTE], total_bytes)
    access_nusd = egress_nusd(params[P_ACCESS_EGRESS], params[P_ACCESS_EGRESS_BACK], payload_bytes, response_bytes)
    passing, least = plan[size, PLAN_ORDER : PLAN_ORDER + n], plan[size, PLAN_ORDER + n : PLAN_ORDER + 2 * n]
    second = plan[size, PLAN_ORDER + 2 * n : PLAN_ORDER + 3 * n]
    count = 0
    for at in range(n):
        if rules[at] != 0:
            continue
        price = view[V_COMPUTE_FLOOR + size, at] + access_nusd
        price += egress_nusd(view[V_EGRESS, at], view[V_EGRESS_BACK, at], payload_bytes, response_bytes)
        # Two parts of it are rounded down: beside what comes back, a few bytes more to send may cost one nUSD less.
        price -= int(view[V_EGRESS_BACK, at] != 0) + int(params[P_ACCESS_EGRESS_BACK] != 0)
        all_us = access_us + view[V_IDLE_FLOOR + size, at] + transfer_us(view[V_PS_PER_BYTE, at], total_bytes)
        whole_us = _isqrt(params[P_ACCESS_SQUARE] + view[V_SQUARE_FLOOR + size, at])
        latency_us = _at_quantile(all_us, view[V_Z_FLOOR + params[P_WAIT_Z], at], whole_us)
        score = params[P_PER_PRICE] * price + params[P_PER_ERROR] * view[V_ERROR_PPM, at] // 1_000_000
        score += exposure[view[V_SITE, at]] + params[P_PER_S] * latency_us // 1_000_000
        known = view[V_Z + params[P_WAIT_Z], at] >= 0 and latency_us <= LATENCY_MAX_US // 2
        passing[count] = at
        least[count] = score if known else SCORE_MIN
        second[count] = (price if params[P_SECOND_PRICE] else latency_us) if known else SCORE_MIN
        count += 1
    for root in range(count // 2 - 1, -1, -1):
        _sink(passing, least, second, root, count)
    for end in range(count - 1, 0, -1):
        _swap(passing, least, second, 0, end)
        _sink(passing, least, second, 0, end)
    for turn in range(count):
        step_us = min(view[V_STEP_FLOOR + size, passing[turn]], QUEUE_SURE_US // AHEAD_SURE)
        plan[size, PLAN_ORDER + 3 * n + turn] = params[P_PER_S] * step_us // 1_000_000
        plan[size, PLAN_ORDER + 4 * n + turn] = 0 if params[P_SECOND_PRICE] else step_us
    plan[size, PLAN_COUNT] = count
    plan[size, PLAN_MISSES] = 0
    plan[size, PLAN_WAY_US] = access_us
    plan[size, PLAN_WAY_NUSD] = access_nusd
    plan[size, PLAN_BEST:PLAN_ORDER] = -1
    plan[size, PLAN_VERSION] = view[V_VERSION, 0]


def _planned(view: Any, rules: Any, exposure: Any, params: Any, plan: Any, size: int) -> bool:
    """Return whether a plan holds for calls of this size; puts it in order where that has been wanted often enough."""
    if plan.shape[1] <= PLAN_ORDER:
        return False
    if plan[size, PLAN_VERSION] != view[V_VERSION, 0]:
        plan[size, PLAN_MISSES] += 1
        if plan[size, PLAN_MISSES] < PLAN_AFTER:
            return False
        arrange(view, rules, exposure, params, plan, size)
    return True


def evaluate(view: Any, rules: Any, exposure: Any, params: Any, payload_bytes: int, deadline_us: int, out: Any) -> None:
    """Estimate, veto and score every candidate of one call.

    `view` int64[V_ROWS, n], `rules` uint8[n] (what files veto), `exposure` int64[sites], `params` int64[P_COLS];
    `deadline_us` 0 is none. Writes `out` int64[n, O_COLS]. Money in nano-USD, times in microseconds.
    """
    size = size_of(payload_bytes)
    response_bytes = params[P_RESPONSE_BYTES]
    total_bytes = payload_bytes + response_bytes
    access_us = params[P_ACCESS_US] + transfer_us(params[P_ACCESS_PS_PER_BYTE], total_bytes)
    access_nusd = egress_nusd(params[P_ACCESS_EGRESS], params[P_ACCESS_EGRESS_BACK], payload_bytes, response_bytes)
    for at in range(view.shape[1]):
        ahead = max(0, view[V_IN_FLIGHT, at] - view[V_FREE, at])
        alone_us = view[V_IDLE_US + size, at] + transfer_us(view[V_PS_PER_BYTE, at], total_bytes)
        median_us = alone_us + view[V_P50_US + size, at] * ahead // view[V_CONCURRENCY, at]
        square = _square(view, at, size, ahead)
        whole_us = _isqrt(params[P_ACCESS_SQUARE] + square)
        all_us = access_us + median_us
        latency_us = _at_quantile(all_us, view[V_Z + params[P_WAIT_Z], at], whole_us)
        deadline_z = view[V_Z + params[P_DEADLINE_Z], at]
        at_deadline_us = _at_quantile(all_us, deadline_z, whole_us)
        path_nusd = egress_nusd(view[V_EGRESS, at], view[V_EGRESS_BACK, at], payload_bytes, response_bytes)
        price = view[V_COMPUTE_NUSD + size, at] + path_nusd + access_nusd
        out[at, O_LATENCY_US] = latency_us
        out[at, O_DEADLINE_LATENCY_US] = at_deadline_us
        out[at, O_PRICE] = price
        out[at, O_MEDIAN_US] = min(median_us, LATENCY_MAX_US)
        out[at, O_SPREAD_US] = _isqrt(square)
        out[at, O_WAITING] = params[P_PER_S] * latency_us // 1_000_000
        out[at, O_ERROR] = params[P_PER_ERROR] * view[V_ERROR_PPM, at] // 1_000_000
        out[at, O_EXPOSURE] = exposure[view[V_SITE, at]]
        out[at, O_PRIMARY] = params[P_PER_PRICE] * price + out[at, O_WAITING] + out[at, O_ERROR] + out[at, O_EXPOSURE]
        out[at, O_SECONDARY] = price if params[P_SECOND_PRICE] else latency_us
        rule = rules[at]
        if rule == 0 and params[P_PRICE_MAX] >= 0 and price > params[P_PRICE_MAX]:
            rule = PRICE
        late = _late(at_deadline_us, deadline_us)
        if rule == 0 and late:
            idle_us = _isqrt(params[P_ACCESS_SQUARE] + _square(view, at, size, 0))
            if _late(_at_quantile(access_us + alone_us, deadline_z, idle_us), deadline_us):
                rule = DEADLINE
        if rule == 0 and view[V_SHUT, at] & SHUT_HEALTH:
            rule = HEALTH
        if rule == 0 and late:
            rule = DEADLINE_LOAD
        if rule == 0 and view[V_IN_FLIGHT, at] >= view[V_QUEUE_MAX, at]:
            rule = CAPACITY
        if rule == 0 and view[V_SHUT, at] & SHUT_TRIED:
            rule = TRIED
        if rule == 0 and view[V_SHUT, at] & SHUT_VERSION:
            rule = VERSION
        out[at, O_RULE] = rule


def _at_quantile(median_us: int, z_milli: int, whole_us: int) -> int:
    if z_milli == 0:
        return max(0, min(median_us, LATENCY_MAX_US))
    return max(0, min(median_us + z_milli * whole_us // 1000, LATENCY_MAX_US))


def _late(latency_us: int, deadline_us: int) -> bool:
    """An estimate at its ceiling is no estimate: it is late for every deadline."""
    return deadline_us > 0 and (latency_us > deadline_us or latency_us >= LATENCY_MAX_US)


def _skip(view: Any, plan: Any, size: int, turn: int, bar: int, bar_second: int) -> int:
    """Return the first place of a plan, from `turn` on, whose candidate may come before what bars the rest.

    `bar` and `bar_second` are of the last place of the answer, less what a call's way in adds to every score.
    """
    n, rest = view.shape[1], int(plan[size, PLAN_COUNT]) - turn
    first = PLAN_ORDER + turn
    order, scores, seconds = plan[size, first:], plan[size, first + n :], plan[size, first + 2 * n :]
    steps, second_steps = plan[size, first + 3 * n :], plan[size, first + 4 * n :]
    busy, free = view[V_IN_FLIGHT], view[V_FREE]
    for on in range(rest):
        score, at = scores[on], order[on]
        if score > bar or (score == bar and seconds[on] > bar_second):
            break
        ahead = min(max(0, busy[at] - free[at]), AHEAD_SURE)
        score += steps[on] * ahead
        if score < bar or (score == bar and seconds[on] + second_steps[on] * ahead <= bar_second):
            return turn + on
    return turn + rest


def decide(
    view: Any,
    rules: Any,
    exposure: Any,
    params: Any,
    plan: Any,
    answer: Any,
    payload_bytes: int,
    deadline_us: int,
    draw: int,
) -> int:
    """Find the best eligible candidates of one call. Returns how many places of `answer` int64[A_ROWS, k] are filled.

    Arguments as for `evaluate`, whose estimates and vetoes these are. Candidates are looked at in the order of `plan`
    (see `arrange`; one with no columns for candidates stands for the order of the view), after the best of the call
    before, until the least possible score of the next is behind the last place. A candidate that is sure to stand behind it
    by its queue (see `_skip`), or before its spread is known, is passed over: roots and divisions are what costs most. With
    a margin, `draw` says which of the near-ties comes first (see `rank`).
    """
    size = size_of(payload_bytes)
    response_bytes = params[P_RESPONSE_BYTES]
    total_bytes = payload_bytes + response_bytes
    access_us = params[P_ACCESS_US] + transfer_us(params[P_ACCESS_PS_PER_BYTE], total_bytes)
    access_nusd = egress_nusd(params[P_ACCESS_EGRESS], params[P_ACCESS_EGRESS_BACK], payload_bytes, response_bytes)
    access_square, price_max = params[P_ACCESS_SQUARE], params[P_PRICE_MAX]
    per_price, per_s, per_error = params[P_PER_PRICE], params[P_PER_S], params[P_PER_ERROR]
    second_price = params[P_SECOND_PRICE]
    wait_z, deadline_z = view[V_Z + params[P_WAIT_Z]], view[V_Z + params[P_DEADLINE_Z]]
    idle, compute = view[V_IDLE_US + size], view[V_COMPUTE_NUSD + size]
    sites, shut, busy, free = view[V_SITE], view[V_SHUT], view[V_IN_FLIGHT], view[V_FREE]
    room, slow, error_ppm = view[V_QUEUE_MAX], view[V_PS_PER_BYTE], view[V_ERROR_PPM]
    p50, concurrency = view[V_P50_US + size], view[V_CONCURRENCY]
    places = answer.shape[1]
    found = 0
    worst, worst_secondary = 0, 0
    n = view.shape[1]
    planned = _planned(view, rules, exposure, params, plan, size)
    bar, bar_second, over, over_second = 0, 0, 0, 0
    if planned:  # by how much the way in makes every score of this call exceed the plan's
        later_us = min(access_us - plan[size, PLAN_WAY_US], QUEUE_SURE_US)
        dearer = access_nusd - plan[size, PLAN_WAY_NUSD]
        over = per_price * dearer + per_s * later_us // 1_000_000
        over_second = dearer if second_price else later_us
    turn, turns = (-PLAN_SEEDS, plan[size, PLAN_COUNT]) if planned else (0, n)
    while True:
        if planned and found == places and turn >= 0:
            turn = _skip(view, plan, size, turn, bar, bar_second)
        if turn >= turns:
            break
        at = plan[size, PLAN_ORDER + turn] if planned else turn
        turn += 1
        if rules[at] != 0 or shut[at] != 0 or busy[at] >= room[at]:
            continue
        if planned and (at < 0 or (turn > 0 and (at == plan[size, PLAN_BEST] or at == plan[size, PLAN_NEXT]))):
            continue
        ahead = max(0, busy[at] - free[at])
        median_us = idle[at] + transfer_us(slow[at], total_bytes) + p50[at] * ahead // concurrency[at]
        price = compute[at] + access_nusd
        price += egress_nusd(view[V_EGRESS, at], view[V_EGRESS_BACK, at], payload_bytes, response_bytes)
        if price_max >= 0 and price > price_max:
            continue
        all_us = access_us + median_us
        fixed = per_price * price + exposure[sites[at]]
        if per_error:
            fixed += per_error * error_ppm[at] // 1_000_000
        if found == places and wait_z[at] >= 0:
            least_us = min(all_us, LATENCY_MAX_US)
            least = fixed + per_s * least_us // 1_000_000
            if least > worst or (least == worst and (price if second_price else least_us) > worst_secondary):
                continue
        square = _square(view, at, size, ahead)
        whole_us = _isqrt(access_square + square)
        at_deadline_us = _at_quantile(all_us, deadline_z[at], whole_us)
        if _late(at_deadline_us, deadline_us):
            continue
        latency_us = _at_quantile(all_us, wait_z[at], whole_us)
        primary = fixed + per_s * latency_us // 1_000_000
        secondary = price if second_price else latency_us
        tie = view[V_TIE, at]
        place = found
        while place > 0 and _before(
            primary,
            secondary,
            tie,
            at,
            answer[A_PRIMARY, place - 1],
            answer[A_SECONDARY, place - 1],
            answer[A_TIE, place - 1],
            answer[A_AT, place - 1],
        ):
            place -= 1
        if place == places:
            continue
        if found < places:
            found += 1
        for behind in range(found - 1, place, -1):
            for row in range(A_ROWS):
                answer[row, behind] = answer[row, behind - 1]
        answer[A_DEPLOYMENT, place] = view[V_DEPLOYMENT, at]
        answer[A_LATENCY_US, place] = at_deadline_us
        answer[A_PRICE, place] = price
        answer[A_MEDIAN_US, place] = min(median_us, LATENCY_MAX_US)
        answer[A_SPREAD_US, place] = square
        answer[A_PRIMARY, place] = primary
        answer[A_SECONDARY, place] = secondary
        answer[A_TIE, place] = tie
        answer[A_AT, place] = at
        worst = answer[A_PRIMARY, found - 1]
        worst_secondary = answer[A_SECONDARY, found - 1]
        bar, bar_second = worst - over, worst_secondary - over_second
    if planned:
        plan[size, PLAN_BEST] = answer[A_AT, 0] if found > 0 else -1
        plan[size, PLAN_NEXT] = answer[A_AT, 1] if found > 1 else -1
    if params[P_MARGIN] > 0 and found > 0:
        _share(view, rules, exposure, params, plan, answer, payload_bytes, deadline_us, draw, planned, found)
    for place in range(found):
        answer[A_SPREAD_US, place] = _isqrt(answer[A_SPREAD_US, place])
    return found


def _share(
    view: Any,
    rules: Any,
    exposure: Any,
    params: Any,
    plan: Any,
    answer: Any,
    payload_bytes: int,
    deadline_us: int,
    draw: int,
    planned: bool,
    found: int,
) -> None:
    """Put the near-tie that the draw falls on into the first place of an answer; the others keep their order."""
    size, n = size_of(payload_bytes), view.shape[1]
    most = answer[A_PRIMARY, 0] + params[P_MARGIN]
    first, first_mix = -1, -1
    for turn in range(plan[size, PLAN_COUNT] if planned else n):
        at = turn
        if planned:
            at = plan[size, PLAN_ORDER + turn]
            if plan[size, PLAN_ORDER + n + turn] > most:
                break
        mixed = _mix(draw, view[V_TIE, at])
        if mixed < first_mix or (mixed == first_mix and at > first) or rules[at] != 0 or view[V_SHUT, at] != 0:
            continue
        if view[V_IN_FLIGHT, at] >= view[V_QUEUE_MAX, at]:
            continue
        price, median_us, square, at_deadline_us, primary = _estimate(view, exposure, params, at, payload_bytes)
        if primary > most or _late(at_deadline_us, deadline_us):
            continue
        if params[P_PRICE_MAX] >= 0 and price > params[P_PRICE_MAX]:
            continue
        first, first_mix = at, mixed
    place = 0
    while place < found - 1 and answer[A_AT, place] != first:
        place += 1
    for behind in range(place, 0, -1):
        for row in range(A_ROWS):
            answer[row, behind] = answer[row, behind - 1]
    price, median_us, square, at_deadline_us, primary = _estimate(view, exposure, params, first, payload_bytes)
    answer[A_DEPLOYMENT, 0] = view[V_DEPLOYMENT, first]
    answer[A_LATENCY_US, 0] = at_deadline_us
    answer[A_PRICE, 0] = price
    answer[A_MEDIAN_US, 0] = min(median_us, LATENCY_MAX_US)
    answer[A_SPREAD_US, 0] = square
    answer[A_PRIMARY, 0] = primary
    answer[A_AT, 0] = first


def _estimate(view: Any, exposure: Any, params: Any, at: int, payload_bytes: int) -> tuple[int, int, int, int, int]:
    """Return price, median from the entry on, its squared spread, latency for the deadline, and score of a candidate."""
    size, response_bytes = size_of(payload_bytes), params[P_RESPONSE_BYTES]
    total_bytes = payload_bytes + response_bytes
    price = view[V_COMPUTE_NUSD + size, at]
    price += egress_nusd(view[V_EGRESS, at], view[V_EGRESS_BACK, at], payload_bytes, response_bytes)
    price += egress_nusd(params[P_ACCESS_EGRESS], params[P_ACCESS_EGRESS_BACK], payload_bytes, response_bytes)
    ahead = max(0, view[V_IN_FLIGHT, at] - view[V_FREE, at])
    median_us = view[V_IDLE_US + size, at] + transfer_us(view[V_PS_PER_BYTE, at], total_bytes)
    median_us += view[V_P50_US + size, at] * ahead // view[V_CONCURRENCY, at]
    square = _square(view, at, size, ahead)
    whole_us = _isqrt(params[P_ACCESS_SQUARE] + square)
    all_us = params[P_ACCESS_US] + transfer_us(params[P_ACCESS_PS_PER_BYTE], total_bytes) + median_us
    latency_us = _at_quantile(all_us, view[V_Z + params[P_WAIT_Z], at], whole_us)
    primary = params[P_PER_PRICE] * price + params[P_PER_S] * latency_us // 1_000_000
    primary += params[P_PER_ERROR] * view[V_ERROR_PPM, at] // 1_000_000 + exposure[view[V_SITE, at]]
    return price, median_us, square, _at_quantile(all_us, view[V_Z + params[P_DEADLINE_Z], at], whole_us), primary


def _before(
    primary: int,
    secondary: int,
    tie: int,
    at: int,
    other_primary: int,
    other_secondary: int,
    other_tie: int,
    other_at: int,
) -> bool:
    if primary != other_primary:
        return primary < other_primary
    if secondary != other_secondary:
        return secondary < other_secondary
    if tie != other_tie:
        return tie < other_tie
    return at < other_at


def rank(view: Any, out: Any, margin: int, draw: int, order: Any) -> int:
    """Write the best of what `evaluate` passed into `order` int64[k], best first, and return how many there are.

    With a margin, candidates within it of the least score share the calls: the first place goes to the one whose
    digest, mixed with the call's `draw`, is largest (rendezvous hashing); the rest keep their order.
    """
    found = 0
    places = order.shape[0]
    for at in range(out.shape[0]):
        if out[at, O_RULE] != 0:
            continue
        place = found
        while place > 0 and _row_before(view, out, at, order[place - 1]):
            if place < places:
                order[place] = order[place - 1]
            place -= 1
        if place < places:
            order[place] = at
            found = min(found + 1, places)
    if margin > 0 and found > 0:
        _spread(view, out, margin, draw, order, found)
    return found


def _row_before(view: Any, out: Any, at: int, other: int) -> bool:
    return _before(
        out[at, O_PRIMARY],
        out[at, O_SECONDARY],
        view[V_TIE, at],
        at,
        out[other, O_PRIMARY],
        out[other, O_SECONDARY],
        view[V_TIE, other],
        other,
    )


def _spread(view: Any, out: Any, margin: int, draw: int, order: Any, found: int) -> None:
    least = out[order[0], O_PRIMARY]
    first, first_mix = order[0], -1
    for at in range(out.shape[0]):
        if out[at, O_RULE] == 0 and out[at, O_PRIMARY] - least <= margin:
            mixed = _mix(draw, view[V_TIE, at])
            if mixed > first_mix:
                first, first_mix = at, mixed
    held = first
    for place in range(found):
        order[place], held = held, order[place]
        if held == first:
            break


COMPILED = find_spec("numba") is not None
interpreted: dict[str, Callable[..., Any]] = {
    "refresh": refresh,
    "arrange": arrange,
    "evaluate": evaluate,
    "rank": rank,
    "decide": decide,
}
"""The functions as written, for the test that compares compiled with interpreted decisions."""

if COMPILED:
    from numba import njit

    # Nothing here allocates, so arrays need not be counted: counting took longer than deciding.
    fast = njit(cache=True, error_model="numpy", _nrt=False)
    inline = njit(cache=True, error_model="numpy", _nrt=False, inline="always")

    _isqrt = inline(_isqrt)
    _mix = fast(_mix)
    size_of = inline(size_of)
    egress_nusd = inline(egress_nusd)
    transfer_us = inline(transfer_us)
    _square = fast(_square)
    _at_quantile = fast(_at_quantile)
    _late = fast(_late)
    _before = fast(_before)
    _step_us = inline(_step_us)
    _off = inline(_off)
    refloor = fast(refloor)
    refresh = fast(refresh)
    evaluate = fast(evaluate)
    _row_before = fast(_row_before)
    _spread = fast(_spread)
    rank = fast(rank)
    _sooner = fast(_sooner)
    _swap = fast(_swap)
    _sink = fast(_sink)
    arrange = fast(arrange)
    _planned = fast(_planned)
    _skip = inline(_skip)
    _estimate = fast(_estimate)
    _share = fast(_share)
    decide = fast(decide)

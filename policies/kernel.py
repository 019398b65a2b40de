"""The decision itself: estimate, veto, score and pick over integer arrays, one call at a time.

The same source runs compiled (numba, where it is installed) and interpreted (where it is not). All of it stands in
this one file because numba's cache watches only the file that a function is defined in. No floats but one correctly
rounded square root, no transcendentals: the same bytes on every machine.

Latency is estimated as a whole at the asked quantile. Each part has a median and a spread (p95 - p50); medians add,
spreads add as roots of squares, as standard deviations of independent parts do, and a quantile is
`median + z * spread` with z relative to the p95 of a normal distribution. Summing the parts' p95s instead would
overstate the p95 of the whole.
"""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

# Columns of the static table: one row per candidate, made when a policy is compiled.
S_DEPLOYMENT, S_SITE, S_RULE, S_KBPS, S_EGRESS, S_EGRESS_BACK, S_EXPOSURE, S_EXPOSURES, S_ERROR_PPM, S_TIE, S_COLS = (
    range(11)
)
# Columns of the live table: one row per deployment of the fleet.
L_IN_FLIGHT, L_CONCURRENCY, L_QUEUE_MAX, L_P50_US, L_SPREAD_US, L_HEALTHY, L_NUSD_PER_S, L_TRIED, L_COLS = range(9)
# Columns of the round-trip table: one row per site, seen from one entry.
R_P50_US, R_SPREAD_US, R_COLS = range(3)
# The call and what its policy values.
(
    P_PAYLOAD_BYTES,
    P_RESPONSE_BYTES,
    P_ACCESS_US,
    P_ACCESS_SPREAD_US,
    P_ACCESS_KBPS,
    P_ACCESS_EGRESS,
    P_ACCESS_EGRESS_BACK,
    P_DEADLINE_US,
    P_DEADLINE_Z,
    P_WAIT_Z,
    P_PRICE_MAX,
    P_NUSD_PER_S,
    P_NUSD_PER_ERROR,
    P_PREFERENCE,
    P_MARGIN,
    P_DRAW,
    P_COLS,
) = range(17)
# Columns of the outcome table: one row per candidate.
O_RULE, O_LATENCY_US, O_DEADLINE_LATENCY_US, O_PRICE, O_PRIMARY, O_SECONDARY, O_WAITING, O_ERROR, O_EXPOSURE, O_COLS = (
    range(10)
)

BALANCED, CHEAPEST, FASTEST, MOST_ACCURATE, MOST_PRIVATE = range(5)
"""Codes of Preference, in the order of its members."""

# Codes of Rule that the kernel itself gives (numba reads plain integers; a test holds them equal to Rule).
PRICE, DEADLINE, HEALTH, DEADLINE_LOAD, CAPACITY, TRIED = 15, 16, 17, 18, 19, 20

Z_P50, Z_P90, Z_P95, Z_P99 = 0, 779, 1000, 1414
"""Normal quantiles relative to the p95's 1.6449, in thousandths: 1.2816, 1.6449 and 2.3263 over 1.6449."""

LATENCY_MAX_US = 600_000_000
SQUARE_MAX = 2**62
"""Ceiling of a squared spread: its root is above LATENCY_MAX_US, and sums of it stay below 2**63."""
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


def _at_rate(nusd_per_s: int, time_us: int) -> int:
    """Multiply without leaving 63 bits: rates go to 1e10 nUSD/s and times to 6e8 us."""
    return nusd_per_s * (time_us // 1_000_000) + nusd_per_s * (time_us % 1_000_000) // 1_000_000


def _egress_rest(nusd_per_gb: int, size_bytes: int) -> int:
    """Price what goes beyond whole gigabytes, in millionths of a nano-USD: stays in 63 bits up to 4e12 nUSD/GB over a path."""
    rest = size_bytes % 1_000_000_000
    return nusd_per_gb * (rest // 1000) + nusd_per_gb * (rest % 1000) // 1000


def _score(out: Any, row: int, static: Any, at: int, params: Any) -> None:
    """Write the primary and secondary sort key, and the shares that the primary is the sum of."""
    latency_us, price = out[row, O_LATENCY_US], out[row, O_PRICE]
    out[row, O_WAITING] = 0
    out[row, O_ERROR] = 0
    out[row, O_EXPOSURE] = 0
    preference = params[P_PREFERENCE]
    if preference == BALANCED:
        out[row, O_WAITING] = _at_rate(params[P_NUSD_PER_S], latency_us)
        out[row, O_ERROR] = _at_rate(params[P_NUSD_PER_ERROR], static[at, S_ERROR_PPM])
        out[row, O_EXPOSURE] = static[at, S_EXPOSURE]
        out[row, O_PRIMARY] = price + out[row, O_WAITING] + out[row, O_ERROR] + out[row, O_EXPOSURE]
        out[row, O_SECONDARY] = latency_us
    elif preference == CHEAPEST:
        out[row, O_PRIMARY] = price
        out[row, O_SECONDARY] = latency_us
    elif preference == FASTEST:
        out[row, O_PRIMARY] = latency_us
        out[row, O_SECONDARY] = price
    elif preference == MOST_ACCURATE:
        out[row, O_PRIMARY] = static[at, S_ERROR_PPM]
        out[row, O_SECONDARY] = latency_us
    else:
        out[row, O_PRIMARY] = static[at, S_EXPOSURES]
        out[row, O_SECONDARY] = latency_us


def evaluate(static: Any, live: Any, rtt: Any, params: Any, out: Any) -> None:
    """Estimate, veto and score every candidate of one call.

    `static` int64[n, S_COLS], `live` int64[deployments, L_COLS], `rtt` int64[sites, R_COLS], `params` int64[P_COLS];
    writes `out` int64[n, O_COLS]. Money in nano-USD, times in microseconds.
    """
    for at in range(static.shape[0]):
        d = static[at, S_DEPLOYMENT]
        s = static[at, S_SITE]
        in_flight, concurrency = live[d, L_IN_FLIGHT], live[d, L_CONCURRENCY]
        p50_us, spread_us = live[d, L_P50_US], live[d, L_SPREAD_US]
        bits = 8_000 * (params[P_PAYLOAD_BYTES] + params[P_RESPONSE_BYTES])
        transfer_us = bits // static[at, S_KBPS] + bits // params[P_ACCESS_KBPS]
        idle_us = params[P_ACCESS_US] + rtt[s, R_P50_US] + transfer_us + p50_us
        ahead = max(0, in_flight - concurrency + 1)
        median_us = min(idle_us + p50_us * ahead // concurrency, LATENCY_MAX_US)
        network = params[P_ACCESS_SPREAD_US] * params[P_ACCESS_SPREAD_US] + rtt[s, R_SPREAD_US] * rtt[s, R_SPREAD_US]
        service = spread_us * spread_us
        queued = service * ahead if service <= SQUARE_MAX // max(1, ahead) else SQUARE_MAX
        whole_us = _isqrt(network + service + queued // (concurrency * concurrency))
        latency_us = min(median_us + params[P_WAIT_Z] * whole_us // 1000, LATENCY_MAX_US)
        at_deadline_us = min(median_us + params[P_DEADLINE_Z] * whole_us // 1000, LATENCY_MAX_US)
        out_rate = static[at, S_EGRESS] + params[P_ACCESS_EGRESS]
        back_rate = static[at, S_EGRESS_BACK] + params[P_ACCESS_EGRESS_BACK]
        sent, received = params[P_PAYLOAD_BYTES], params[P_RESPONSE_BYTES]
        rest = _egress_rest(out_rate, sent) + _egress_rest(back_rate, received)
        egress = out_rate * (sent // 1_000_000_000) + back_rate * (received // 1_000_000_000) + rest // 1_000_000
        price = _at_rate(live[d, L_NUSD_PER_S], p50_us) + egress
        out[at, O_LATENCY_US] = latency_us
        out[at, O_DEADLINE_LATENCY_US] = at_deadline_us
        out[at, O_PRICE] = price
        _score(out, at, static, at, params)
        rule = static[at, S_RULE]
        deadline_us = params[P_DEADLINE_US]
        if rule == 0 and params[P_PRICE_MAX] >= 0 and price > params[P_PRICE_MAX]:
            rule = PRICE
        # An estimate at its ceiling is no estimate: it is late for every deadline.
        late = deadline_us > 0 and (at_deadline_us > deadline_us or at_deadline_us >= LATENCY_MAX_US)
        alone_us = idle_us + params[P_DEADLINE_Z] * _isqrt(network + service) // 1000
        if rule == 0 and late and (alone_us > deadline_us or alone_us >= LATENCY_MAX_US):
            rule = DEADLINE
        if rule == 0 and live[d, L_HEALTHY] == 0:
            rule = HEALTH
        if rule == 0 and late:
            rule = DEADLINE_LOAD
        if rule == 0 and in_flight >= live[d, L_QUEUE_MAX]:
            rule = CAPACITY
        if rule == 0 and live[d, L_TRIED] != 0:
            rule = TRIED
        out[at, O_RULE] = rule


def _before(out: Any, static: Any, left: int, right: int) -> bool:
    if out[left, O_PRIMARY] != out[right, O_PRIMARY]:
        return bool(out[left, O_PRIMARY] < out[right, O_PRIMARY])
    if out[left, O_SECONDARY] != out[right, O_SECONDARY]:
        return bool(out[left, O_SECONDARY] < out[right, O_SECONDARY])
    return bool(static[left, S_TIE] < static[right, S_TIE])


def rank(static: Any, params: Any, out: Any, order: Any) -> int:
    """Write the best eligible candidates into `order` int64[k], best first, and return how many there are.

    With a margin, candidates of a balanced score within it of the least share the calls: the first place goes to the
    one whose digest, mixed with the call's, is largest (rendezvous hashing), the rest keep their order.
    """
    found = 0
    places = order.shape[0]
    for at in range(static.shape[0]):
        if out[at, O_RULE] != 0:
            continue
        place = found
        while place > 0 and _before(out, static, at, order[place - 1]):
            if place < places:
                order[place] = order[place - 1]
            place -= 1
        if place < places:
            order[place] = at
            found = min(found + 1, places)
    if params[P_MARGIN] > 0 and params[P_PREFERENCE] == BALANCED and found > 0:
        _spread(static, params, out, order, found)
    return found


def _spread(static: Any, params: Any, out: Any, order: Any, found: int) -> None:
    least = out[order[0], O_PRIMARY]
    first, first_mix = order[0], -1
    for at in range(static.shape[0]):
        if out[at, O_RULE] == 0 and out[at, O_PRIMARY] - least <= params[P_MARGIN]:
            mixed = _mix(params[P_DRAW], static[at, S_TIE])
            if mixed > first_mix:
                first, first_mix = at, mixed
    held = first
    for place in range(found):
        order[place], held = held, order[place]
        if held == first:
            break


def decide(static: Any, live: Any, rtt: Any, params: Any, out: Any, order: Any) -> int:
    """Evaluate and rank in one go. Returns how many of `order` are filled; 0 when no candidate passes."""
    evaluate(static, live, rtt, params, out)
    return rank(static, params, out, order)


COMPILED = find_spec("numba") is not None
interpreted: dict[str, Callable[..., Any]] = {"evaluate": evaluate, "rank": rank, "decide": decide}
"""The functions as written, for the test that compares compiled with interpreted decisions."""

if COMPILED:
    from numba import njit

    _isqrt = njit(cache=True, inline="always")(_isqrt)
    _mix = njit(cache=True)(_mix)
    _at_rate = njit(cache=True, inline="always")(_at_rate)
    _egress_rest = njit(cache=True, inline="always")(_egress_rest)
    _score = njit(cache=True)(_score)
    _before = njit(cache=True)(_before)
    _spread = njit(cache=True)(_spread)
    evaluate = njit(cache=True)(evaluate)
    rank = njit(cache=True)(rank)
    decide = njit(cache=True)(decide)

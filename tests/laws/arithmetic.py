"""One call's arithmetic, said a second time in Python's own unbounded integers, to hold the kernel's against.

It reads what the kernel's `refresh` reads (the files' tables and the signals), not the view that `refresh` makes of them.
Column numbers are the only thing that it takes from the kernel.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Any

from infercast.policies import kernel

MILLION, BILLION = 10**6, 10**9
LONGEST_US = 600 * MILLION
PRIME = 2**31 - 1
ROOM = 2**60
PRICE, DEADLINE, HEALTH, DEADLINE_LOAD, CAPACITY, TRIED = 15, 16, 17, 18, 19, 20


@dataclass(frozen=True)
class Asked:
    """A call and what it brings: `form` is int64[P_COLS] as the kernel takes it."""

    payload_bytes: int
    deadline_us: int
    draw: int
    margin: int
    form: dict[int, int]


@dataclass(frozen=True)
class Judged:
    """What the arithmetic says of one candidate."""

    rule: int
    latency_us: int
    at_deadline_us: int
    price: int
    waiting: int
    error: int
    exposure: int
    median_us: int
    spread_us: int
    primary: int
    secondary: int
    tie: int
    deployment: int


def size_class(payload_bytes: int) -> int:
    """0 up to 4 KiB, 1 up to 64 KiB, 2 up to 1 MiB, 3 above."""
    return sum(payload_bytes > limit for limit in (4 * 1024, 64 * 1024, 1024 * 1024))


def transfer_us(ps_per_byte: int, sent_bytes: int) -> int:
    """Picoseconds per byte to whole microseconds, rounded up."""
    return -(-ps_per_byte * sent_bytes // MILLION)


def egress_nusd(out: int, back: int, sent_bytes: int, received_bytes: int) -> int:
    """Whole thousands of bytes and the rest of them are each rounded down: at most 1 nUSD below the true sum."""
    thousands = out * (sent_bytes // 1000) + back * (received_bytes // 1000)
    rest = out * (sent_bytes % 1000) + back * (received_bytes % 1000)
    exact = (out * sent_bytes + back * received_bytes) // BILLION
    rounded = thousands // MILLION + rest // BILLION
    assert exact - 1 <= rounded <= exact
    return rounded


def queued_square(own: int, ahead: int, servers: int) -> int:
    """The squared spread of the calls ahead; rounded up where 64 bits have no room for the product."""
    exact = own * ahead // servers**2
    if own * ahead <= ROOM:
        return exact
    rounded = min(ROOM, (own // servers**2 + 1) * ahead)
    assert rounded >= min(ROOM, exact)
    return rounded


def quantile_us(median_us: int, z_milli: int, spread_us: int) -> int:
    """Median and z spreads, inside the longest latency that is told apart."""
    return max(0, min(median_us + z_milli * spread_us // 1000, LONGEST_US))


def judge(arrays: dict[str, Any], at: int, asked: Asked) -> Judged:
    """Judge candidate `at`. `arrays`: fixed, live, rtt, z, rules, exposure, tried, as nested lists of Python integers."""
    fixed = [row[at] for row in arrays["fixed"]]
    deployment, site = fixed[kernel.F_DEPLOYMENT], fixed[kernel.F_SITE]
    live, rtt, form = arrays["live"][deployment], arrays["rtt"][site], asked.form
    size, sent, received = size_class(asked.payload_bytes), asked.payload_bytes, form[kernel.P_RESPONSE_BYTES]
    p50_us, own_us = live[kernel.L_P50_US + size], live[kernel.L_SPREAD_US + size]
    busy, servers = live[kernel.L_IN_FLIGHT], live[kernel.L_CONCURRENCY]
    ahead = max(0, busy + 1 - servers)
    access_us = form[kernel.P_ACCESS_US] + transfer_us(form[kernel.P_ACCESS_PS_PER_BYTE], sent + received)
    alone_us = rtt[kernel.R_P50_US] + p50_us + transfer_us(fixed[kernel.F_PS_PER_BYTE], sent + received)
    median_us = alone_us + p50_us * ahead // servers
    idle = rtt[kernel.R_SPREAD_US] ** 2 + own_us**2
    square = idle + queued_square(own_us**2, ahead, servers)
    whole_us, idle_us = (isqrt(form[kernel.P_ACCESS_SQUARE] + each) for each in (square, idle))
    z = arrays["z"][deployment]
    latency_us = quantile_us(access_us + median_us, z[form[kernel.P_WAIT_Z]], whole_us)
    z_deadline = z[form[kernel.P_DEADLINE_Z]]
    at_deadline_us = quantile_us(access_us + median_us, z_deadline, whole_us)
    idle_at_deadline_us = quantile_us(access_us + alone_us, z_deadline, idle_us)
    price = (
        live[kernel.L_NUSD_PER_S] * p50_us // MILLION
        + fixed[kernel.F_CALL_NUSD]
        + egress_nusd(fixed[kernel.F_EGRESS], fixed[kernel.F_EGRESS_BACK], sent, received)
        + egress_nusd(form[kernel.P_ACCESS_EGRESS], form[kernel.P_ACCESS_EGRESS_BACK], sent, received)
    )
    waiting = form[kernel.P_PER_S] * latency_us // MILLION
    error = form[kernel.P_PER_ERROR] * fixed[kernel.F_ERROR_PPM] // MILLION
    exposure = arrays["exposure"][site]
    late = _late(at_deadline_us, asked.deadline_us)
    reasons = [
        (arrays["rules"][at] != 0, arrays["rules"][at]),
        (form[kernel.P_PRICE_MAX] >= 0 and price > form[kernel.P_PRICE_MAX], PRICE),
        (late and _late(idle_at_deadline_us, asked.deadline_us), DEADLINE),
        (live[kernel.L_HEALTHY] == 0, HEALTH),
        (late, DEADLINE_LOAD),
        (busy >= live[kernel.L_QUEUE_MAX], CAPACITY),
        (at in arrays["tried"], TRIED),
    ]
    return Judged(
        rule=next((rule for given, rule in reasons if given), 0),
        latency_us=latency_us,
        at_deadline_us=at_deadline_us,
        price=price,
        waiting=waiting,
        error=error,
        exposure=exposure,
        median_us=min(median_us, LONGEST_US),
        spread_us=isqrt(square),
        primary=form[kernel.P_PER_PRICE] * price + waiting + error + exposure,
        secondary=price if form[kernel.P_SECOND_PRICE] else latency_us,
        tie=fixed[kernel.F_TIE],
        deployment=deployment,
    )


def _late(latency_us: int, deadline_us: int) -> bool:
    return deadline_us > 0 and (latency_us > deadline_us or latency_us == LONGEST_US)


def _mixed(draw: int, tie: int) -> int:
    first = (draw * 48_271 + tie) % PRIME
    second = (first * 69_621 + 40_692) % PRIME
    return ((second ^ (second >> 15)) * 16_807 + draw) % PRIME


def order(judged: list[Judged], asked: Asked) -> list[int]:
    """The candidates that pass, best first; with a margin, one of the nearly best goes to the front, by the call's draw."""
    passing = [at for at, one in enumerate(judged) if one.rule == 0]
    passing.sort(key=lambda at: (judged[at].primary, judged[at].secondary, judged[at].tie, at))
    if asked.margin and passing:
        least = judged[passing[0]].primary
        near = sorted(at for at in passing if judged[at].primary - least <= asked.margin)
        drawn = max(near, key=lambda at: (_mixed(asked.draw, judged[at].tie), -at))
        passing.remove(drawn)
        passing.insert(0, drawn)
    return passing


def row(one: Judged) -> list[int]:
    """A candidate's row of the kernel's outcome table."""
    columns = {
        kernel.O_RULE: one.rule,
        kernel.O_LATENCY_US: one.latency_us,
        kernel.O_DEADLINE_LATENCY_US: one.at_deadline_us,
        kernel.O_PRICE: one.price,
        kernel.O_PRIMARY: one.primary,
        kernel.O_SECONDARY: one.secondary,
        kernel.O_WAITING: one.waiting,
        kernel.O_ERROR: one.error,
        kernel.O_EXPOSURE: one.exposure,
        kernel.O_MEDIAN_US: one.median_us,
        kernel.O_SPREAD_US: one.spread_us,
    }
    return [columns[column] for column in range(kernel.O_COLS)]

"""Whole-number units of the engine: microseconds, nano-USD, parts per million. Integers give the same bytes everywhere."""

from decimal import ROUND_HALF_EVEN, Decimal

NUSD_PER_USD = 1_000_000_000
US_PER_MS = 1_000
US_PER_S = 1_000_000
PPM = 1_000_000
LATENCY_MAX_US = 600 * US_PER_S
"""Longest latency the engine tells apart (10 minutes): bounds every product below 2**63."""


def to_int(value: float | str, scale: int) -> int:
    """Return `value * scale` rounded half to even, by way of the decimal text, so that 0.1 means one tenth."""
    return int((Decimal(str(value)) * scale).to_integral_value(rounding=ROUND_HALF_EVEN))


def nusd(value_usd: float) -> int:
    """Return nano-USD for USD."""
    return to_int(value_usd, NUSD_PER_USD)


def us_from_ms(value_ms: float) -> int:
    """Return microseconds for milliseconds."""
    return to_int(value_ms, US_PER_MS)


def deadline_us(value_ms: float) -> int:
    """Return microseconds for a deadline, 0 meaning none. One that is too short to be told is the shortest, not none."""
    return max(1, us_from_ms(value_ms)) if value_ms > 0 else 0


def ppm(share: float) -> int:
    """Return parts per million for a share of one."""
    return to_int(share, PPM)


def usd(value_nusd: int) -> float:
    """Return USD for nano-USD, for showing to people."""
    return value_nusd / NUSD_PER_USD


def usd_text(value_nusd: int) -> str:
    """Return USD for nano-USD to the last of them: `0.000001234`."""
    sign, whole = "-" if value_nusd < 0 else "", abs(value_nusd)
    return f"{sign}{whole // NUSD_PER_USD}.{whole % NUSD_PER_USD:09d}"


def ms(value_us: int) -> float:
    """Return milliseconds for microseconds, for showing to people."""
    return value_us / US_PER_MS

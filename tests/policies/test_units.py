"""Units: whole numbers, rounded by way of the decimal text."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.units import LATENCY_MAX_US, deadline_us, ms, nusd, ppm, to_int, us_from_ms, usd


def test_a_tenth_is_a_tenth() -> None:
    assert nusd(0.1) == 100_000_000
    assert nusd(1e-9) == 1
    assert us_from_ms(0.3) == 300
    assert ppm(0.971) == 971_000
    assert us_from_ms(600_000) == LATENCY_MAX_US


def test_halves_go_to_the_even_neighbour() -> None:
    assert [to_int(value, 1) for value in (0.5, 1.5, 2.5, -0.5)] == [0, 2, 2, 0]


@given(st.integers(0, 10**15))
def test_money_comes_back_as_it_went(value: int) -> None:
    assert nusd(usd(value)) == value


@given(st.integers(0, LATENCY_MAX_US))
def test_times_come_back_as_they_went(value: int) -> None:
    assert us_from_ms(ms(value)) == value


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_rounding_keeps_the_order(one: float, other: float) -> None:
    assert (nusd(one) <= nusd(other)) or one > other


@given(st.floats(0, 600_000))
def test_a_deadline_is_none_only_where_none_is_said(value: float) -> None:
    assert (deadline_us(value) == 0) is (value == 0)

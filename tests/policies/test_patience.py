"""How long a candidate is waited for: never past the deadline, and the next one is left its time."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.patience import NOTHING_BEHIND, PATIENCE_FLOOR_US, patience_us

times = st.integers(1, 600_000_000)


@given(times, times | st.just(NOTHING_BEHIND), times)
def test_patience_is_never_more_than_is_left_and_never_nothing(own_us: int, next_us: int, left_us: int) -> None:
    assert 1 <= patience_us(own_us, next_us, left_us) <= left_us


@given(times, times)
def test_the_last_candidate_gets_all_that_is_left(own_us: int, left_us: int) -> None:
    assert patience_us(own_us, NOTHING_BEHIND, left_us) == left_us


@given(times, times, times)
def test_patience_leaves_time_for_the_next(own_us: int, next_us: int, left_us: int) -> None:
    patience = patience_us(own_us, next_us, left_us)
    if left_us > 2 * (own_us + next_us):
        assert left_us - patience >= next_us * 3 // 2
        assert own_us <= patience <= max(PATIENCE_FLOOR_US, 4 * own_us)
    else:
        assert patience == left_us or left_us - patience >= next_us * 3 // 2


@given(times, times, times, st.integers(0, 10**6))
def test_more_time_never_means_less_patience(own_us: int, next_us: int, left_us: int, more_us: int) -> None:
    if left_us > 2 * (own_us + next_us):
        assert patience_us(own_us, next_us, left_us + more_us) >= patience_us(own_us, next_us, left_us)

"""Retries: what is tried once more, how soon, and that their budget holds whatever happens."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.router.conduct.retrying import (
    BACKOFF_US,
    BACKOFF_US_MAX,
    KEPT_MILLI,
    PER_CALL_MILLI,
    PER_S_MILLI,
    Budget,
    backoff_us,
)

LUCK = st.floats(0, 1, exclude_max=True)
EVENTS = st.lists(st.tuples(st.sampled_from(["call", "take"]), st.integers(0, 3_000_000)), max_size=200)


@given(EVENTS)
def test_in_no_stretch_of_time_are_there_more_retries_than_its_calls_and_seconds_earn(
    events: list[tuple[str, int]],
) -> None:
    now_us, budget = 0, Budget(0)
    seen: list[tuple[int, str]] = []
    for what, after_us in events:
        now_us += after_us
        if what == "call":
            budget.called()
            seen.append((now_us, "call"))
        elif budget.take(now_us):
            seen.append((now_us, "retry"))
    for first in range(len(seen)):
        calls = retries = 0
        for at_us, what in seen[first:]:
            calls += what == "call"
            retries += what == "retry"
            earned = calls * PER_CALL_MILLI + (at_us - seen[first][0] + 1_000_000) * PER_S_MILLI // 1_000_000
            assert 1000 * retries <= KEPT_MILLI + earned


def test_a_budget_that_is_used_up_earns_a_retry_by_five_calls_or_by_a_second() -> None:
    budget = Budget(0)
    assert [budget.take(0) for _ in range(11)] == [True] * 10 + [False]
    for _ in range(4):
        budget.called()
    assert not budget.take(0)
    budget.called()
    assert budget.take(0)
    assert not budget.take(999_999)
    assert budget.take(1_000_000)


def test_asking_again_and_again_earns_nothing() -> None:
    budget = Budget(0)
    taken = sum(budget.take(at_us) for at_us in range(0, 10_000_000, 997))
    assert taken == 19, "ten that were kept, and one for each whole second"


@given(st.integers(1, 1000), LUCK)
def test_a_pause_is_anything_up_to_its_limit(failures: int, luck: float) -> None:
    assert 0 <= backoff_us(failures, luck) <= min(BACKOFF_US_MAX, BACKOFF_US * 2 ** (failures - 1))
    assert backoff_us(failures, 0.0) == 0
    assert backoff_us(failures, 0.999999) >= BACKOFF_US * 0.99

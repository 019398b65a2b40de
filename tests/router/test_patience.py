"""How long a candidate is waited for: never past the deadline, and the next one is left its time."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.model import Choice, Outcome
from infercast.router.conduct.caller import PATIENCE_FLOOR_US, patience_us

choices = st.builds(
    lambda latencies: Choice(Outcome.CHOSEN, tuple(range(len(latencies))), tuple(latencies), (0,) * len(latencies)),
    st.lists(st.integers(1, 600_000_000), min_size=1, max_size=8),
)
lefts = st.integers(1, 600_000_000)


@given(choices, lefts, st.booleans())
def test_patience_is_never_more_than_is_left_and_never_nothing(choice: Choice, left_us: int, last: bool) -> None:
    assert 1 <= patience_us(choice, left_us, last) <= left_us


@given(choices, lefts)
def test_the_last_candidate_gets_all_that_is_left(choice: Choice, left_us: int) -> None:
    assert patience_us(choice, left_us, last=True) == left_us
    alone = choice._replace(deployments=choice.deployments[:1])
    assert patience_us(alone, left_us, last=False) == left_us


several = choices.filter(lambda choice: len(choice.deployments) > 1)


@given(several, lefts)
def test_patience_leaves_time_for_the_next(choice: Choice, left_us: int) -> None:
    own_us, next_us = choice.latency_us[:2]
    patience = patience_us(choice, left_us, last=False)
    if left_us > 2 * (own_us + next_us):
        assert left_us - patience >= next_us * 3 // 2
        assert own_us <= patience <= max(PATIENCE_FLOOR_US, 4 * own_us)
    else:
        assert patience == left_us or left_us - patience >= next_us * 3 // 2


@given(several, lefts, st.integers(0, 10**6))
def test_more_time_never_means_less_patience(choice: Choice, left_us: int, more_us: int) -> None:
    own_us, next_us = choice.latency_us[:2]
    if left_us > 2 * (own_us + next_us):
        assert patience_us(choice, left_us + more_us, last=False) >= patience_us(choice, left_us, last=False)

"""Drawing the next token, and cutting a text off at a stop string."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.language import sampling as drawing
from infercast.router.language.sampling import Sampling, StopStrings, choose

logits = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(0, 3, (3, 40)).astype(np.float32))


def drawn(rows: np.ndarray, sampling: Sampling) -> list[int]:
    return choose(rows, [sampling] * len(rows), [sampling.draws() for _ in rows])


def nucleus(row: np.ndarray, temperature: float, top_p: float) -> set[int]:
    """The fewest tokens, likeliest first, whose shares reach top_p: by a plain loop."""
    shares = np.exp(row.astype(float) / temperature)
    shares /= shares.sum()
    kept: set[int] = set()
    reached = 0.0
    for token in sorted(range(len(row)), key=lambda one: -shares[one]):
        if reached >= top_p:
            break
        kept.add(token)
        reached += shares[token]
    return kept


@given(rows=logits, seed=st.integers(0, 2**64 - 1))
def test_without_heat_the_likeliest_is_taken_whatever_the_seed(rows: np.ndarray, seed: int) -> None:
    assert drawn(rows, Sampling(temperature=0.0, seed=seed)) == list(rows.argmax(axis=1))


@given(rows=logits, seed=st.integers(-5, 2**70), heat=st.floats(0.1, 2.0), top=st.floats(0.05, 1.0))
def test_equal_seeds_draw_alike_and_only_from_the_likeliest(
    rows: np.ndarray, seed: int, heat: float, top: float
) -> None:
    sampling = Sampling(temperature=heat, top_p=top, seed=seed)
    got = drawn(rows, sampling)
    assert got == drawn(rows, sampling)
    for row, token in zip(rows, got, strict=True):
        assert token in nucleus(row, heat, min(1.0, top + 1e-9))


@given(rows=logits, seeds=st.lists(st.integers(0, 1000), min_size=3, max_size=3), data=st.data())
def test_a_row_is_drawn_alike_whoever_is_beside_it(rows: np.ndarray, seeds: list[int], data: st.DataObject) -> None:
    heats = st.sampled_from([0.0, 0.5, 1.0])
    samplings = [
        Sampling(temperature=data.draw(heats), top_p=data.draw(st.sampled_from([0.3, 1.0])), seed=seed)
        for seed in seeds
    ]
    together = choose(rows, samplings, [one.draws() for one in samplings])
    assert together == [choose(rows[at : at + 1], [one], [one.draws()])[0] for at, one in enumerate(samplings)]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    row = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampling = Sampling(seed=7)
    draws = sampling.draws()
    got = np.bincount(choose(np.tile(row, (20_000, 1)), [sampling] * 20_000, [draws] * 20_000), minlength=3) / 20_000
    np.testing.assert_allclose(got, [0.5, 0.3, 0.2], atol=0.02)  # five standard deviations
    halved = Sampling(seed=7, temperature=0.5)
    draws = halved.draws()
    got = np.bincount(choose(np.tile(row, (20_000, 1)), [halved] * 20_000, [draws] * 20_000), minlength=3) / 20_000
    np.testing.assert_allclose(got, np.array([25, 9, 4]) / 38, atol=0.02)


@pytest.mark.parametrize("spread", [0.01, 5.0])
def test_in_a_large_vocabulary_a_few_are_sorted_only_where_a_few_suffice(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(3).normal(0, spread, (4, 3000)).astype(np.float32)
    sampling = Sampling(top_p=0.9, seed=11)
    got = drawn(rows, sampling)
    monkeypatch.setattr(drawing, "FEW", 3000)
    assert got == drawn(rows, sampling)


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -0.1}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_what_has_no_meaning_cannot_be_asked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30)),
)
def test_a_text_ends_before_the_first_stop_string_however_it_comes(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    watch, told, ends = StopStrings(stops), "", [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    at = 0
    for end in ends:
        told += watch.add(text[at:end])
        at = end
        if watch.stopped:
            break
        # What is told is told for good, and what is held back could still begin a stop string.
        held = text[len(told) : end]
        assert text.startswith(told)
        assert held == "" or any(stop.startswith(held[at:]) for stop in stops for at in range(len(held)))
    if not watch.stopped:
        told += watch.rest()
    first = min((found for stop in stops if (found := text[:at].find(stop)) >= 0), default=at)
    assert told == text[:first]
    assert watch.stopped is (first < at)

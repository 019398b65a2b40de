"""The header `cache-control` of a request: known words only narrow, and nothing that is sent breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.cache.control import NO_WISH, SECONDS_MAX, Wish, wish_of


@pytest.mark.parametrize(
    ("control", "wish"),
    [
        (None, NO_WISH),
        ("", NO_WISH),
        ("max-stale=9, no-transform, ours", NO_WISH),
        ("no-cache", Wish(looks=False)),
        ("NO-STORE", Wish(looks=False, keeps=False)),
        (" only-if-cached ,max-age = 5", Wish(only=True, age_max_s=5)),
        ('max-age="7"', Wish(age_max_s=7)),
        ("max-age=9, max-age=3", Wish(age_max_s=3)),
        ("max-age=0", Wish(looks=False, age_max_s=0)),
        ("max-age", Wish(looks=False, age_max_s=0)),
        ("max-age=-1", Wish(looks=False, age_max_s=0)),
        ("max-age=99999999999999999999", Wish(age_max_s=SECONDS_MAX)),
        ("min-fresh=4, min-fresh=8", Wish(left_min_s=8)),
        ("min-fresh=x", Wish(left_min_s=SECONDS_MAX)),
    ],
)
def test_what_is_said_is_understood(control: str | None, wish: Wish) -> None:
    assert wish_of(control) == wish


WORDS = st.sampled_from(
    ["no-store", "no-cache", "only-if-cached", "max-age=1", "min-fresh=2", "x", ",", "max-age=" * 9]
)


@given(st.lists(WORDS | st.text(max_size=9), max_size=12))
def test_nothing_widens(words: list[str]) -> None:
    wish = wish_of(",".join(words))
    more = wish_of(",".join([*words[:10], "no-store"]))
    assert wish.keeps or not wish.looks
    assert not more.keeps


@given(st.lists(WORDS | st.text(max_size=9), max_size=99), st.integers(0, 9999))
def test_a_word_counts_however_much_stands_before_it(words: list[str], spaces: int) -> None:
    assert not wish_of(",".join([*words, " " * spaces + "no-store"])).keeps
    assert wish_of(",".join([*words, " " * spaces + "Only-If-Cached"])).only


@given(st.lists(WORDS, max_size=6))
def test_each_further_word_asks_for_more(words: list[str]) -> None:
    wish, more = wish_of(",".join(words)), wish_of(",".join([*words, "no-store", "only-if-cached", "max-age=0"]))
    assert (more.looks, more.keeps, more.only, more.age_max_s) == (False, False, True, 0)
    assert more.left_min_s == wish.left_min_s
